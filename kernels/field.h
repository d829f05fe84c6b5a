/* Which of a block's values are at least `bar`, as bits; what is no number is not. */
#ifndef MIXLINE_FIELD_H
#define MIXLINE_FIELD_H

#include "codes.h"

static inline uint32_t mixline_at_least(const float *values, float bar) {
    uint32_t bits = 0;
#if defined(__x86_64__)
    __m128 wanted = _mm_set1_ps(bar);
    for (int part = 0; part < 4; part++)
        bits |= (uint32_t)_mm_movemask_ps(_mm_cmpge_ps(_mm_loadu_ps(values + 4 * part), wanted)) << (4 * part);
#else
    for (int row = 0; row < MIXLINE_CODE_ROWS; row++) bits |= (uint32_t)(values[row] >= bar) << row;
#endif
    return bits;
}

#endif
