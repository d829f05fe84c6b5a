/* Dot products of int8 codes, exact in int32 on every instruction set.
 *
 * Sixteen rows lie together as a block: for every four dimensions in turn (a quad), four bytes of the first row, four of
 * the second, and so on. A quad of a block is 64 bytes: one AVX-512 register in the order that VNNI wants, two of AVX2,
 * one row of an AMX tile. Absent dimensions and rows are zero.
 */
#ifndef MIXLINE_CODES_H
#define MIXLINE_CODES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ahead.h"
#include "isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define MIXLINE_CODE_ROWS 16
#define MIXLINE_QUAD_BYTES 64

/* The query's 4 * quads codes have up to 15 bits, since its share of the error costs no byte: `query` as such, and split
 * into `high` and `low` with query = 128 * high + low. `out` gets 16 sums for each block. */
struct mixline_code_query {
    const int16_t *query;
    const int8_t *high, *low;
    int32_t sum; /* of all its codes */
    int32_t *out;
    int64_t ahead; /* of the codes in hand, in bytes: what is fetched meanwhile; 0: nothing */
};

/* Up to MIXLINE_CODE_QUERIES queries over the same blocks, each of whose bytes is read once. */
#define MIXLINE_CODE_QUERIES 16
typedef void (*mixline_dot_codes_fn)(const int8_t *codes, int64_t quads, int64_t blocks,
                                     const struct mixline_code_query *asked, int many);

static void mixline_dot_codes_portable(const int8_t *codes, int64_t quads, int64_t blocks,
                                       const struct mixline_code_query *asked, int many) {
    for (int64_t block = 0; block < blocks; block++, codes += quads * MIXLINE_QUAD_BYTES) {
        for (int at = 0; at < many; at++) {
            int32_t sums[MIXLINE_CODE_ROWS] = {0};
            for (int64_t quad = 0; quad < quads; quad++) {
                const int16_t *q = asked[at].query + 4 * quad;
                const int8_t *x = codes + quad * MIXLINE_QUAD_BYTES;
                for (int row = 0; row < MIXLINE_CODE_ROWS; row++, x += 4)
                    sums[row] += x[0] * q[0] + x[1] * q[1] + x[2] * q[2] + x[3] * q[3];
            }
            memcpy(asked[at].out + block * MIXLINE_CODE_ROWS, sums, sizeof sums);
        }
    }
}

#if defined(__x86_64__)
/* Bytes are widened to int16 and multiplied with pmaddwd: pmaddubsw would saturate. `MANY` is 1 or 2: more sums than
 * eight leave the registers. */
#define MIXLINE_DEFINE_CODES_AVX2(MANY)                                                                               \
    __attribute__((target("avx2"))) static void mixline_codes_avx2_##MANY(                                           \
        const int8_t *codes, int64_t quads, int64_t blocks, const struct mixline_code_query *asked) {                \
        for (int64_t block = 0; block < blocks; block++) {                                                           \
            __m256i sums[MANY][4];                                                                                   \
            memset(sums, 0, sizeof sums);                                                                            \
            for (int64_t quad = 0; quad < quads; quad++, codes += MIXLINE_QUAD_BYTES) {                              \
                __m256i q[MANY];                                                                                     \
                _Pragma("GCC unroll 2") for (int at = 0; at < MANY; at++) {                                          \
                    int64_t four;                                                                                    \
                    memcpy(&four, asked[at].query + 4 * quad, sizeof four);                                          \
                    q[at] = _mm256_set1_epi64x(four);                                                                \
                }                                                                                                    \
                __builtin_prefetch(codes + asked->ahead, 0, 1);                                                      \
                _Pragma("GCC unroll 4") for (int part = 0; part < 4; part++) {                                       \
                    __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(codes + 16 * part)));         \
                    _Pragma("GCC unroll 2") for (int at = 0; at < MANY; at++)                                        \
                        sums[at][part] = _mm256_add_epi32(sums[at][part], _mm256_madd_epi16(x, q[at]));              \
                }                                                                                                    \
            }                                                                                                        \
            _Pragma("GCC unroll 2") for (int at = 0; at < MANY; at++) {                                              \
                /* Two halves of each row's sum lie side by side, and hadd takes them in an order of its own. */     \
                int32_t *out = asked[at].out + block * MIXLINE_CODE_ROWS;                                            \
                __m256i low = _mm256_hadd_epi32(sums[at][0], sums[at][1]);                                           \
                __m256i high = _mm256_hadd_epi32(sums[at][2], sums[at][3]);                                          \
                _mm256_storeu_si256((__m256i *)out, _mm256_permute4x64_epi64(low, 0xD8));                            \
                _mm256_storeu_si256((__m256i *)(out + 8), _mm256_permute4x64_epi64(high, 0xD8));                     \
            }                                                                                                        \
        }                                                                                                            \
    }

MIXLINE_DEFINE_CODES_AVX2(1)
MIXLINE_DEFINE_CODES_AVX2(2)

static void mixline_dot_codes_avx2(const int8_t *codes, int64_t quads, int64_t blocks,
                                   const struct mixline_code_query *asked, int many) {
    for (; many > 1; many -= 2, asked += 2) mixline_codes_avx2_2(codes, quads, blocks, asked);
    if (many) mixline_codes_avx2_1(codes, quads, blocks, asked);
}

/* vpdpbusd takes one side unsigned: rows are moved up by 128, and 128 times the query's sum is taken off again. Sums may
 * pass 32 bits on the way, and come back modulo 2^32. */
#define MIXLINE_VNNI_TARGET target("avx512f,avx512vl,avx512bw,avx512vnni")

#define MIXLINE_CODES_VNNI __attribute__((always_inline, MIXLINE_VNNI_TARGET)) static inline

/* One quad of a block with `many` queries, known where this is inlined; sums are two of each query, high and low. */
MIXLINE_CODES_VNNI void mixline_quad_vnni(const int8_t *codes, int64_t quad, const struct mixline_code_query *asked,
                                          __m512i sums[][2], const int many) {
    __m512i x = _mm512_xor_si512(_mm512_loadu_si512(codes + quad * MIXLINE_QUAD_BYTES), _mm512_set1_epi8((char)0x80));
    __builtin_prefetch(codes + quad * MIXLINE_QUAD_BYTES + asked->ahead, 0, 1);
    _Pragma("GCC unroll 4") for (int at = 0; at < many; at++) {
        int32_t high, low;
        memcpy(&high, asked[at].high + 4 * quad, sizeof high);
        memcpy(&low, asked[at].low + 4 * quad, sizeof low);
        sums[at][0] = _mm512_dpbusd_epi32(sums[at][0], x, _mm512_set1_epi32(high));
        sums[at][1] = _mm512_dpbusd_epi32(sums[at][1], x, _mm512_set1_epi32(low));
    }
}

/* Even quads and odd ones have sums of their own: one would wait for itself. */
MIXLINE_CODES_VNNI void mixline_codes_strip(const int8_t *codes, int64_t quads, int64_t blocks,
                                            const struct mixline_code_query *asked, const int many) {
    for (int64_t block = 0; block < blocks; block++, codes += quads * MIXLINE_QUAD_BYTES) {
        __m512i even[4][2], odd[4][2];
        int64_t quad = 0;
        memset(even, 0, sizeof even);
        memset(odd, 0, sizeof odd);
        for (; quad + 2 <= quads; quad += 2) {
            mixline_quad_vnni(codes, quad, asked, even, many);
            mixline_quad_vnni(codes, quad + 1, asked, odd, many);
        }
        if (quad < quads) mixline_quad_vnni(codes, quad, asked, even, many);
        _Pragma("GCC unroll 4") for (int at = 0; at < many; at++) {
            __m512i sums = _mm512_slli_epi32(_mm512_add_epi32(even[at][0], odd[at][0]), 7);
            sums = _mm512_add_epi32(sums, _mm512_add_epi32(even[at][1], odd[at][1]));
            sums = _mm512_sub_epi32(sums, _mm512_set1_epi32((int32_t)((uint32_t)asked[at].sum << 7)));
            _mm512_storeu_si512(asked[at].out + block * MIXLINE_CODE_ROWS, sums);
        }
    }
}

__attribute__((MIXLINE_VNNI_TARGET)) static void mixline_dot_codes_vnni(const int8_t *codes, int64_t quads,
                                                                       int64_t blocks,
                                                                       const struct mixline_code_query *asked,
                                                                       int many) {
    for (; many >= 4; many -= 4, asked += 4) mixline_codes_strip(codes, quads, blocks, asked, 4);
    for (; many > 0; many--, asked++) mixline_codes_strip(codes, quads, blocks, asked, 1);
}
#endif

/* What the sums of a block are worth: the estimate sums * (scales * scale) of every row; as bits which are at least the bar,
 * or not a number: estimates that overflow rule nothing out. No multiply-add is fused, so that all paths round alike. */
typedef uint32_t (*mixline_weigh_fn)(const int32_t *sums, const float *scales, float scale, float bar, float *estimates);

static uint32_t mixline_weigh_portable(const int32_t *sums, const float *scales, float scale, float bar,
                                       float *estimates) {
    uint32_t bits = 0;
    for (int row = 0; row < MIXLINE_CODE_ROWS; row++) {
        estimates[row] = (float)sums[row] * (scales[row] * scale);
        bits |= (uint32_t)!(estimates[row] < bar) << row;
    }
    return bits;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint32_t mixline_weigh_avx2(const int32_t *sums, const float *scales, float scale,
                                                                   float bar, float *estimates) {
    const __m256 by = _mm256_set1_ps(scale), least = _mm256_set1_ps(bar);
    uint32_t bits = 0;
    for (int at = 0; at < MIXLINE_CODE_ROWS; at += 8) {
        __m256 sum = _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(sums + at)));
        __m256 value = _mm256_mul_ps(sum, _mm256_mul_ps(_mm256_loadu_ps(scales + at), by));
        _mm256_storeu_ps(estimates + at, value);
        bits |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(value, least, _CMP_NLT_UQ)) << at;
    }
    return bits;
}
#endif

/* Which of a block's values are at least `bar`, as bits; what is no number is one of them where `strays` says so. */
static inline uint32_t mixline_reaching(const float *values, float bar, int strays) {
    uint32_t bits = 0;
#if defined(__x86_64__)
    __m128 wanted = _mm_set1_ps(bar);
    for (int part = 0; part < 4; part++) {
        __m128 here = _mm_loadu_ps(values + 4 * part);
        __m128 reached = strays ? _mm_cmpnlt_ps(here, wanted) : _mm_cmpge_ps(here, wanted);
        bits |= (uint32_t)_mm_movemask_ps(reached) << (4 * part);
    }
#else
    for (int row = 0; row < MIXLINE_CODE_ROWS; row++)
        bits |= (uint32_t)(strays ? !(values[row] < bar) : values[row] >= bar) << row;
#endif
    return bits;
}

/* For the beginning of what is read next: its first lines are waited for otherwise. */
static inline void mixline_fetch_ahead(const void *start, int64_t size) {
    for (int64_t at = 0; at < size; at += 64) __builtin_prefetch((const char *)start + at, 0, 1);
}

static inline int mixline_lowest_bit(uint32_t bits) { return __builtin_ctz(bits); }

#if defined(__aarch64__)
__attribute__((target("arch=armv8.2-a+dotprod"))) static void mixline_dot_codes_neon(const int8_t *codes, int64_t quads,
                                                                       int64_t blocks,
                                                                       const struct mixline_code_query *asked,
                                                                       int many) {
    for (int64_t block = 0; block < blocks; block++, codes += quads * MIXLINE_QUAD_BYTES) {
        for (int at = 0; at < many; at++) {
            int32x4_t highs[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
            int32x4_t lows[4] = {highs[0], highs[0], highs[0], highs[0]};
            for (int64_t quad = 0; quad < quads; quad++) {
                int32_t high, low;
                memcpy(&high, asked[at].high + 4 * quad, sizeof high);
                memcpy(&low, asked[at].low + 4 * quad, sizeof low);
                int8x16_t by_high = vreinterpretq_s8_s32(vdupq_n_s32(high)), by_low = vreinterpretq_s8_s32(vdupq_n_s32(low));
                for (int part = 0; part < 4; part++) {
                    int8x16_t x = vld1q_s8(codes + quad * MIXLINE_QUAD_BYTES + 16 * part);
                    highs[part] = vdotq_s32(highs[part], x, by_high);
                    lows[part] = vdotq_s32(lows[part], x, by_low);
                }
            }
            for (int part = 0; part < 4; part++)
                vst1q_s32(asked[at].out + block * MIXLINE_CODE_ROWS + 4 * part,
                          vaddq_s32(vshlq_n_s32(highs[part], 7), lows[part]));
        }
    }
}
#endif

/* Whether a path gives what the portable one does, for any number of queries, on blocks that hold the extremes. */
static int mixline_codes_agree(mixline_dot_codes_fn path) {
    enum { QUADS = 3, BLOCKS = 4, SUMS = BLOCKS * MIXLINE_CODE_ROWS, MANY = MIXLINE_CODE_QUERIES };
    int8_t codes[BLOCKS * QUADS * MIXLINE_QUAD_BYTES], high[MANY][4 * QUADS], low[MANY][4 * QUADS];
    int16_t query[MANY][4 * QUADS];
    int32_t got[MANY * SUMS], wanted[MANY * SUMS];
    struct mixline_code_query asked[MANY], again[MANY];
    for (int at = 0; at < (int)sizeof codes; at++) codes[at] = (int8_t)(at < 64 ? -127 : (at * 73 + at / 7) % 255 - 127);
    for (int one = 0; one < MANY; one++) {
        for (int at = 0; at < 4 * QUADS; at++) {
            high[one][at] = (int8_t)(at % 3 == one % 3 ? -127 : 127 - 11 * at);
            low[one][at] = (int8_t)(at % 2 ? 63 - at - one : -64);
            query[one][at] = (int16_t)(128 * high[one][at] + low[one][at]);
        }
        int32_t sum = 0;
        for (int at = 0; at < 4 * QUADS; at++) sum += query[one][at];
        asked[one] = (struct mixline_code_query){query[one], high[one], low[one], sum, got + one * SUMS, 0};
        again[one] = (struct mixline_code_query){query[one], high[one], low[one], sum, wanted + one * SUMS, 0};
    }
    mixline_dot_codes_portable(codes, QUADS, BLOCKS, again, MANY);
    for (int many = 1; many <= MANY; many++) {
        memset(got, 0, sizeof got);
        path(codes, QUADS, BLOCKS, asked, many);
        if (memcmp(got, wanted, (size_t)many * SUMS * sizeof *got)) return 0;
    }
    return 1;
}

/* The path for an instruction set that this machine has, if it computes rightly; else a plainer one. */
static mixline_dot_codes_fn mixline_choose_codes(const char *isa, const char **chosen) {
#if defined(__x86_64__)
    int wanted = mixline_isa_named(isa);
    if (wanted >= MIXLINE_VNNI && mixline_codes_agree(mixline_dot_codes_vnni)) {
        *chosen = "vnni";
        return mixline_dot_codes_vnni;
    }
    if (wanted >= MIXLINE_AVX2 && mixline_codes_agree(mixline_dot_codes_avx2)) {
        *chosen = "avx2";
        return mixline_dot_codes_avx2;
    }
#elif defined(__aarch64__)
    if (mixline_isa_named(isa) == MIXLINE_NEON && mixline_codes_agree(mixline_dot_codes_neon)) {
        *chosen = "neon";
        return mixline_dot_codes_neon;
    }
#endif
    (void)isa;
    *chosen = "portable";
    return mixline_dot_codes_portable;
}

/* The weighing that goes with a path. */
static mixline_weigh_fn mixline_choose_weigh(const char *chosen) {
#if defined(__x86_64__)
    if (strcmp(chosen, "portable")) return mixline_weigh_avx2;
#endif
    return mixline_weigh_portable;
}

#endif
