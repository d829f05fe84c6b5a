/* The best of many centroids for one row, from the whole products of their codes: one place of each block of sixteen at
 * a time. Product and sum are rounded each, so that every instruction set finds the same centroid. */
#ifndef MIXLINE_CLUSTER_H
#define MIXLINE_CLUSTER_H

#include <stdint.h>

#define MIXLINE_PLACES 16

/* Of one row: what its codes are to be multiplied with, the best score at each place of a block, and in which block. */
struct mixline_seeker {
    float scale;
    float best[MIXLINE_PLACES];
    int32_t block[MIXLINE_PLACES];
};

typedef float mixline_f8 __attribute__((vector_size(32), aligned(4)));
typedef int32_t mixline_i8 __attribute__((vector_size(32), aligned(4)));

/* Blocks first .. first + blocks; `sums`, `scales` and `offsets` begin with the first of them. Of equal scores at one
 * place the first block stays. */
static inline __attribute__((always_inline)) void mixline_seek(struct mixline_seeker *seeker, const int32_t *sums,
                                                               const float *scales, const float *offsets,
                                                               int32_t first, int64_t blocks) {
    for (int half = 0; half < MIXLINE_PLACES; half += 8) {
        mixline_f8 best = *(const mixline_f8 *)(seeker->best + half);
        mixline_i8 where = *(const mixline_i8 *)(seeker->block + half);
        for (int64_t block = 0; block < blocks; block++) {
            int64_t at = block * MIXLINE_PLACES + half;
            mixline_f8 score = __builtin_convertvector(*(const mixline_i8 *)(sums + at), mixline_f8);
            score = score * (*(const mixline_f8 *)(scales + at) * seeker->scale) + *(const mixline_f8 *)(offsets + at);
            mixline_i8 better = score > best;
            best = (mixline_f8)((better & (mixline_i8)score) | (~better & (mixline_i8)best));
            where = (better & ((int32_t)block + first)) | (~better & where);
        }
        *(mixline_f8 *)(seeker->best + half) = best;
        *(mixline_i8 *)(seeker->block + half) = where;
    }
}

static void mixline_seek_portable(struct mixline_seeker *seeker, const int32_t *sums, const float *scales,
                                  const float *offsets, int32_t first, int64_t blocks) {
    mixline_seek(seeker, sums, scales, offsets, first, blocks);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void mixline_seek_avx2(struct mixline_seeker *seeker, const int32_t *sums,
                                                              const float *scales, const float *offsets,
                                                              int32_t first, int64_t blocks) {
    mixline_seek(seeker, sums, scales, offsets, first, blocks);
}
#endif

static void mixline_seek_tile(struct mixline_seeker *seeker, const int32_t *sums, const float *scales,
                              const float *offsets, int32_t first, int64_t blocks) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        mixline_seek_avx2(seeker, sums, scales, offsets, first, blocks);
        return;
    }
#endif
    mixline_seek_portable(seeker, sums, scales, offsets, first, blocks);
}

#endif
