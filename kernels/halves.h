/* Dot products of the high halves of query codes, 8 bits instead of 15: half the work, and enough to rule most rows out.
 *
 * The codes of up to sixteen queries lie one under the other, `stride` bytes apart and a multiple of 64, zeros behind
 * the last. Int4 codes are only ever multiplied so (nibbles.h).
 */
#ifndef MIXLINE_HALVES_H
#define MIXLINE_HALVES_H

#include "codes.h"

#define MIXLINE_RUN_BLOCKS 16
#define MIXLINE_UNTILED 4 /* up to so many queries are quicker without tiles */
#define MIXLINE_RUN_BYTES 16384 /* of codes that several queries go over while they are in the nearest cache */
#define MIXLINE_RUN_SUMS (MIXLINE_RUN_BLOCKS * MIXLINE_CODE_ROWS)

/* What a run's products are kept in: a line that lies across two costs twice. */
struct mixline_run_room {
    int32_t sums[MIXLINE_CODE_QUERIES][MIXLINE_RUN_SUMS] __attribute__((aligned(64)));
};
struct mixline_quad_room {
    uint8_t quads[MIXLINE_RUN_BYTES] __attribute__((aligned(64)));
};

/* `sums` gets MIXLINE_RUN_SUMS for each query, of up to MIXLINE_RUN_BLOCKS blocks. */
struct mixline_halves {
    const int8_t *highs;
    int64_t stride;
    int many;
    int32_t *sums;
};

/* `lines` of 64 bytes a block: quads of int8 codes, octets of int4. Some paths want to know when a pass begins and ends. */
typedef void (*mixline_pass_fn)(void);
typedef void (*mixline_dot_halves_fn)(const uint8_t *codes, int64_t lines, int64_t blocks,
                                      const struct mixline_halves *asked);

static void mixline_dot_halves_portable(const uint8_t *codes, int64_t quads, int64_t blocks,
                                        const struct mixline_halves *asked) {
    for (int64_t block = 0; block < blocks; block++, codes += quads * MIXLINE_QUAD_BYTES)
        for (int at = 0; at < asked->many; at++) {
            int32_t *out = asked->sums + at * MIXLINE_RUN_SUMS + block * MIXLINE_CODE_ROWS;
            memset(out, 0, MIXLINE_CODE_ROWS * sizeof *out);
            for (int64_t quad = 0; quad < quads; quad++) {
                const int8_t *q = asked->highs + at * asked->stride + 4 * quad;
                const int8_t *x = (const int8_t *)codes + quad * MIXLINE_QUAD_BYTES;
                for (int row = 0; row < MIXLINE_CODE_ROWS; row++, x += 4)
                    out[row] += x[0] * q[0] + x[1] * q[1] + x[2] * q[2] + x[3] * q[3];
            }
        }
}

/* `each` times the sum of a query's codes: what moving the rows up by so much adds to each of their products. */
static inline int32_t mixline_half_excess(const int8_t *high, int64_t codes, int each) {
    int32_t sum = 0;
    for (int64_t at = 0; at < codes; at++) sum += high[at];
    return (int32_t)((uint32_t)each * (uint32_t)sum);
}

#if defined(__x86_64__)
#define MIXLINE_STRIP __attribute__((always_inline, MIXLINE_VNNI_TARGET)) static inline

/* A line of codes as unsigned bytes, four dimensions of sixteen rows in each of its parts: int8 codes moved up by 128, or
 * the two halves of int4 ones, which lie moved up. */
MIXLINE_STRIP void mixline_line_parts(const uint8_t *line, __m512i *x, const int parts) {
    const __m512i half = _mm512_set1_epi8(15);
    __m512i both = _mm512_loadu_si512(line);
    MIXLINE_FETCH_AHEAD(line);
    if (parts == 1) {
        x[0] = _mm512_xor_si512(both, _mm512_set1_epi8((char)0x80));
    } else {
        x[0] = _mm512_and_si512(both, half);
        x[1] = _mm512_and_si512(_mm512_srli_epi16(both, 4), half);
    }
}

/* `many` queries over `blocks` blocks of lines of `parts`, all known where this is inlined, all sums in registers. */
MIXLINE_STRIP void mixline_strip(const uint8_t *codes, int64_t lines, const struct mixline_halves *asked, int first,
                                 const int32_t *excess, int64_t block, const int many, const int blocks, const int parts) {
    const int8_t *highs = asked->highs + first * asked->stride;
    __m512i sums[8][2];
    _Pragma("GCC unroll 8") for (int at = 0; at < many; at++)
        _Pragma("GCC unroll 2") for (int one = 0; one < blocks; one++) sums[at][one] = _mm512_set1_epi32(-excess[first + at]);
    codes += block * lines * MIXLINE_QUAD_BYTES;
    for (int64_t line = 0; line < lines; line++, codes += MIXLINE_QUAD_BYTES) {
        __m512i x[2][2];
        _Pragma("GCC unroll 2") for (int one = 0; one < blocks; one++)
            mixline_line_parts(codes + one * lines * MIXLINE_QUAD_BYTES, x[one], parts);
        _Pragma("GCC unroll 8") for (int at = 0; at < many; at++)
            _Pragma("GCC unroll 2") for (int part = 0; part < parts; part++) {
                int32_t four;
                memcpy(&four, highs + at * asked->stride + 4 * (parts * line + part), sizeof four);
                __m512i q = _mm512_set1_epi32(four);
                _Pragma("GCC unroll 2") for (int one = 0; one < blocks; one++)
                    sums[at][one] = _mm512_dpbusd_epi32(sums[at][one], x[one][part], q);
            }
    }
    int32_t *out = asked->sums + first * MIXLINE_RUN_SUMS + block * MIXLINE_CODE_ROWS;
    _Pragma("GCC unroll 8") for (int at = 0; at < many; at++)
        _Pragma("GCC unroll 2") for (int one = 0; one < blocks; one++)
            _mm512_storeu_si512(out + at * MIXLINE_RUN_SUMS + one * MIXLINE_CODE_ROWS, sums[at][one]);
}

/* All blocks, so many at a time. */
MIXLINE_STRIP void mixline_strips(const uint8_t *codes, int64_t lines, int64_t blocks, const struct mixline_halves *asked,
                                  int first, const int32_t *excess, const int many, const int together, const int parts) {
    int64_t block = 0;
    for (; block + together <= blocks; block += together)
        mixline_strip(codes, lines, asked, first, excess, block, many, together, parts);
    for (; block < blocks; block++) mixline_strip(codes, lines, asked, first, excess, block, many, 1, parts);
}

/* A line with one query, each part into a sum of its own. */
MIXLINE_STRIP void mixline_lone_line(const uint8_t *line, const int8_t *highs, __m512i *sums, const int parts) {
    __m512i x[2];
    mixline_line_parts(line, x, parts);
    _Pragma("GCC unroll 2") for (int part = 0; part < parts; part++) {
        int32_t four;
        memcpy(&four, highs + 4 * part, sizeof four);
        sums[part] = _mm512_dpbusd_epi32(sums[part], x[part], _mm512_set1_epi32(four));
    }
}

/* One query, block by block: memory is what it waits for, and gives most to who reads one stream of lines. Four sums take
 * turns, since one would wait for itself. */
MIXLINE_STRIP void mixline_lone_strip(const uint8_t *codes, int64_t lines, int64_t blocks, const struct mixline_halves *asked,
                                      int which, int32_t excess, const int parts) {
    const int8_t *highs = asked->highs + which * asked->stride;
    int32_t *out = asked->sums + which * MIXLINE_RUN_SUMS;
    for (int64_t block = 0; block < blocks; block++, out += MIXLINE_CODE_ROWS) {
        __m512i sums[4] = {_mm512_set1_epi32(-excess), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
        const int8_t *four = highs;
        int64_t line = 0;
        for (; line + 4 / parts <= lines; line += 4 / parts)
            _Pragma("GCC unroll 4") for (int one = 0; one < 4 / parts; one++, codes += MIXLINE_QUAD_BYTES, four += 4 * parts)
                mixline_lone_line(codes, four, sums + parts * one, parts);
        for (; line < lines; line++, codes += MIXLINE_QUAD_BYTES, four += 4 * parts) mixline_lone_line(codes, four, sums, parts);
        _mm512_storeu_si512(out, _mm512_add_epi32(_mm512_add_epi32(sums[0], sums[1]), _mm512_add_epi32(sums[2], sums[3])));
    }
}

/* Rows are moved up by `up`, which is taken off again. */
MIXLINE_STRIP void mixline_all_strips(const uint8_t *codes, int64_t lines, int64_t blocks, const struct mixline_halves *asked,
                                      const int up, const int parts) {
    int32_t excess[MIXLINE_CODE_QUERIES];
    int at = 0;
    for (int one = 0; one < asked->many; one++)
        excess[one] = mixline_half_excess(asked->highs + one * asked->stride, 4 * parts * lines, up);
    for (; at + 8 <= asked->many; at += 8) mixline_strips(codes, lines, blocks, asked, at, excess, 8, 2, parts);
    for (; at + 4 <= asked->many; at += 4) mixline_strips(codes, lines, blocks, asked, at, excess, 4, 2, parts);
    for (; at < asked->many; at++) mixline_lone_strip(codes, lines, blocks, asked, at, excess[at], parts);
}

__attribute__((MIXLINE_VNNI_TARGET)) static void mixline_dot_halves_vnni(const uint8_t *codes, int64_t quads,
                                                                        int64_t blocks,
                                                                        const struct mixline_halves *asked) {
    mixline_all_strips(codes, quads, blocks, asked, 128, 1);
}

#include "tiles.h"

static void mixline_dot_halves_amx(const uint8_t *codes, int64_t quads, int64_t blocks,
                                   const struct mixline_halves *asked) {
    if (asked->many <= MIXLINE_UNTILED)
        mixline_dot_halves_vnni(codes, quads, blocks, asked);
    else
        mixline_tile_halves(codes, quads, blocks, asked);
}
#endif

static void mixline_no_pass(void) {}

/* Whether a path gives what the portable one does, for any number of queries, on lines that hold the extremes. */
static int mixline_halves_agree(mixline_dot_halves_fn path, mixline_dot_halves_fn portable, int64_t per_line,
                                mixline_pass_fn begin, mixline_pass_fn end) {
    enum { LINES = 19, BLOCKS = 7, STRIDE = 192, MANY = MIXLINE_CODE_QUERIES };
    uint8_t codes[BLOCKS * LINES * MIXLINE_QUAD_BYTES];
    int8_t highs[MANY * STRIDE];
    int32_t got[MANY * MIXLINE_RUN_SUMS], wanted[MANY * MIXLINE_RUN_SUMS];
    for (int at = 0; at < (int)sizeof codes; at++)
        codes[at] = (uint8_t)(at < 1600 ? (per_line == 4 ? -127 : 0xFF) : at * 73 % 255 - 127);
    if (per_line == 8) /* no half of an int4 byte is 0 */
        for (int at = 0; at < (int)sizeof codes; at++) codes[at] |= (uint8_t)((codes[at] & 15 ? 0 : 1) | (codes[at] >> 4 ? 0 : 16));
    for (int one = 0; one < MANY; one++)
        for (int at = 0; at < STRIDE; at++)
            highs[one * STRIDE + at] = (int8_t)(at >= LINES * per_line ? 0 : one == 0 ? 127 : one == 1 ? -127 : (at * 37 + one) % 255 - 127);
    for (int many = 1; many <= MANY; many++) {
        struct mixline_halves asked = {highs, STRIDE, many, got}, again = {highs, STRIDE, many, wanted};
        memset(got, 0, sizeof got);
        memset(wanted, 0, sizeof wanted);
        portable(codes, LINES, BLOCKS, &again);
        begin();
        path(codes, LINES, BLOCKS, &asked);
        end();
        for (int one = 0; one < many; one++)
            if (memcmp(got + one * MIXLINE_RUN_SUMS, wanted + one * MIXLINE_RUN_SUMS, BLOCKS * MIXLINE_CODE_ROWS * sizeof *got)) return 0;
    }
    return 1;
}

/* The path that goes with one of codes.h, if this machine computes it rightly; NULL where the whole codes of queries
 * are multiplied as fast. */
static mixline_dot_halves_fn mixline_choose_halves(const char *isa, const char **chosen) {
#if defined(__x86_64__)
    mixline_dot_halves_fn plain = mixline_dot_halves_portable;
    if (strcmp(*chosen, "vnni")) return NULL;
    if (mixline_isa_named(isa) >= MIXLINE_AMX && mixline_halves_agree(mixline_dot_halves_amx, plain, 4, mixline_begin_tiles, mixline_end_tiles)) {
        *chosen = "amx";
        return mixline_dot_halves_amx;
    }
    if (mixline_halves_agree(mixline_dot_halves_vnni, plain, 4, mixline_no_pass, mixline_no_pass)) return mixline_dot_halves_vnni;
#endif
    (void)isa, (void)chosen;
    return NULL;
}

/* What goes before and behind a pass of that path. */
static void mixline_choose_pass(const char *chosen, mixline_pass_fn *begin, mixline_pass_fn *end) {
    *begin = *end = mixline_no_pass;
#if defined(__x86_64__)
    if (!strcmp(chosen, "amx")) *begin = mixline_begin_tiles, *end = mixline_end_tiles;
#endif
    (void)chosen;
}

#endif
