/* The monotonic clock, for loops that must end at a moment. */
#ifndef MIXLINE_MOMENT_H
#define MIXLINE_MOMENT_H

#include <stdint.h>
#include <time.h>

/* Whether a moment (ns of CLOCK_MONOTONIC) has come; 0 never does. Some 30 ns. */
static inline int mixline_over(int64_t until_ns) {
    struct timespec now;
    if (!until_ns) return 0;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec >= until_ns;
}

#endif
