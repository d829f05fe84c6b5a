/* Dot products of int8 codes on AMX tiles: up to sixteen queries with the sixteen rows of a block, 64 dimensions a step.
 *
 * A step's sixteen quads of a block are a tile as they lie. Queries are laid out so once a call, high and low codes apart,
 * with zeros where there is no query or no dimension. The tiles are released at the end, so that no switch of processes
 * has to save them. Included by codes.h; a test without such a processor brings tiles of its own (MIXLINE_TILES).
 */
#ifndef MIXLINE_TILES_H
#define MIXLINE_TILES_H

#ifndef MIXLINE_TILES
#define MIXLINE_TILE_TARGET __attribute__((target("amx-tile,amx-int8,avx512f,avx512vl,avx512bw")))
#define MIXLINE_TILES(config) _tile_loadconfig(config)
#define MIXLINE_TILE_ZERO(tile) _tile_zero(tile)
#define MIXLINE_TILE_LOAD(tile, from) _tile_loadd(tile, from, 64)
#define MIXLINE_TILE_DOT(sums, queries, rows) _tile_dpbssd(sums, queries, rows)
#define MIXLINE_TILE_STORE(tile, to) _tile_stored(tile, to, 64)
#define MIXLINE_TILE_RELEASE() _tile_release()
#endif

#define MIXLINE_TILED_QUADS 512 /* 2,048 dimensions: what the queries' copies on the stack have room for */
#define MIXLINE_TILE_BYTES 1024

struct mixline_tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t column_bytes[16];
    uint8_t rows[16];
};

/* Codes of up to sixteen queries by steps: 64 bytes of each query in turn. */
static void mixline_lay_out(const struct mixline_code_query *asked, int many, int64_t quads, int low, int8_t *out) {
    int64_t steps = (quads + 15) / 16;
    memset(out, 0, (size_t)steps * MIXLINE_TILE_BYTES);
    for (int at = 0; at < many; at++) {
        const int8_t *from = low ? asked[at].low : asked[at].high;
        for (int64_t step = 0; step < steps; step++) {
            int64_t bytes = 4 * (quads - 16 * step < 16 ? quads - 16 * step : 16);
            memcpy(out + step * MIXLINE_TILE_BYTES + 64 * at, from + 64 * step, (size_t)bytes);
        }
    }
}

MIXLINE_TILE_TARGET static void mixline_tile_codes(const int8_t *codes, int64_t quads, int64_t blocks,
                                                   const struct mixline_code_query *asked, int many) {
    int8_t highs[MIXLINE_TILED_QUADS * 64] __attribute__((aligned(64)));
    int8_t lows[MIXLINE_TILED_QUADS * 64] __attribute__((aligned(64)));
    int8_t rest[MIXLINE_TILE_BYTES] __attribute__((aligned(64)));
    int32_t high_sums[256] __attribute__((aligned(64))), low_sums[256] __attribute__((aligned(64)));
    struct mixline_tile_config config = {1, 0, {0}, {0}, {0}};
    int64_t whole = quads / 16, left = quads % 16;
    for (int tile = 0; tile < 5; tile++) {
        config.column_bytes[tile] = 64;
        config.rows[tile] = 16;
    }
    mixline_lay_out(asked, many, quads, 0, highs);
    mixline_lay_out(asked, many, quads, 1, lows);
    memset(rest, 0, sizeof rest);
    MIXLINE_TILES(&config);
    for (int64_t block = 0; block < blocks; block++, codes += quads * MIXLINE_QUAD_BYTES) {
        MIXLINE_TILE_ZERO(0);
        MIXLINE_TILE_ZERO(1);
        for (int64_t step = 0; step < whole; step++) {
            MIXLINE_TILE_LOAD(2, highs + step * MIXLINE_TILE_BYTES);
            MIXLINE_TILE_LOAD(3, lows + step * MIXLINE_TILE_BYTES);
            MIXLINE_TILE_LOAD(4, codes + step * MIXLINE_TILE_BYTES);
            MIXLINE_TILE_DOT(0, 2, 4);
            MIXLINE_TILE_DOT(1, 3, 4);
        }
        if (left) { /* what lies behind the last quad may be no memory of ours */
            memcpy(rest, codes + whole * MIXLINE_TILE_BYTES, (size_t)left * MIXLINE_QUAD_BYTES);
            MIXLINE_TILE_LOAD(2, highs + whole * MIXLINE_TILE_BYTES);
            MIXLINE_TILE_LOAD(3, lows + whole * MIXLINE_TILE_BYTES);
            MIXLINE_TILE_LOAD(4, rest);
            MIXLINE_TILE_DOT(0, 2, 4);
            MIXLINE_TILE_DOT(1, 3, 4);
        }
        MIXLINE_TILE_STORE(0, high_sums);
        MIXLINE_TILE_STORE(1, low_sums);
        for (int at = 0; at < many; at++)
            for (int row = 0; row < MIXLINE_CODE_ROWS; row++)
                asked[at].out[block * MIXLINE_CODE_ROWS + row] =
                    (int32_t)((uint32_t)high_sums[16 * at + row] << 7) + low_sums[16 * at + row];
    }
    MIXLINE_TILE_RELEASE();
}

#endif
