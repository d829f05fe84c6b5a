/* Checks that only the debug build makes (MIXLINE_DEBUG=1): a broken invariant of our own side ends the process at the
 * line that broke it. What another process wrote is never asserted: it is checked in every build and becomes Corrupt.
 *
 * The live counter counts what a module has taken and not yet returned (buffer views, blocks); a test reads it. */
#ifndef MIXLINE_CHECKS_H
#define MIXLINE_CHECKS_H

#include <stdint.h>

#ifdef MIXLINE_DEBUG
#include <stdio.h>
#include <stdlib.h>
#define MX_DEBUG 1
static int64_t mx_live_count = 0; /* per module; under the GIL */

static inline void mx_check(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "mixline debug check failed: %s\n", what);
        abort();
    }
}
static inline void mx_live_add(int64_t amount) { mx_live_count += amount; }
static inline int64_t mx_live(void) { return mx_live_count; }
#else
#define MX_DEBUG 0
#define mx_check(holds, what) ((void)(what))
#define mx_live_add(amount) ((void)0)
static inline int64_t mx_live(void) { return 0; }
#endif

#endif
