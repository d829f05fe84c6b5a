/* Which blocks of a run hold a row that may reach a query's bar: what is asked of every sum of a scan, and mostly no.
 *
 * Of each row sums * scales is compared; with `squares`, the rows' squared lengths, twice that times `scale` less them. A
 * block counts whose rows are not all below `bar`; so does one that has no number, since that rules nothing out. Returned
 * as bits, of up to 32 blocks.
 */
#ifndef MIXLINE_REACH_H
#define MIXLINE_REACH_H

#include "codes.h"

typedef uint32_t (*mixline_reach_fn)(const int32_t *sums, const float *scales, float scale, const float *squares,
                                     float bar, int64_t blocks);

static uint32_t mixline_reach_portable(const int32_t *sums, const float *scales, float scale, const float *squares,
                                       float bar, int64_t blocks) {
    uint32_t found = 0;
    for (int64_t block = 0; block < blocks; block++) {
        int any = 0;
        for (int64_t at = block * MIXLINE_CODE_ROWS; at < (block + 1) * MIXLINE_CODE_ROWS; at++) {
            float value = (float)sums[at] * scales[at];
            if (squares) value = 2.0f * (value * scale) - squares[at];
            any |= !(value < bar);
        }
        found |= (uint32_t)any << block;
    }
    return found;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint32_t mixline_reach_avx2(const int32_t *sums, const float *scales, float scale,
                                                                   const float *squares, float bar, int64_t blocks) {
    const __m256 by = _mm256_set1_ps(scale), least = _mm256_set1_ps(bar);
    uint32_t found = 0;
    for (int64_t block = 0; block < blocks; block++) {
        __m256 reaching[2];
        for (int half = 0; half < 2; half++) {
            int64_t at = block * MIXLINE_CODE_ROWS + 8 * half;
            __m256 value = _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(sums + at)));
            value = _mm256_mul_ps(value, _mm256_loadu_ps(scales + at));
            if (squares) {
                value = _mm256_mul_ps(value, by);
                value = _mm256_sub_ps(_mm256_add_ps(value, value), _mm256_loadu_ps(squares + at));
            }
            reaching[half] = _mm256_cmp_ps(value, least, _CMP_NLT_UQ);
        }
        found |= (uint32_t)(_mm256_movemask_ps(_mm256_or_ps(reaching[0], reaching[1])) != 0) << block;
    }
    return found;
}

#define MIXLINE_REACH __attribute__((always_inline, target("avx512f"))) static inline

MIXLINE_REACH __mmask16 mixline_reaching_block(const int32_t *sums, const float *scales, __m512 by, const float *squares,
                                               __m512 least) {
    __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sums)), _mm512_loadu_ps(scales));
    if (squares) {
        value = _mm512_mul_ps(value, by);
        value = _mm512_sub_ps(_mm512_add_ps(value, value), _mm512_loadu_ps(squares));
    }
    return _mm512_cmp_ps_mask(value, least, _CMP_NLT_UQ);
}

__attribute__((target("avx512f"))) static uint32_t mixline_reach_avx512(const int32_t *sums, const float *scales,
                                                                        float scale, const float *squares, float bar,
                                                                        int64_t blocks) {
    const __m512 by = _mm512_set1_ps(scale), least = _mm512_set1_ps(bar);
    uint32_t found = 0;
    int64_t block = 0;
    for (; block + 4 <= blocks; block += 4) { /* mostly none of the four */
        __mmask16 reaching[4], any = 0;
        _Pragma("GCC unroll 4") for (int one = 0; one < 4; one++) {
            int64_t at = (block + one) * MIXLINE_CODE_ROWS;
            reaching[one] = mixline_reaching_block(sums + at, scales + at, by, squares ? squares + at : NULL, least);
            any |= reaching[one];
        }
        if (any)
            for (int one = 0; one < 4; one++) found |= (uint32_t)(reaching[one] != 0) << (block + one);
    }
    for (; block < blocks; block++) {
        int64_t at = block * MIXLINE_CODE_ROWS;
        const float *here = squares ? squares + at : NULL;
        found |= (uint32_t)(mixline_reaching_block(sums + at, scales + at, by, here, least) != 0) << block;
    }
    return found;
}
#endif

/* The one that goes with a path of the codes. */
static mixline_reach_fn mixline_choose_reach(const char *chosen) {
#if defined(__x86_64__)
    if (!strcmp(chosen, "amx") || !strcmp(chosen, "vnni")) return mixline_reach_avx512;
    if (strcmp(chosen, "portable")) return mixline_reach_avx2;
#endif
    (void)chosen;
    return mixline_reach_portable;
}

#endif
