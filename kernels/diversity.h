/* One vector against a pool of candidates, and what that changes for each of them.
 *
 * Candidates lie in tiles of 64: the first element of all 64, then the second, and so on, so a product adds dimension by
 * dimension in one order whatever the width of a register, no sum goes across lanes, and each byte is read in turn. All
 * else here is for each candidate by itself. So every instruction set returns the same bits, and so does the twin.
 */
#ifndef MIXLINE_DIVERSITY_H
#define MIXLINE_DIVERSITY_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "isa.h"

#define MIXLINE_TILE 64

typedef struct {
    /* out[i] = sum over dimensions of candidate i times `vector`, in float32. */
    void (*products)(const float *tiles, int64_t dim, int64_t padded, const float *vector, float *out);
    /* closest[i] = max(closest[i], similar[i]); value[i] = worth[i] - weight * closest[i]. */
    void (*nearest)(const float *similar, const float *worth, float weight, int64_t padded, float *closest, float *value);
    /* One step of the incremental Cholesky factor: `factors` has for each tile `most` rows, of which `done` are there;
     * `own` are the chosen one's. rest[i] loses the square of the new entry; value[i] = quality[i] * rest[i]. */
    void (*factor)(const float *similar, const double *own, int64_t done, int64_t most, double root, int64_t padded,
                   const double *quality, double *factors, double *rest, double *value);
    /* rest[i] gets back[i]'s square back and loses part[i]'s; value[i] = worth[i] + scale * sqrt(rest[i]). */
    void (*project)(const float *back, const float *part, const double *worth, double scale, int64_t padded,
                    double *rest, double *value);
    const char *name;
} mixline_diversity;

/* WIDTH: bytes of a register; as many as hold sums at a time are a part of a tile. */
#define MIXLINE_DEFINE_DIVERSITY(NAME, WIDTH, TARGET)                                                                 \
    typedef float mixline_floats_##NAME __attribute__((vector_size(WIDTH), aligned(4), may_alias));                   \
    typedef double mixline_doubles_##NAME __attribute__((vector_size(WIDTH), aligned(8), may_alias));                 \
    TARGET static void mixline_products_##NAME(const float *tiles, int64_t dim, int64_t padded, const float *vector,  \
                                               float *out) {                                                          \
        enum { LANES = WIDTH / 4, MANY = LANES == 16 ? 4 : 8, PART = LANES * MANY };                                  \
        for (int64_t first = 0; first < padded; first += PART) {                                                      \
            const float *at = tiles + first / MIXLINE_TILE * MIXLINE_TILE * dim + first % MIXLINE_TILE;               \
            mixline_floats_##NAME sums[MANY];                                                                         \
            memset(sums, 0, sizeof sums);                                                                             \
            for (int64_t d = 0; d < dim; d++, at += MIXLINE_TILE) {                                                   \
                mixline_floats_##NAME none = {0}, one = none + vector[d];                                             \
                _Pragma("GCC unroll 8") for (int j = 0; j < MANY; j++)                                                \
                    sums[j] += *(const mixline_floats_##NAME *)(at + LANES * j) * one;                                \
            }                                                                                                         \
            _Pragma("GCC unroll 8") for (int j = 0; j < MANY; j++)                                                    \
                *(mixline_floats_##NAME *)(out + first + LANES * j) = sums[j];                                        \
        }                                                                                                             \
    }                                                                                                                 \
    TARGET static void mixline_nearest_##NAME(const float *similar, const float *worth, float weight,                \
                                              int64_t padded, float *closest, float *value) {                        \
        for (int64_t i = 0; i < padded; i++) {                                                                       \
            float least = similar[i] > closest[i] ? similar[i] : closest[i];                                         \
            closest[i] = least;                                                                                      \
            value[i] = worth[i] - weight * least;                                                                    \
        }                                                                                                            \
    }                                                                                                                \
    TARGET static void mixline_factor_##NAME(const float *similar, const double *own, int64_t done, int64_t most,     \
                                             double root, int64_t padded, const double *quality, double *factors,     \
                                             double *rest, double *value) {                                           \
        enum { LANES = WIDTH / 8, PART = LANES * 8 };                                                                 \
        for (int64_t first = 0; first < padded; first += PART) {                                                      \
            double *at = factors + first / MIXLINE_TILE * MIXLINE_TILE * most + first % MIXLINE_TILE;                 \
            mixline_doubles_##NAME sums[8];                                                                           \
            double entry[PART];                                                                                       \
            memset(sums, 0, sizeof sums);                                                                             \
            for (int64_t k = 0; k < done; k++, at += MIXLINE_TILE) {                                                  \
                mixline_doubles_##NAME none = {0}, one = none + own[k];                                               \
                _Pragma("GCC unroll 8") for (int j = 0; j < 8; j++)                                                   \
                    sums[j] += *(const mixline_doubles_##NAME *)(at + LANES * j) * one;                               \
            }                                                                                                         \
            memcpy(entry, sums, sizeof entry);                                                                        \
            for (int j = 0; j < PART; j++) {                                                                          \
                double added = ((double)similar[first + j] - entry[j]) / root;                                        \
                at[j] = added;                                                                                        \
                rest[first + j] -= added * added;                                                                     \
                value[first + j] = quality[first + j] * rest[first + j];                                              \
            }                                                                                                         \
        }                                                                                                             \
    }                                                                                                                 \
    TARGET static void mixline_project_##NAME(const float *back, const float *part, const double *worth,             \
                                              double scale, int64_t padded, double *rest, double *value) {           \
        for (int64_t i = 0; i < padded; i++) {                                                                       \
            double left = (rest[i] + (double)back[i] * back[i]) - (double)part[i] * part[i];                         \
            rest[i] = left;                                                                                          \
            value[i] = worth[i] + scale * sqrt(left > 0.0 ? left : 0.0);                                             \
        }                                                                                                            \
    }                                                                                                                \
    static const mixline_diversity mixline_diversity_##NAME = {                                                      \
        mixline_products_##NAME, mixline_nearest_##NAME, mixline_factor_##NAME, mixline_project_##NAME, #NAME};

#if defined(__x86_64__)
MIXLINE_DEFINE_DIVERSITY(avx512, 64, __attribute__((target("avx512f,avx512vl,avx512dq,prefer-vector-width=512"))))
MIXLINE_DEFINE_DIVERSITY(avx2, 32, __attribute__((target("avx2"))))
#endif
MIXLINE_DEFINE_DIVERSITY(portable, 16, )

/* The path for an instruction set that this machine has. */
static const mixline_diversity *mixline_choose_diversity(const char *isa) {
#if defined(__x86_64__)
    int wanted = mixline_isa_named(isa);
    if (wanted >= MIXLINE_AVX512) return &mixline_diversity_avx512;
    if (wanted >= MIXLINE_AVX2) return &mixline_diversity_avx2;
#endif
    (void)isa;
    return &mixline_diversity_portable;
}

#endif
