/* Dot products of int4 codes, exact in int32 on every instruction set.
 *
 * As in codes.h, but a line of 64 bytes holds eight dimensions of sixteen rows (an octet): four bytes a row, whose low
 * halves are the first four dimensions and whose high halves the next four, each moved up by 8 so that it is 1 .. 15.
 * Against these, 15 bits of a query would be lost: only its high codes are used.
 */
#ifndef MIXLINE_NIBBLES_H
#define MIXLINE_NIBBLES_H

#include "halves.h"

#define MIXLINE_NIBBLE_ZERO 8
#define MIXLINE_OCTETS_HELD 4 /* lines whose products int16 holds: 4 * 4 * 15 * 127 < 2^15 */

/* `lines` of int4 codes as twice as many of int8. */
typedef void (*mixline_unpack_fn)(const uint8_t *nibbles, int64_t lines, uint8_t *quads);

static void mixline_dot_nibbles_portable(const uint8_t *nibbles, int64_t octets, int64_t blocks,
                                         const struct mixline_halves *asked) {
    for (int64_t block = 0; block < blocks; block++, nibbles += octets * MIXLINE_QUAD_BYTES)
        for (int at = 0; at < asked->many; at++) {
            int32_t *out = asked->sums + at * MIXLINE_RUN_SUMS + block * MIXLINE_CODE_ROWS;
            memset(out, 0, MIXLINE_CODE_ROWS * sizeof *out);
            for (int64_t octet = 0; octet < octets; octet++) {
                const int8_t *q = asked->highs + at * asked->stride + 8 * octet;
                const uint8_t *x = nibbles + octet * MIXLINE_QUAD_BYTES;
                for (int row = 0; row < MIXLINE_CODE_ROWS; row++, x += 4)
                    for (int d = 0; d < 4; d++)
                        out[row] += ((x[d] & 15) - MIXLINE_NIBBLE_ZERO) * q[d] + ((x[d] >> 4) - MIXLINE_NIBBLE_ZERO) * q[4 + d];
            }
        }
}

#if defined(__x86_64__)
/* pmaddubsw cannot saturate here: two products of 15 and 127 are far below 2^15. `MANY` is 1 or 2. */
#define MIXLINE_DEFINE_NIBBLES_AVX2(MANY)                                                                             \
    __attribute__((target("avx2"))) static void mixline_nibbles_avx2_##MANY(                                         \
        const uint8_t *nibbles, int64_t octets, int64_t blocks, const int8_t *highs, int64_t stride, int32_t *out) { \
        const __m256i half = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);                                      \
        __m256i excess[MANY];                                                                                        \
        for (int at = 0; at < MANY; at++)                                                                            \
            excess[at] = _mm256_set1_epi32(mixline_half_excess(highs + at * stride, 8 * octets, MIXLINE_NIBBLE_ZERO)); \
        for (int64_t block = 0; block < blocks; block++) {                                                           \
            __m256i sums[MANY][2];                                                                                   \
            for (int at = 0; at < MANY; at++)                                                                        \
                sums[at][0] = sums[at][1] = _mm256_sub_epi32(_mm256_setzero_si256(), excess[at]);                    \
            for (int64_t octet = 0; octet < octets;) {                                                               \
                int64_t stop = octets - octet < MIXLINE_OCTETS_HELD ? octets : octet + MIXLINE_OCTETS_HELD;          \
                __m256i held[MANY][2];                                                                               \
                memset(held, 0, sizeof held);                                                                        \
                for (; octet < stop; octet++, nibbles += MIXLINE_QUAD_BYTES) {                                       \
                    MIXLINE_FETCH_AHEAD(nibbles);                                                                    \
                    _Pragma("GCC unroll 2") for (int part = 0; part < 2; part++) {                                   \
                        __m256i x = _mm256_loadu_si256((const __m256i *)(nibbles + 32 * part));                      \
                        __m256i low = _mm256_and_si256(x, half);                                                     \
                        __m256i high = _mm256_and_si256(_mm256_srli_epi16(x, 4), half);                              \
                        _Pragma("GCC unroll 2") for (int at = 0; at < MANY; at++) {                                  \
                            int32_t first, next;                                                                     \
                            memcpy(&first, highs + at * stride + 8 * octet, sizeof first);                           \
                            memcpy(&next, highs + at * stride + 8 * octet + 4, sizeof next);                         \
                            __m256i products = _mm256_add_epi16(_mm256_maddubs_epi16(low, _mm256_set1_epi32(first)), \
                                                                _mm256_maddubs_epi16(high, _mm256_set1_epi32(next))); \
                            held[at][part] = _mm256_add_epi16(held[at][part], products);                             \
                        }                                                                                            \
                    }                                                                                                \
                }                                                                                                    \
                _Pragma("GCC unroll 2") for (int at = 0; at < MANY; at++)                                            \
                    _Pragma("GCC unroll 2") for (int part = 0; part < 2; part++)                                     \
                        sums[at][part] = _mm256_add_epi32(sums[at][part], _mm256_madd_epi16(held[at][part], ones));  \
            }                                                                                                        \
            for (int at = 0; at < MANY; at++)                                                                        \
                memcpy(out + at * MIXLINE_RUN_SUMS + block * MIXLINE_CODE_ROWS, sums[at], sizeof sums[at]);          \
        }                                                                                                            \
    }

MIXLINE_DEFINE_NIBBLES_AVX2(1)
MIXLINE_DEFINE_NIBBLES_AVX2(2)

static void mixline_dot_nibbles_avx2(const uint8_t *nibbles, int64_t octets, int64_t blocks,
                                     const struct mixline_halves *asked) {
    const int8_t *highs = asked->highs;
    int32_t *out = asked->sums;
    int many = asked->many;
    for (; many > 1; many -= 2, highs += 2 * asked->stride, out += 2 * MIXLINE_RUN_SUMS)
        mixline_nibbles_avx2_2(nibbles, octets, blocks, highs, asked->stride, out);
    if (many) mixline_nibbles_avx2_1(nibbles, octets, blocks, highs, asked->stride, out);
}

__attribute__((MIXLINE_VNNI_TARGET)) static void mixline_dot_nibbles_vnni(const uint8_t *nibbles, int64_t octets,
                                                                         int64_t blocks,
                                                                         const struct mixline_halves *asked) {
    mixline_all_strips(nibbles, octets, blocks, asked, MIXLINE_NIBBLE_ZERO, 2);
}

/* What a run of blocks is turned into, once, where many queries are multiplied with it on tiles. */
__attribute__((MIXLINE_VNNI_TARGET)) static void mixline_unpack_nibbles(const uint8_t *nibbles, int64_t lines,
                                                                       uint8_t *quads) {
    const __m512i zero = _mm512_set1_epi8(MIXLINE_NIBBLE_ZERO);
    for (int64_t line = 0; line < lines; line++) {
        __m512i x[2];
        mixline_line_parts(nibbles + 64 * line, x, 2);
        for (int part = 0; part < 2; part++)
            _mm512_storeu_si512(quads + 128 * line + 64 * part, _mm512_sub_epi8(x[part], zero));
    }
}
#endif

#if defined(__aarch64__)
__attribute__((target("arch=armv8.2-a+dotprod"))) static void mixline_dot_nibbles_neon(const uint8_t *nibbles, int64_t octets,
                                                                         int64_t blocks,
                                                                         const struct mixline_halves *asked) {
    const int8x16_t zero = vdupq_n_s8(MIXLINE_NIBBLE_ZERO);
    for (int64_t block = 0; block < blocks; block++, nibbles += octets * MIXLINE_QUAD_BYTES) {
        for (int at = 0; at < asked->many; at++) {
            int32_t *out = asked->sums + at * MIXLINE_RUN_SUMS + block * MIXLINE_CODE_ROWS;
            int32x4_t sums[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
            for (int64_t octet = 0; octet < octets; octet++) {
                int32_t four[2];
                memcpy(four, asked->highs + at * asked->stride + 8 * octet, sizeof four);
                for (int part = 0; part < 4; part++) {
                    uint8x16_t x = vld1q_u8(nibbles + octet * MIXLINE_QUAD_BYTES + 16 * part);
                    int8x16_t low = vsubq_s8(vreinterpretq_s8_u8(vandq_u8(x, vdupq_n_u8(15))), zero);
                    int8x16_t high = vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(x, 4)), zero);
                    sums[part] = vdotq_s32(sums[part], low, vreinterpretq_s8_s32(vdupq_n_s32(four[0])));
                    sums[part] = vdotq_s32(sums[part], high, vreinterpretq_s8_s32(vdupq_n_s32(four[1])));
                }
            }
            for (int part = 0; part < 4; part++) vst1q_s32(out + 4 * part, sums[part]);
        }
    }
}
#endif

static int mixline_nibbles_agree(mixline_dot_halves_fn path) {
    return mixline_halves_agree(path, mixline_dot_nibbles_portable, 8, mixline_no_pass, mixline_no_pass);
}

/* The path that goes with those of codes.h and halves.h, if this machine computes it rightly. */
static mixline_dot_halves_fn mixline_choose_nibbles(const char *chosen) {
#if defined(__x86_64__)
    int wide = !strcmp(chosen, "amx") || !strcmp(chosen, "vnni");
    if (wide && mixline_nibbles_agree(mixline_dot_nibbles_vnni)) return mixline_dot_nibbles_vnni;
    if (strcmp(chosen, "portable") && mixline_nibbles_agree(mixline_dot_nibbles_avx2)) return mixline_dot_nibbles_avx2;
#elif defined(__aarch64__)
    if (!strcmp(chosen, "neon") && mixline_nibbles_agree(mixline_dot_nibbles_neon)) return mixline_dot_nibbles_neon;
#endif
    return mixline_dot_nibbles_portable;
}

/* Only with tiles; NULL otherwise. */
static mixline_unpack_fn mixline_choose_unpack(const char *chosen) {
#if defined(__x86_64__)
    if (!strcmp(chosen, "amx")) return mixline_unpack_nibbles;
#endif
    (void)chosen;
    return NULL;
}

#endif
