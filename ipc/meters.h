/* The buckets of a log-linear histogram: values 0 .. 15 have one each; above, every octave has 16, so a bucket is at most
 * 1/16 wide. 480 of them reach 2^33 microseconds, over two hours. */
#ifndef MIXLINE_METERS_H
#define MIXLINE_METERS_H

#include <stdint.h>

static inline int mx_bucket_of(uint64_t value) {
    int exponent, bucket;
    if (value < 16) return (int)value;
    exponent = 63 - __builtin_clzll(value);
    bucket = (exponent - 3) * 16 + (int)((value >> (exponent - 4)) & 15);
    return bucket < 480 ? bucket : 479;
}

#endif
