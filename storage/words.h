/* Words of a text by the rules of UAX 29 (WB1 to WB16), over the code points of a Python string as they lie.
 *
 * A word has a letter, a number or an ideograph in it; what lies between words is passed over.
 */
#ifndef MIXLINE_WORDS_H
#define MIXLINE_WORDS_H

#include <stdint.h>

#include "word_classes.h"

typedef struct mixline_text {
    const void *points; /* code points of `width` bytes each */
    int width;          /* 1, 2 or 4 */
    int64_t count;
    const uint8_t *classes;
} mixline_text;

static inline uint32_t mixline_point(const mixline_text *text, int64_t at) {
    if (text->width == 1) return ((const uint8_t *)text->points)[at];
    if (text->width == 2) return ((const uint16_t *)text->points)[at];
    return ((const uint32_t *)text->points)[at];
}

static inline int mixline_class(const mixline_text *text, int64_t at) {
    uint32_t point = mixline_point(text, at);
    return point < MIXLINE_CODE_POINTS ? text->classes[point] : MIXLINE_OTHER;
}

/* The first place from `at` on that is no mark or format character, which belong to what they follow (WB4). */
static inline int64_t mixline_past_marks(const mixline_text *text, int64_t at) {
    while (at < text->count && mixline_class(text, at) == MIXLINE_EXTEND) at++;
    return at;
}

static inline int mixline_is_letter(int kind) { return kind == MIXLINE_LETTER || kind == MIXLINE_HEBREW; }

/* Where the word goes on after `at`, whose class is `kind`: the place of its next character, or -1 at its end. */
static inline int64_t mixline_goes_on(const mixline_text *text, int64_t at, int kind) {
    int64_t next = mixline_past_marks(text, at + 1), after;
    if (next >= text->count) return -1;
    int right = mixline_class(text, next), beyond;
    int letter = mixline_is_letter(kind), number = kind == MIXLINE_NUMERIC;
    if ((letter || number) && (mixline_is_letter(right) || right == MIXLINE_NUMERIC)) return next;
    if (kind == MIXLINE_KATAKANA && right == MIXLINE_KATAKANA) return next;
    if (right == MIXLINE_JOINER) return next;
    if (kind == MIXLINE_JOINER)
        return mixline_is_letter(right) || right == MIXLINE_NUMERIC || right == MIXLINE_KATAKANA ? next : -1;
    after = mixline_past_marks(text, next + 1);
    beyond = after < text->count ? mixline_class(text, after) : MIXLINE_OTHER;
    int both = right == MIXLINE_MID_BOTH || right == MIXLINE_QUOTE;
    if (letter && (right == MIXLINE_MID_LETTER || both) && mixline_is_letter(beyond)) return after;
    if (kind == MIXLINE_HEBREW && right == MIXLINE_DOUBLE_QUOTE && beyond == MIXLINE_HEBREW) return after;
    if (number && (right == MIXLINE_MID_NUM || both) && beyond == MIXLINE_NUMERIC) return after;
    return -1;
}

/* The next word from `*at` on as start .. end, `*at` left behind it; 0 when there is none. */
static inline int mixline_next_word(const mixline_text *text, int64_t *at, int64_t *start, int64_t *end) {
    int64_t place = *at, next;
    while (place < text->count) {
        int kind = mixline_class(text, place), worded = kind != MIXLINE_JOINER;
        if (!mixline_is_letter(kind) && kind != MIXLINE_NUMERIC && kind != MIXLINE_KATAKANA && kind != MIXLINE_JOINER &&
            kind != MIXLINE_SINGLE) {
            place++;
            continue;
        }
        *start = place;
        while (kind != MIXLINE_SINGLE && (next = mixline_goes_on(text, place, kind)) >= 0) {
            place = next;
            kind = mixline_class(text, place);
            worded |= kind != MIXLINE_JOINER;
        }
        *end = place = mixline_past_marks(text, place + 1);
        *at = place;
        if (worded) return 1;
    }
    *at = place;
    return 0;
}

#endif
