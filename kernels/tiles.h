/* Dot products on AMX tiles: up to sixteen queries with the sixteen rows of a block, 64 dimensions a step.
 *
 * A step's sixteen quads of a block are a tile as they lie, and so are the queries' codes. Four blocks are worked at in
 * turn, since a product takes three times as long as it keeps the unit busy. Tiles are configured before a pass and
 * released behind it, so that no switch of processes has to save them. Included by halves.h; a test without such a processor brings tiles of its own
 * (MIXLINE_TILES).
 */
#ifndef MIXLINE_TILES_H
#define MIXLINE_TILES_H

#ifndef MIXLINE_TILES
#define MIXLINE_TILE_TARGET target("amx-tile,amx-int8,avx512f,avx512vl,avx512bw")
#define MIXLINE_TILES(config) _tile_loadconfig(config)
#define MIXLINE_TILE_ZERO(tile) _tile_zero(tile)
#define MIXLINE_TILE_LOAD(tile, from, stride) _tile_loadd(tile, from, stride)
#define MIXLINE_TILE_DOT(sums, queries, rows) _tile_dpbssd(sums, queries, rows)
#define MIXLINE_TILE_STORE(tile, to, stride) _tile_stored(tile, to, stride)
#define MIXLINE_TILE_RELEASE() _tile_release()
#endif

#define MIXLINE_TILE_BYTES 1024
#define MIXLINE_TILE_LINES 16
#define MIXLINE_TILE_BLOCKS 4
#define MIXLINE_TILED __attribute__((always_inline, MIXLINE_TILE_TARGET)) static inline

struct mixline_tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t column_bytes[16];
    uint8_t rows[16];
};

/* A step's codes of a block: as they lie, or, where that would read beyond the last block, a copy in `room`. Lines behind
 * those of the block count for nothing, since no query has codes for them. */
MIXLINE_TILED const uint8_t *mixline_tile_of(const uint8_t *quads, int64_t left, int64_t behind, uint8_t *room) {
    if (left + behind >= MIXLINE_TILE_LINES) return quads;
    memcpy(room, quads, (size_t)left * 64);
    return room;
}

#define MIXLINE_TILE_STEP(TILE, ROWS)                                                                                       \
    if (TILE < here) {                                                                                               \
        const uint8_t *at = codes + (block + TILE) * quads * 64 + first * 64;                                        \
        int64_t behind = (blocks - block - TILE - 1) * quads;                                                        \
        for (int64_t line = 0; line < MIXLINE_TILE_LINES; line++) MIXLINE_FETCH_AHEAD(at + 64 * line);               \
        MIXLINE_TILE_LOAD(ROWS, mixline_tile_of(at, quads - first, behind, room), 64);                                  \
        MIXLINE_TILE_DOT(TILE, 4, ROWS);                                                                             \
    }

#define MIXLINE_TILE_SUMS(TILE)                                                                                       \
    if (TILE < here) MIXLINE_TILE_STORE(TILE, asked->sums + (block + TILE) * MIXLINE_CODE_ROWS, 4 * MIXLINE_RUN_SUMS);

/* All eight tiles of sixteen lines. Not made on the stack: GCC 12 knows of the first 8 bytes alone that they are read. */
static const struct mixline_tile_config mixline_all_tiles = {
    1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

__attribute__((MIXLINE_TILE_TARGET)) static void mixline_begin_tiles(void) { MIXLINE_TILES(&mixline_all_tiles); }

__attribute__((MIXLINE_TILE_TARGET)) static void mixline_end_tiles(void) { MIXLINE_TILE_RELEASE(); }

/* Between these two; whatever the number of queries, there are codes of sixteen, and room for their sums. */
__attribute__((MIXLINE_TILE_TARGET)) static void mixline_tile_halves(const uint8_t *codes, int64_t quads, int64_t blocks,
                                                                    const struct mixline_halves *asked) {
    uint8_t room[MIXLINE_TILE_BYTES] __attribute__((aligned(64))) = {0};
    for (int64_t block = 0; block < blocks; block += MIXLINE_TILE_BLOCKS) {
        int64_t here = blocks - block;
        MIXLINE_TILE_ZERO(0);
        MIXLINE_TILE_ZERO(1);
        MIXLINE_TILE_ZERO(2);
        MIXLINE_TILE_ZERO(3);
        for (int64_t first = 0; first < quads; first += MIXLINE_TILE_LINES) {
            MIXLINE_TILE_LOAD(4, asked->highs + 4 * first, asked->stride);
            MIXLINE_TILE_STEP(0, 5)
            MIXLINE_TILE_STEP(1, 6)
            MIXLINE_TILE_STEP(2, 7)
            MIXLINE_TILE_STEP(3, 5)
        }
        MIXLINE_TILE_SUMS(0)
        MIXLINE_TILE_SUMS(1)
        MIXLINE_TILE_SUMS(2)
        MIXLINE_TILE_SUMS(3)
    }
}

#endif
