/* Row scores in one written order of summation, compiled once per instruction set.
 *
 * A product sum runs over 32 lanes: lane j adds the products of elements j, j+32, j+64, ... in that order, each
 * product rounded before it is added (no fused multiply-add), absent elements counting as zero. Then lane j adds
 * lane j+16, then j+8, j+4, j+2, j+1. Vector width only decides how many registers hold the 32 lanes, so every
 * instruction set returns the same bits, and so does reference.py.
 */
#ifndef MIXLINE_SIMD_H
#define MIXLINE_SIMD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ahead.h"
#include "isa.h"

#define MIXLINE_LANES 32
#define MIXLINE_ROWS_AHEAD 6       /* of listed rows, each fetched whole up to so many floats */
#define MIXLINE_ROW_PREFETCH 256

typedef float mixline_v4 __attribute__((vector_size(16), aligned(4)));
typedef float mixline_v8 __attribute__((vector_size(32), aligned(4)));
typedef float mixline_v16 __attribute__((vector_size(64), aligned(4)));

enum mixline_form { MIXLINE_PRODUCT = 0, MIXLINE_SQUARED_DIFFERENCE = 1 };

typedef void (*mixline_score_rows_fn)(const float *matrix, int64_t dim, const uint32_t *rows, uint32_t first,
                                      int64_t count, const float *query, int form, float *out);

static inline __attribute__((always_inline)) float mixline_fold4(mixline_v4 v) {
    mixline_v4 w = v + __builtin_shufflevector(v, v, 2, 3, 0, 1);
    return w[0] + w[1];
}

static inline __attribute__((always_inline)) float mixline_fold8(mixline_v8 v) {
    mixline_v4 low = __builtin_shufflevector(v, v, 0, 1, 2, 3);
    mixline_v4 high = __builtin_shufflevector(v, v, 4, 5, 6, 7);
    return mixline_fold4(low + high);
}

static inline __attribute__((always_inline)) float mixline_fold_lanes4(const mixline_v4 *a) {
    mixline_v4 s0 = a[0] + a[4], s1 = a[1] + a[5], s2 = a[2] + a[6], s3 = a[3] + a[7];
    return mixline_fold4((s0 + s2) + (s1 + s3));
}

static inline __attribute__((always_inline)) float mixline_fold_lanes8(const mixline_v8 *a) {
    mixline_v8 s0 = a[0] + a[2], s1 = a[1] + a[3];
    return mixline_fold8(s0 + s1);
}

static inline __attribute__((always_inline)) float mixline_fold_lanes16(const mixline_v16 *a) {
    mixline_v16 s = a[0] + a[1];
    mixline_v8 low = __builtin_shufflevector(s, s, 0, 1, 2, 3, 4, 5, 6, 7);
    mixline_v8 high = __builtin_shufflevector(s, s, 8, 9, 10, 11, 12, 13, 14, 15);
    return mixline_fold8(low + high);
}

/* One row against the query; `form` and `stream` (whether the rows behind it come next) are constants at every call, so
 * each caller keeps one loop. */
#define MIXLINE_DEFINE_ROW(WIDTH)                                                                                     \
    static inline __attribute__((always_inline)) float mixline_row##WIDTH(const float *row, const float *query,      \
                                                                          int64_t dim, int form, int stream) {       \
        mixline_v##WIDTH lanes[MIXLINE_LANES / WIDTH];                                                               \
        memset(lanes, 0, sizeof lanes);                                                                              \
        int64_t at = 0;                                                                                              \
        for (; at + MIXLINE_LANES <= dim; at += MIXLINE_LANES) {                                                     \
            if (stream) {                                                                                            \
                MIXLINE_FETCH_AHEAD(row + at);                                                                       \
                MIXLINE_FETCH_AHEAD(row + at + 16);                                                                  \
            }                                                                                                        \
            _Pragma("GCC unroll 8") for (int j = 0; j < MIXLINE_LANES / WIDTH; j++) {                                \
                mixline_v##WIDTH x = *(const mixline_v##WIDTH *)(row + at + j * WIDTH);                              \
                mixline_v##WIDTH q = *(const mixline_v##WIDTH *)(query + at + j * WIDTH);                            \
                if (form == MIXLINE_SQUARED_DIFFERENCE) {                                                            \
                    x -= q;                                                                                          \
                    q = x;                                                                                           \
                }                                                                                                    \
                lanes[j] += x * q;                                                                                   \
            }                                                                                                        \
        }                                                                                                            \
        if (at < dim) {                                                                                              \
            float tail_row[MIXLINE_LANES] = {0}, tail_query[MIXLINE_LANES] = {0};                                    \
            memcpy(tail_row, row + at, (size_t)(dim - at) * sizeof(float));                                          \
            memcpy(tail_query, query + at, (size_t)(dim - at) * sizeof(float));                                      \
            _Pragma("GCC unroll 8") for (int j = 0; j < MIXLINE_LANES / WIDTH; j++) {                                \
                mixline_v##WIDTH x = *(const mixline_v##WIDTH *)(tail_row + j * WIDTH);                              \
                mixline_v##WIDTH q = *(const mixline_v##WIDTH *)(tail_query + j * WIDTH);                            \
                if (form == MIXLINE_SQUARED_DIFFERENCE) {                                                            \
                    x -= q;                                                                                          \
                    q = x;                                                                                           \
                }                                                                                                    \
                lanes[j] += x * q;                                                                                   \
            }                                                                                                        \
        }                                                                                                            \
        return mixline_fold_lanes##WIDTH(lanes);                                                                     \
    }

MIXLINE_DEFINE_ROW(4)
MIXLINE_DEFINE_ROW(8)
MIXLINE_DEFINE_ROW(16)

/* Two neighbouring rows of whole lanes at once: each load of the query serves both, and two streams are under way. */
#define MIXLINE_DEFINE_PAIR(WIDTH)                                                                                    \
    static inline __attribute__((always_inline)) void mixline_pair##WIDTH(const float *row, const float *query,      \
                                                                          int64_t dim, float *out) {                 \
        mixline_v##WIDTH one[MIXLINE_LANES / WIDTH], two[MIXLINE_LANES / WIDTH];                                     \
        memset(one, 0, sizeof one);                                                                                  \
        memset(two, 0, sizeof two);                                                                                  \
        for (int64_t at = 0; at < dim; at += MIXLINE_LANES) {                                                        \
            MIXLINE_FETCH_AHEAD(row + at);                                                                           \
            MIXLINE_FETCH_AHEAD(row + at + 16);                                                                      \
            MIXLINE_FETCH_AHEAD(row + dim + at);                                                                     \
            MIXLINE_FETCH_AHEAD(row + dim + at + 16);                                                                \
            _Pragma("GCC unroll 8") for (int j = 0; j < MIXLINE_LANES / WIDTH; j++) {                                \
                mixline_v##WIDTH q = *(const mixline_v##WIDTH *)(query + at + j * WIDTH);                            \
                one[j] += *(const mixline_v##WIDTH *)(row + at + j * WIDTH) * q;                                     \
                two[j] += *(const mixline_v##WIDTH *)(row + dim + at + j * WIDTH) * q;                               \
            }                                                                                                        \
        }                                                                                                            \
        out[0] = mixline_fold_lanes##WIDTH(one);                                                                     \
        out[1] = mixline_fold_lanes##WIDTH(two);                                                                     \
    }

MIXLINE_DEFINE_PAIR(4)
MIXLINE_DEFINE_PAIR(8)
MIXLINE_DEFINE_PAIR(16)

/* Listed rows lie anywhere: each is fetched a few rows before its turn, the first few at once. */
static inline __attribute__((always_inline)) void mixline_fetch_floats(const float *row, int64_t dim) {
    for (int64_t at = 0; at < dim && at < MIXLINE_ROW_PREFETCH; at += 16) __builtin_prefetch(row + at);
}

#define MIXLINE_LISTED(WIDTH, FORM)                                                                                   \
    for (int64_t i = 0; i < count && i < MIXLINE_ROWS_AHEAD; i++)                                                    \
        mixline_fetch_floats(matrix + (int64_t)rows[i] * dim, dim);                                                  \
    for (int64_t i = 0; i < count; i++) {                                                                            \
        if (i + MIXLINE_ROWS_AHEAD < count)                                                                          \
            mixline_fetch_floats(matrix + (int64_t)rows[i + MIXLINE_ROWS_AHEAD] * dim, dim);                         \
        out[i] = mixline_row##WIDTH(matrix + (int64_t)rows[i] * dim, query, dim, FORM, 0);                           \
    }

/* Rows first..first+count of the matrix, or the listed rows when `rows` is not NULL. */
#define MIXLINE_DEFINE_SCORE_ROWS(NAME, WIDTH, TARGET)                                                                \
    TARGET static void mixline_score_rows_##NAME(const float *matrix, int64_t dim, const uint32_t *rows,             \
                                                 uint32_t first, int64_t count, const float *query, int form,        \
                                                 float *out) {                                                       \
        if (form == MIXLINE_SQUARED_DIFFERENCE) {                                                                    \
            if (rows) {                                                                                              \
                MIXLINE_LISTED(WIDTH, MIXLINE_SQUARED_DIFFERENCE)                                                    \
            } else                                                                                                     \
                for (int64_t i = 0; i < count; i++)                                                                  \
                    out[i] = mixline_row##WIDTH(matrix + (first + i) * dim, query, dim, MIXLINE_SQUARED_DIFFERENCE, 1); \
        } else if (rows) {                                                                                           \
            MIXLINE_LISTED(WIDTH, MIXLINE_PRODUCT)                                                                   \
        } else {                                                                                                     \
            int64_t i = 0;                                                                                           \
            if (dim % MIXLINE_LANES == 0)                                                                            \
                for (; i + 2 <= count; i += 2)                                                                       \
                    mixline_pair##WIDTH(matrix + (first + i) * dim, query, dim, out + i);                            \
            for (; i < count; i++)                                                                                   \
                out[i] = mixline_row##WIDTH(matrix + (first + i) * dim, query, dim, MIXLINE_PRODUCT, 1);             \
        }                                                                                                            \
    }

#if defined(__x86_64__)
MIXLINE_DEFINE_SCORE_ROWS(avx512, 16, __attribute__((target("avx512f,avx512vl,avx512dq,prefer-vector-width=512"))))
MIXLINE_DEFINE_SCORE_ROWS(avx2, 8, __attribute__((target("avx2"))))
#endif
MIXLINE_DEFINE_SCORE_ROWS(portable, 4, )

/* The path for an instruction set that this machine has. */
static mixline_score_rows_fn mixline_choose_scores(const char *isa, const char **chosen) {
#if defined(__x86_64__)
    int wanted = mixline_isa_named(isa);
    if (wanted >= MIXLINE_AVX512) {
        *chosen = "avx512";
        return mixline_score_rows_avx512;
    }
    if (wanted >= MIXLINE_AVX2) {
        *chosen = "avx2";
        return mixline_score_rows_avx2;
    }
#endif
    (void)isa;
    *chosen = "portable";
    return mixline_score_rows_portable;
}

#endif
