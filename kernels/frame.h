/* A query as codes see it: less a center, and turned. `storage/frames.py` says why, and does the same with rows; the
 * order of the sums is the same in both, so that they give the same bits.
 */
#ifndef MIXLINE_FRAME_H
#define MIXLINE_FRAME_H

#include <math.h>
#include <stdint.h>

typedef struct mixline_frame {
    const float *center; /* of all dimensions, or NULL */
    const int8_t *signs; /* rounds x dim of -1 and 1, or NULL */
    int64_t rounds;
} mixline_frame;

/* The Walsh-Hadamard transform of `span` numbers, a power of two, made orthonormal. */
static void mixline_hadamard(double *values, int64_t span) {
    const double unit = 1.0 / sqrt((double)span);
    for (int64_t width = 1; width < span; width *= 2)
        for (int64_t at = 0; at < span; at += 2 * width)
            for (int64_t one = at; one < at + width; one++) {
                double other = values[one + width];
                values[one + width] = values[one] - other;
                values[one] += other;
            }
    for (int64_t at = 0; at < span; at++) values[at] *= unit;
}

static void mixline_place(const float *query, int64_t dim, const mixline_frame *frame, double *out) {
    int64_t span = 1;
    while (2 * span <= dim) span *= 2;
    for (int64_t at = 0; at < dim; at++) out[at] = query[at];
    if (frame->center)
        for (int64_t at = 0; at < dim; at++) out[at] -= frame->center[at];
    for (int64_t round = 0; frame->signs && round < frame->rounds; round++) {
        for (int64_t at = 0; at < dim; at++) out[at] *= frame->signs[round * dim + at];
        mixline_hadamard(round % 2 ? out + dim - span : out, span);
    }
}

#endif
