/* The inner loops of a forest: splits over 256 rows at once, and the sums of leaves.
 *
 * A split looks at a column of codes, one byte a row (see forest.pyx), so a vector register holds 64, 32 or 16 rows. All
 * splits of a tree are gone through in preorder; `at` is, for each row, the leftmost leaf under the node where the row
 * is. Since a node comes after its ancestors and before its descendants, exactly the rows with `at == here` are at it,
 * and those that turn right go on at the leftmost leaf of its right child. Nothing branches on data and nothing is
 * rounded, so every width gives the same leaves.
 */
#ifndef MIXLINE_FOREST_H
#define MIXLINE_FOREST_H

#include <stdint.h>
#include <string.h>

#include "isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define MIXLINE_FOREST_ROWS 256  /* codes of a column in a block: with 40 columns 10 KiB, in the nearest cache */
#define MIXLINE_FOREST_TOGETHER 4 /* trees whose leaves are added in one pass over the sums */

/* Rows whose code in `column` is above `bound` turn right, from leaf `here` to leaf `there`. */
typedef struct {
    uint32_t column;
    uint8_t bound, here, there, unused;
} mixline_split;

/* A node of a tree with too many leaves for bytes; a child is a node, or ~leaf. */
typedef struct {
    uint32_t column, bound;
    int32_t child[2];
} mixline_branch;

typedef void (*mixline_sweep_fn)(const mixline_split *splits, int64_t count, const uint8_t *codes, int rows,
                                 uint8_t *leaves);

/* `rows` counts up to a multiple of 64: codes beyond them may hold anything. */
#define MIXLINE_DEFINE_SWEEP(NAME, WIDTH, MANY)                                                                       \
    typedef uint8_t mixline_bytes_##NAME __attribute__((vector_size(WIDTH), aligned(1), may_alias));                 \
    MIXLINE_SWEEP_TARGET_##NAME static void mixline_sweep_##NAME(const mixline_split *splits, int64_t count,         \
                                                                 const uint8_t *codes, int rows, uint8_t *leaves) {  \
        for (int first = 0; first < rows; first += WIDTH * MANY) {                                                   \
            mixline_bytes_##NAME at[MANY];                                                                           \
            memset(at, 0, sizeof at);                                                                                \
            for (int64_t i = 0; i < count; i++) {                                                                    \
                const uint8_t *column = codes + (size_t)splits[i].column * MIXLINE_FOREST_ROWS + first;              \
                mixline_bytes_##NAME none = {0};                                                                     \
                mixline_bytes_##NAME bound = none + splits[i].bound, here = none + splits[i].here;                   \
                mixline_bytes_##NAME there = none + splits[i].there;                                                 \
                _Pragma("GCC unroll 8") for (int j = 0; j < MANY; j++) {                                             \
                    mixline_bytes_##NAME code = *(const mixline_bytes_##NAME *)(column + j * WIDTH);                 \
                    mixline_bytes_##NAME turns =                                                                     \
                        (mixline_bytes_##NAME)(code > bound) & (mixline_bytes_##NAME)(at[j] == here);                \
                    at[j] ^= (at[j] ^ there) & turns;                                                                \
                }                                                                                                    \
            }                                                                                                        \
            memcpy(leaves + first, at, sizeof at);                                                                   \
        }                                                                                                            \
    }

#define MIXLINE_SWEEP_TARGET_portable
MIXLINE_DEFINE_SWEEP(portable, 16, 4)

#if defined(__x86_64__)
#define MIXLINE_SWEEP_TARGET_avx2 __attribute__((target("avx2")))
MIXLINE_DEFINE_SWEEP(avx2, 32, 2)

#define MIXLINE_DEFINE_SWEEP512(MANY)                                                                                 \
    static inline __attribute__((always_inline, target("avx512f,avx512bw"))) void mixline_sweep512_##MANY(           \
        const mixline_split *splits, int64_t count, const uint8_t *codes, uint8_t *leaves) {                         \
        __m512i at[MANY];                                                                                            \
        memset(at, 0, sizeof at);                                                                                    \
        for (int64_t i = 0; i < count; i++) {                                                                        \
            const uint8_t *column = codes + (size_t)splits[i].column * MIXLINE_FOREST_ROWS;                          \
            __m512i bound = _mm512_set1_epi8((char)splits[i].bound), here = _mm512_set1_epi8((char)splits[i].here);  \
            __m512i there = _mm512_set1_epi8((char)splits[i].there);                                                 \
            _Pragma("GCC unroll 4") for (int j = 0; j < MANY; j++) {                                                 \
                __mmask64 turns = _mm512_cmpgt_epu8_mask(_mm512_loadu_si512(column + 64 * j), bound);                \
                turns = _mm512_mask_cmpeq_epi8_mask(turns, at[j], here);                                             \
                at[j] = _mm512_mask_mov_epi8(at[j], turns, there);                                                   \
            }                                                                                                        \
        }                                                                                                            \
        memcpy(leaves, at, sizeof at);                                                                               \
    }

MIXLINE_DEFINE_SWEEP512(1)
MIXLINE_DEFINE_SWEEP512(2)
MIXLINE_DEFINE_SWEEP512(3)
MIXLINE_DEFINE_SWEEP512(4)

__attribute__((target("avx512f,avx512bw"))) static void mixline_sweep_avx512bw(const mixline_split *splits,
                                                                               int64_t count, const uint8_t *codes,
                                                                               int rows, uint8_t *leaves) {
    if (rows > 192) mixline_sweep512_4(splits, count, codes, leaves);
    else if (rows > 128) mixline_sweep512_3(splits, count, codes, leaves);
    else if (rows > 64) mixline_sweep512_2(splits, count, codes, leaves);
    else mixline_sweep512_1(splits, count, codes, leaves);
}
#endif

/* Sums of up to four trees in the order of the trees, each added by itself: as libraries do, so with their rounding. */
#define MIXLINE_DEFINE_ADD(REAL)                                                                                      \
    static void mixline_add_##REAL(REAL *sums, const REAL *const *values, const uint8_t *leaves, int trees, int rows) {\
        if (trees == MIXLINE_FOREST_TOGETHER) {                                                                       \
            const REAL *a = values[0], *b = values[1], *c = values[2], *d = values[3];                                \
            const uint8_t *at = leaves, *bt = at + MIXLINE_FOREST_ROWS, *ct = bt + MIXLINE_FOREST_ROWS;               \
            const uint8_t *dt = ct + MIXLINE_FOREST_ROWS;                                                             \
            for (int r = 0; r < rows; r++) sums[r] = (((sums[r] + a[at[r]]) + b[bt[r]]) + c[ct[r]]) + d[dt[r]];       \
            return;                                                                                                   \
        }                                                                                                             \
        for (int t = 0; t < trees; t++)                                                                               \
            for (int r = 0; r < rows; r++) sums[r] += values[t][leaves[t * MIXLINE_FOREST_ROWS + r]];                 \
    }                                                                                                                 \
    static void mixline_walk_##REAL(REAL *sums, const REAL *values, const mixline_branch *branches,                  \
                                    const uint8_t *codes, int rows) {                                                \
        for (int r = 0; r < rows; r++) {                                                                             \
            int32_t at = 0;                                                                                          \
            while (at >= 0) {                                                                                        \
                const mixline_branch *branch = branches + at;                                                        \
                at = branch->child[codes[(size_t)branch->column * MIXLINE_FOREST_ROWS + r] > branch->bound];         \
            }                                                                                                        \
            sums[r] += values[~at];                                                                                  \
        }                                                                                                            \
    }

MIXLINE_DEFINE_ADD(float)
MIXLINE_DEFINE_ADD(double)

/* The rank of each value among `count` ascending bounds, how many lie below it; eight rows at a time, without branches. */
static void mixline_ranks(const double *bounds, int count, const double *values, int rows, uint8_t *codes) {
    for (int first = 0; first < rows; first += 8) {
        uint32_t at[8] = {0};
        const double *value = values + first;
        for (int length = count; length > 0;) {
            int half = (length + 1) / 2;
            for (int j = 0; j < 8; j++) at[j] += bounds[at[j] + half - 1] < value[j] ? (uint32_t)half : 0;
            length -= half;
        }
        for (int j = 0; j < 8; j++) codes[first + j] = (uint8_t)at[j];
    }
}

/* 0 for rows whose category is in the set, else 1. */
static void mixline_outside(const uint32_t *members, const uint32_t *categories, int rows, uint8_t *codes) {
    for (int r = 0; r < rows; r++) codes[r] = (uint8_t)(1 ^ (members[categories[r] >> 5] >> (categories[r] & 31) & 1));
}

/* The path for an instruction set that this machine has. */
static mixline_sweep_fn mixline_choose_sweep(const char *isa, const char **chosen) {
#if defined(__x86_64__)
    int wanted = mixline_isa_named(isa);
    if (wanted >= MIXLINE_VNNI) { /* what has VNNI has byte compares, too */
        *chosen = "avx512bw";
        return mixline_sweep_avx512bw;
    }
    if (wanted >= MIXLINE_AVX2) {
        *chosen = "avx2";
        return mixline_sweep_avx2;
    }
#endif
    (void)isa;
    *chosen = "portable";
    return mixline_sweep_portable;
}

#endif
