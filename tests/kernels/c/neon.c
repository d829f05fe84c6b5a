/* The NEON paths beside the portable ones, as they check themselves when they are chosen. */
#include <stdio.h>

#include "nibbles.h"
#include "rowcodes.h"
#include "simd.h"

int main(void) {
    const char *codes = "", *rows = "", *scores = "";
    if (!mixline_isa_present(MIXLINE_NEON)) return printf("no dot products of bytes\n"), 1;
    mixline_choose_codes("neon", &codes);
    mixline_choose_rows("neon", &rows);
    mixline_choose_scores("neon", &scores);
    int nibbles = mixline_choose_nibbles(codes) == mixline_dot_nibbles_neon;
    return printf("%s %s %d %s\n", codes, rows, nibbles, scores), 0;
}
