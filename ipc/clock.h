/* The monotonic clock in nanoseconds, and a digest of bytes: two things that every loop in C needs and none may get
 * from Python. */
#ifndef MIXLINE_CLOCK_H
#define MIXLINE_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

static inline int64_t mx_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* CPU time of the calling thread. */
static inline int64_t mx_thread_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Both halves of the 128-bit product, folded: every input bit reaches every output bit. */
static inline uint64_t mx_fold(uint64_t a, uint64_t b) {
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* 64 bits that name a string of bytes within one process; no promise against an adversary, none across versions. */
static inline uint64_t mx_digest(const void *data, size_t length, uint64_t seed) {
    const uint8_t *at = (const uint8_t *)data;
    uint64_t state = seed ^ 0x9E3779B97F4A7C15u, a = 0, b = 0;
    size_t left = length;
    for (; left > 16; left -= 16, at += 16) {
        memcpy(&a, at, 8);
        memcpy(&b, at + 8, 8);
        state = mx_fold(a ^ 0xD6E8FEB86659FD93u, b ^ state);
    }
    a = b = 0;
    if (left) memcpy(&a, at, left < 8 ? left : 8);
    if (left > 8) memcpy(&b, at + 8, left - 8);
    return mx_fold(mx_fold(a ^ 0xD6E8FEB86659FD93u, b ^ state), length ^ 0xA0761D6478BD642Fu);
}

#endif
