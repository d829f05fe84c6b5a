/* Dot products of int4 codes, exact in int32 on every instruction set.
 *
 * As in codes.h, but a line of 64 bytes holds eight dimensions of sixteen rows (an octet): four bytes a row, whose low
 * halves are the first four dimensions and whose high halves the next four, each moved up by 8 so that it is 1 .. 15.
 * Against these, 15 bits of a query would be lost: only its `high` codes are used.
 */
#ifndef MIXLINE_NIBBLES_H
#define MIXLINE_NIBBLES_H

#include "codes.h"

#define MIXLINE_NIBBLE_ZERO 8
#define MIXLINE_OCTETS_HELD 4 /* lines whose products int16 holds: 4 * 4 * 15 * 127 < 2^15 */

/* Like mixline_dot_codes_fn; `octets` lines a block. */
typedef void (*mixline_dot_nibbles_fn)(const uint8_t *nibbles, int64_t octets, int64_t blocks,
                                       const struct mixline_code_query *asked, int many);

/* 8 times the sum of the query: what moving the rows up adds to each of their products. */
static int32_t mixline_nibble_excess(const int8_t *high, int64_t octets) {
    int32_t sum = 0;
    for (int64_t at = 0; at < 8 * octets; at++) sum += high[at];
    return MIXLINE_NIBBLE_ZERO * sum;
}

static void mixline_dot_nibbles_portable(const uint8_t *nibbles, int64_t octets, int64_t blocks,
                                         const struct mixline_code_query *asked, int many) {
    for (int64_t block = 0; block < blocks; block++, nibbles += octets * MIXLINE_QUAD_BYTES) {
        for (int at = 0; at < many; at++) {
            int32_t sums[MIXLINE_CODE_ROWS] = {0};
            for (int64_t octet = 0; octet < octets; octet++) {
                const int8_t *q = asked[at].high + 8 * octet;
                const uint8_t *x = nibbles + octet * MIXLINE_QUAD_BYTES;
                for (int row = 0; row < MIXLINE_CODE_ROWS; row++, x += 4)
                    for (int d = 0; d < 4; d++)
                        sums[row] += ((x[d] & 15) - MIXLINE_NIBBLE_ZERO) * q[d] + ((x[d] >> 4) - MIXLINE_NIBBLE_ZERO) * q[4 + d];
            }
            memcpy(asked[at].out + block * MIXLINE_CODE_ROWS, sums, sizeof sums);
        }
    }
}

#if defined(__x86_64__)
/* pmaddubsw cannot saturate here: two products of 15 and 127 are far below 2^15. `MANY` is 1 or 2. */
#define MIXLINE_DEFINE_NIBBLES_AVX2(MANY)                                                                             \
    __attribute__((target("avx2"))) static void mixline_nibbles_avx2_##MANY(                                         \
        const uint8_t *nibbles, int64_t octets, int64_t blocks, const struct mixline_code_query *asked) {            \
        const __m256i half = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);                                      \
        __m256i excess[MANY];                                                                                        \
        for (int at = 0; at < MANY; at++)                                                                            \
            excess[at] = _mm256_set1_epi32(mixline_nibble_excess(asked[at].high, octets));                           \
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
                            memcpy(&first, asked[at].high + 8 * octet, sizeof first);                                \
                            memcpy(&next, asked[at].high + 8 * octet + 4, sizeof next);                              \
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
                memcpy(asked[at].out + block * MIXLINE_CODE_ROWS, sums[at], sizeof sums[at]);                        \
        }                                                                                                            \
    }

MIXLINE_DEFINE_NIBBLES_AVX2(1)
MIXLINE_DEFINE_NIBBLES_AVX2(2)

static void mixline_dot_nibbles_avx2(const uint8_t *nibbles, int64_t octets, int64_t blocks,
                                     const struct mixline_code_query *asked, int many) {
    for (; many > 1; many -= 2, asked += 2) mixline_nibbles_avx2_2(nibbles, octets, blocks, asked);
    if (many) mixline_nibbles_avx2_1(nibbles, octets, blocks, asked);
}

#define MIXLINE_DEFINE_NIBBLES_VNNI(MANY)                                                                             \
    __attribute__((target("avx512f,avx512vl,avx512bw,avx512vnni"))) static void mixline_nibbles_vnni_##MANY(         \
        const uint8_t *nibbles, int64_t octets, int64_t blocks, const struct mixline_code_query *asked) {            \
        const __m512i half = _mm512_set1_epi8(15);                                                                   \
        int32_t excess[MANY];                                                                                        \
        for (int at = 0; at < MANY; at++) excess[at] = mixline_nibble_excess(asked[at].high, octets);                \
        for (int64_t block = 0; block < blocks; block++) {                                                           \
            __m512i sums[MANY];                                                                                      \
            for (int at = 0; at < MANY; at++) sums[at] = _mm512_set1_epi32(-excess[at]);                             \
            for (int64_t octet = 0; octet < octets; octet++, nibbles += MIXLINE_QUAD_BYTES) {                        \
                __m512i x = _mm512_loadu_si512(nibbles);                                                             \
                __m512i low = _mm512_and_si512(x, half), high = _mm512_and_si512(_mm512_srli_epi16(x, 4), half);     \
                MIXLINE_FETCH_AHEAD(nibbles);                                                                        \
                _Pragma("GCC unroll 4") for (int at = 0; at < MANY; at++) {                                          \
                    int32_t first, next;                                                                             \
                    memcpy(&first, asked[at].high + 8 * octet, sizeof first);                                        \
                    memcpy(&next, asked[at].high + 8 * octet + 4, sizeof next);                                      \
                    sums[at] = _mm512_dpbusd_epi32(sums[at], low, _mm512_set1_epi32(first));                         \
                    sums[at] = _mm512_dpbusd_epi32(sums[at], high, _mm512_set1_epi32(next));                         \
                }                                                                                                    \
            }                                                                                                        \
            for (int at = 0; at < MANY; at++) _mm512_storeu_si512(asked[at].out + block * MIXLINE_CODE_ROWS, sums[at]); \
        }                                                                                                            \
    }

MIXLINE_DEFINE_NIBBLES_VNNI(1)
MIXLINE_DEFINE_NIBBLES_VNNI(4)

static void mixline_dot_nibbles_vnni(const uint8_t *nibbles, int64_t octets, int64_t blocks,
                                     const struct mixline_code_query *asked, int many) {
    for (; many >= 4; many -= 4, asked += 4) mixline_nibbles_vnni_4(nibbles, octets, blocks, asked);
    for (; many > 0; many--, asked++) mixline_nibbles_vnni_1(nibbles, octets, blocks, asked);
}
#endif

#if defined(__aarch64__)
__attribute__((target("arch=armv8.2-a+dotprod"))) static void mixline_dot_nibbles_neon(const uint8_t *nibbles, int64_t octets,
                                                                         int64_t blocks,
                                                                         const struct mixline_code_query *asked,
                                                                         int many) {
    const int8x16_t zero = vdupq_n_s8(MIXLINE_NIBBLE_ZERO);
    for (int64_t block = 0; block < blocks; block++, nibbles += octets * MIXLINE_QUAD_BYTES) {
        for (int at = 0; at < many; at++) {
            int32x4_t sums[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
            for (int64_t octet = 0; octet < octets; octet++) {
                int32_t first, next;
                memcpy(&first, asked[at].high + 8 * octet, sizeof first);
                memcpy(&next, asked[at].high + 8 * octet + 4, sizeof next);
                for (int part = 0; part < 4; part++) {
                    uint8x16_t x = vld1q_u8(nibbles + octet * MIXLINE_QUAD_BYTES + 16 * part);
                    int8x16_t low = vsubq_s8(vreinterpretq_s8_u8(vandq_u8(x, vdupq_n_u8(15))), zero);
                    int8x16_t high = vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(x, 4)), zero);
                    sums[part] = vdotq_s32(sums[part], low, vreinterpretq_s8_s32(vdupq_n_s32(first)));
                    sums[part] = vdotq_s32(sums[part], high, vreinterpretq_s8_s32(vdupq_n_s32(next)));
                }
            }
            for (int part = 0; part < 4; part++)
                vst1q_s32(asked[at].out + block * MIXLINE_CODE_ROWS + 4 * part, sums[part]);
        }
    }
}
#endif

/* Whether a path gives what the portable one does, on blocks and queries that hold the extremes. */
static int mixline_nibbles_agree(mixline_dot_nibbles_fn path) {
    enum { OCTETS = 11, BLOCKS = 3, SUMS = BLOCKS * MIXLINE_CODE_ROWS, MANY = MIXLINE_CODE_QUERIES };
    uint8_t nibbles[BLOCKS * OCTETS * MIXLINE_QUAD_BYTES];
    int8_t high[MANY][8 * OCTETS];
    int32_t got[MANY * SUMS], wanted[MANY * SUMS];
    struct mixline_code_query asked[MANY] = {{0}}, again[MANY] = {{0}};
    for (int at = 0; at < (int)sizeof nibbles; at++) nibbles[at] = (uint8_t)(at < 800 ? 0xFF : at * 73 + at / 7);
    for (int one = 0; one < MANY; one++) {
        for (int at = 0; at < 8 * OCTETS; at++) high[one][at] = (int8_t)(one == 0 ? 127 : one == 1 ? -127 : at * 37 % 255 - 127);
        asked[one].high = again[one].high = high[one];
        asked[one].out = got + one * SUMS;
        again[one].out = wanted + one * SUMS;
    }
    mixline_dot_nibbles_portable(nibbles, OCTETS, BLOCKS, again, MANY);
    for (int many = 1; many <= MANY; many++) {
        memset(got, 0, sizeof got);
        path(nibbles, OCTETS, BLOCKS, asked, many);
        if (memcmp(got, wanted, (size_t)many * SUMS * sizeof *got)) return 0;
    }
    return 1;
}

/* The path that goes with one of codes.h, if this machine computes it rightly. */
static mixline_dot_nibbles_fn mixline_choose_nibbles(const char *chosen) {
#if defined(__x86_64__)
    int wide = !strcmp(chosen, "vnni") || !strcmp(chosen, "amx");
    if (wide && mixline_nibbles_agree(mixline_dot_nibbles_vnni)) return mixline_dot_nibbles_vnni;
    if (strcmp(chosen, "portable") && mixline_nibbles_agree(mixline_dot_nibbles_avx2)) return mixline_dot_nibbles_avx2;
#elif defined(__aarch64__)
    if (!strcmp(chosen, "neon") && mixline_nibbles_agree(mixline_dot_nibbles_neon)) return mixline_dot_nibbles_neon;
#endif
    return mixline_dot_nibbles_portable;
}

#endif
