/* Dot products of int8 codes that lie row by row, for rows listed at random: exact in int32 on every instruction set.
 *
 * A row is `width` bytes, a multiple of MIXLINE_ROWCODE_STEP, absent dimensions zero. The query has int16 codes, whose
 * share of the error so costs no byte; whoever makes them sees to it that no sum leaves 32 bits. A listed row is
 * mostly a miss of the caches, so the next rows are fetched while some are worked at.
 */
#ifndef MIXLINE_ROWCODES_H
#define MIXLINE_ROWCODES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define MIXLINE_ROWCODE_STEP 32
#define MIXLINE_ROWCODE_NEAR 128   /* bytes of a row that the caller has fetched when it listed the row */
#define MIXLINE_ROWCODE_FETCH 2048 /* and the most that are fetched of it here */

typedef void (*mixline_dot_rows_fn)(const int8_t *codes, int64_t width, const uint32_t *rows, int64_t count,
                                    const int16_t *query, int32_t *out);

static inline void mixline_fetch_row(const int8_t *row, int64_t from, int64_t width) {
    for (int64_t at = from; at < width && at < MIXLINE_ROWCODE_FETCH; at += 64) __builtin_prefetch(row + at);
}

static inline void mixline_fetch_line(const void *at) { __builtin_prefetch(at); }

static void mixline_dot_rows_portable(const int8_t *codes, int64_t width, const uint32_t *rows, int64_t count,
                                      const int16_t *query, int32_t *out) {
    for (int64_t i = 0; i < count; i++) {
        const int8_t *row = codes + rows[i] * width;
        int32_t sum = 0;
        for (int64_t at = 0; at < width; at++) sum += row[at] * query[at];
        out[i] = sum;
    }
}

#if defined(__x86_64__)
#define MIXLINE_ROWS_AVX2 __attribute__((target("avx2"), always_inline)) static inline

MIXLINE_ROWS_AVX2 __m256i mixline_widened(const int8_t *at) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)at));
}

MIXLINE_ROWS_AVX2 int32_t mixline_fold_sums(__m256i sums) {
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    half = _mm_hadd_epi32(half, half);
    return _mm_cvtsi128_si32(_mm_hadd_epi32(half, half));
}

/* Bytes are widened to int16 and multiplied with pmaddwd: pmaddubsw would saturate. Four rows at once share the loads
 * of the query, and their misses overlap. */
__attribute__((target("avx2"))) static void mixline_dot_rows_avx2(const int8_t *codes, int64_t width,
                                                                  const uint32_t *rows, int64_t count,
                                                                  const int16_t *query, int32_t *out) {
    int64_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const int8_t *x[4];
        __m256i sums[4];
        for (int one = 0; one < 4; one++) {
            x[one] = codes + rows[i + one] * width;
            sums[one] = _mm256_setzero_si256();
            if (i + 4 + one < count)
                mixline_fetch_row(codes + rows[i + 4 + one] * width, MIXLINE_ROWCODE_NEAR, width);
        }
        for (int64_t at = 0; at < width; at += 16) {
            __m256i q = _mm256_loadu_si256((const __m256i *)(query + at));
            _Pragma("GCC unroll 4") for (int one = 0; one < 4; one++)
                sums[one] = _mm256_add_epi32(sums[one], _mm256_madd_epi16(mixline_widened(x[one] + at), q));
        }
        __m256i low = _mm256_hadd_epi32(sums[0], sums[1]), high = _mm256_hadd_epi32(sums[2], sums[3]);
        low = _mm256_hadd_epi32(low, high);
        _mm_storeu_si128((__m128i *)(out + i),
                         _mm_add_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
    }
    for (; i < count; i++) {
        const int8_t *x = codes + rows[i] * width;
        __m256i even = _mm256_setzero_si256(), odd = _mm256_setzero_si256();
        for (int64_t at = 0; at < width; at += 32) {
            __m256i q = _mm256_loadu_si256((const __m256i *)(query + at));
            __m256i r = _mm256_loadu_si256((const __m256i *)(query + at + 16));
            even = _mm256_add_epi32(even, _mm256_madd_epi16(mixline_widened(x + at), q));
            odd = _mm256_add_epi32(odd, _mm256_madd_epi16(mixline_widened(x + at + 16), r));
        }
        out[i] = mixline_fold_sums(_mm256_add_epi32(even, odd));
    }
}

/* vpdpwssd adds pairs of int16 products to int32 without saturation; vpdpbusd would want the query in two halves. */
__attribute__((target("avx512f,avx512vl,avx512bw,avx512vnni"))) static void mixline_dot_rows_vnni(
    const int8_t *codes, int64_t width, const uint32_t *rows, int64_t count, const int16_t *query, int32_t *out) {
    for (int64_t i = 0; i < count; i += 4) {
        int many = count - i < 4 ? (int)(count - i) : 4;
        const int8_t *x[4];
        __m512i sums[4];
        for (int one = 0; one < 4; one++) {
            x[one] = codes + rows[i + (one < many ? one : 0)] * width;
            sums[one] = _mm512_setzero_si512();
            if (i + 4 + one < count)
                mixline_fetch_row(codes + rows[i + 4 + one] * width, MIXLINE_ROWCODE_NEAR, width);
        }
        for (int64_t at = 0; at < width; at += 32) {
            __m512i q = _mm512_loadu_si512(query + at);
            _Pragma("GCC unroll 4") for (int one = 0; one < 4; one++) {
                __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(x[one] + at)));
                sums[one] = _mm512_dpwssd_epi32(sums[one], wide, q);
            }
        }
        for (int one = 0; one < many; one++) out[i + one] = _mm512_reduce_add_epi32(sums[one]);
    }
}
#endif

#if defined(__aarch64__)
static void mixline_dot_rows_neon(const int8_t *codes, int64_t width, const uint32_t *rows, int64_t count,
                                  const int16_t *query, int32_t *out) {
    for (int64_t i = 0; i < count; i++) {
        const int8_t *row = codes + rows[i] * width;
        int32x4_t sums = vdupq_n_s32(0);
        for (int64_t at = 0; at < width; at += 8) {
            int16x8_t x = vmovl_s8(vld1_s8(row + at)), q = vld1q_s16(query + at);
            sums = vmlal_s16(sums, vget_low_s16(x), vget_low_s16(q));
            sums = vmlal_high_s16(sums, x, q);
        }
        out[i] = vaddvq_s32(sums);
    }
}
#endif

/* Whether a path gives what the portable one does, for any number of rows, with the extremes among them. */
static int mixline_rows_agree(mixline_dot_rows_fn path) {
    enum { WIDTH = 3 * MIXLINE_ROWCODE_STEP, ROWS = 11 };
    int8_t codes[ROWS * WIDTH];
    int16_t query[WIDTH];
    uint32_t rows[ROWS];
    int32_t got[ROWS], wanted[ROWS];
    for (int at = 0; at < (int)sizeof codes; at++) codes[at] = (int8_t)(at < 64 ? -127 : (at * 73 + at / 7) % 255 - 127);
    for (int at = 0; at < WIDTH; at++) query[at] = (int16_t)(at < 64 ? 16256 : at % 2 ? -16256 : 16256 - 71 * at);
    for (int at = 0; at < ROWS; at++) rows[at] = (uint32_t)(at * 7 % ROWS);
    mixline_dot_rows_portable(codes, WIDTH, rows, ROWS, query, wanted);
    for (int many = 1; many <= ROWS; many++) {
        memset(got, 0, sizeof got);
        path(codes, WIDTH, rows, many, query, got);
        if (memcmp(got, wanted, (size_t)many * sizeof *got)) return 0;
    }
    return 1;
}

/* The path for an instruction set that this machine has, if it computes rightly; else a plainer one. */
static mixline_dot_rows_fn mixline_choose_rows(const char *isa, const char **chosen) {
#if defined(__x86_64__)
    int wanted = mixline_isa_named(isa);
    if (wanted >= MIXLINE_VNNI && mixline_rows_agree(mixline_dot_rows_vnni)) {
        *chosen = "vnni";
        return mixline_dot_rows_vnni;
    }
    if (wanted >= MIXLINE_AVX2 && mixline_rows_agree(mixline_dot_rows_avx2)) {
        *chosen = "avx2";
        return mixline_dot_rows_avx2;
    }
#elif defined(__aarch64__)
    if (mixline_isa_named(isa) == MIXLINE_NEON && mixline_rows_agree(mixline_dot_rows_neon)) {
        *chosen = "neon";
        return mixline_dot_rows_neon;
    }
#endif
    (void)isa;
    *chosen = "portable";
    return mixline_dot_rows_portable;
}

#endif
