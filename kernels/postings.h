/* Postings lists as a query reads them: blocks opened when they are needed, what a row is worth for a term, and windows
 * of rows in which these worths are summed.
 *
 * A worth is a whole number, BM25 in units of 2^-20, so that sums do not depend on their order: the same top rows by
 * every way of skipping, on every instruction set.
 */
#ifndef MIXLINE_POSTINGS_H
#define MIXLINE_POSTINGS_H

#include "bitpack.h"
#include "isa.h"
#include "moment.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    MIXLINE_FIELDS = 16,
    MIXLINE_WINDOW = 4096, /* rows whose sums are kept at once, a multiple of 64 */
    MIXLINE_DEPTHS = 3,
    MIXLINE_LEVELS = 255,
    MIXLINE_UNITS = 1 << 20
};

typedef struct mixline_texts { /* what all lists of an index have in common */
    int fields, entry;         /* bytes of a block's header */
    int stored;                /* whether any field has positions */
    uint8_t places[MIXLINE_FIELDS];
    const void *lengths[MIXLINE_FIELDS]; /* by row */
    uint8_t wide[MIXLINE_FIELDS];        /* lengths are of two bytes */
    float k1;
} mixline_texts;

typedef struct mixline_list {
    const mixline_texts *texts;
    const float *norms[MIXLINE_FIELDS]; /* by length, times the weight; NULL where the field is not asked */
    const uint8_t *head, *headers, *payload, *positions;
    uint32_t count;
    int64_t blocks, full, block; /* the block that is open; -1 none */
    int have, at, timed;         /* of it: rows, the next one, whether frequencies were read */
    float scale;                 /* of a worth: the term's weight in units */
    int32_t top;                 /* no row is worth more */
    int64_t probed;              /* the block that was asked for last */
    int32_t *bounds;             /* by level; NULL with several fields */
    int64_t ahead;               /* the first block that may hold rows of the window */
    uint8_t bits[1 + MIXLINE_FIELDS];
    const uint8_t *numbers;      /* of the open block, behind its rows */
    uint32_t rows[MIXLINE_PACK];
    int32_t worths[MIXLINE_PACK];
    uint32_t *times;             /* by field and row */
} mixline_list;

typedef struct mixline_candidate {
    uint64_t groups;
    uint32_t row;
    int32_t sum;
} mixline_candidate;

static inline uint32_t mixline_word_at(const uint8_t *at) {
    uint32_t found;
    memcpy(&found, at, sizeof found);
    return found;
}

static inline float mixline_float_at(const uint8_t *at) {
    float found;
    memcpy(&found, at, sizeof found);
    return found;
}

static inline const uint8_t *mixline_header(const mixline_list *list, int64_t block) {
    return list->headers + block * list->texts->entry;
}

static inline uint32_t mixline_last(const mixline_list *list, int64_t block) {
    return mixline_word_at(mixline_header(list, block));
}

/* How much a field counts, which stands before its norms. */
static inline float mixline_weight(const mixline_list *list, int field) { return list->norms[field][-1]; }

/* The worth of a row with this sum of shares, in the units of the list. */
static inline int32_t mixline_worth_of(const mixline_list *list, float share) {
    int32_t worth = (int32_t)(list->scale * (share / (share + list->texts->k1)) + 0.5f);
    return worth + ((worth == 0) & (share > 0) & (list->scale > 0)); /* a row that matches is worth something */
}

/* No less than that of any row whose shares are not greater, however they were rounded. */
static inline int32_t mixline_bound_of(const mixline_list *list, float share) {
    share *= 1.000001f;
    return share > 0 ? (int32_t)(list->scale * (share / (share + list->texts->k1)) * 1.000001f) + 2 : 0;
}

/* Open a block: its rows; frequencies are read when one is asked for. */
static void mixline_open_block(mixline_list *list, int64_t block) {
    const int fields = list->texts->fields;
    const uint8_t *at;
    uint32_t before = 0xFFFFFFFFu;
    list->block = block;
    list->have = block < list->full ? MIXLINE_PACK : (int)(list->count % MIXLINE_PACK);
    list->at = list->timed = 0;
    if (list->headers) {
        const uint8_t *header = mixline_header(list, block);
        memcpy(list->bits, header + list->texts->entry - 1 - 2 * fields, 1 + fields);
        at = list->payload + (block ? mixline_word_at(header - list->texts->entry + 4) : 0);
        if (block) before = mixline_word_at(header - list->texts->entry);
    } else {
        memcpy(list->bits, list->payload, 1 + fields);
        at = list->payload + 1 + fields;
    }
    if (list->have == MIXLINE_PACK) {
        mixline_unpack(at, list->bits[0], list->rows);
        mixline_add_gaps(list->rows, before);
        list->numbers = at + 16 * list->bits[0];
        return;
    }
    mixline_unpack_few(at, list->have, list->bits[0], list->rows);
    for (int i = 0; i < list->have; i++) list->rows[i] = before += list->rows[i] + 1;
    list->numbers = at + mixline_few_bytes(list->have, list->bits[0]);
}

/* Read the frequencies of the open block. */
static void mixline_read_times(mixline_list *list) {
    const int fields = list->texts->fields;
    const uint8_t *at = list->numbers;
    for (int f = 0; f < fields; f++) {
        uint32_t *times = list->times + f * MIXLINE_PACK;
        if (list->have == MIXLINE_PACK) {
            mixline_unpack(at, list->bits[1 + f], times);
            at += 16 * list->bits[1 + f];
        } else {
            mixline_unpack_few(at, list->have, list->bits[1 + f], times);
            at += mixline_few_bytes(list->have, list->bits[1 + f]);
        }
        for (int i = 0; fields == 1 && i < list->have; i++) times[i]++;
    }
    list->timed = 1;
}

/* The share that one row of the open block has. */
static inline float mixline_share_at(const mixline_list *list, int at) {
    float share = 0;
    for (int f = 0; f < list->texts->fields; f++) {
        uint32_t times = list->times[f * MIXLINE_PACK + at];
        if (!times || !list->norms[f]) continue;
        const uint32_t row = list->rows[at];
        const void *lengths = list->texts->lengths[f];
        uint32_t length = list->texts->wide[f] ? ((const uint16_t *)lengths)[row] : ((const uint8_t *)lengths)[row];
        share += (float)times * list->norms[f][length];
    }
    return share;
}

/* Which of 64 sums are no less than `least`. */
static inline uint64_t mixline_reaching_portable(const int32_t *sums, int32_t least) {
    uint64_t found = 0;
    for (int part = 0; part < 64; part += 8) {
        uint64_t some = 0;
        for (int i = 0; i < 8; i++) some |= (uint64_t)(sums[part + i] >= least) << i;
        found |= some << part;
    }
    return found;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static inline uint64_t mixline_reaching_avx2(const int32_t *sums, int32_t least) {
    const __m256i below = _mm256_set1_epi32(least - 1);
    const __m256i *all = (const __m256i *)sums;
    uint64_t found = 0;
    __m256i most = _mm256_loadu_si256(all);
    for (int part = 1; part < 8; part++) most = _mm256_max_epi32(most, _mm256_loadu_si256(all + part));
    most = _mm256_cmpgt_epi32(most, below);
    if (_mm256_testz_si256(most, most)) return 0; /* as nearly always */
    for (int part = 0; part < 64; part += 8) {
        __m256i some = _mm256_cmpgt_epi32(_mm256_loadu_si256((const __m256i *)(sums + part)), below);
        found |= (uint64_t)(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(some)) << part;
    }
    return found;
}
#endif

/* How many rows of a block of MIXLINE_PACK lie below `row`, which its last one does not. A jump for each halving would be
 * foretold wrongly every second time. */
static inline int mixline_below_portable(const uint32_t *rows, uint32_t row) {
    int low = 0;
    for (int half = MIXLINE_PACK / 2; half; half /= 2) low += half & -(int)(rows[low + half - 1] < row);
    return low;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static inline int mixline_below_avx2(const uint32_t *rows, uint32_t row) {
    const __m256i sign = _mm256_set1_epi32(INT32_MIN), wanted = _mm256_xor_si256(_mm256_set1_epi32((int)row), sign);
    int low = (rows[63] < row) << 6;
    low += (rows[low + 31] < row) << 5;
    __m256i below = _mm256_setzero_si256();
    for (int part = 0; part < 32; part += 8) {
        __m256i some = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(rows + low + part)), sign);
        below = _mm256_sub_epi32(below, _mm256_cmpgt_epi32(wanted, some));
    }
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(below), _mm256_extracti128_si256(below, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4E));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xB1));
    return low + _mm_cvtsi128_si32(half);
}
#endif

/* The first block whose last row is not below `row`, from `block` on; `blocks` when there is none. */
static inline int64_t mixline_block_of(const mixline_list *list, int64_t block, uint32_t row) {
    if (!list->headers) return block < list->blocks && list->rows[list->have - 1] < row ? list->blocks : block;
    int64_t step = 1;
    if (block >= list->blocks || mixline_last(list, block) >= row) return block;
    while (block + step < list->blocks && mixline_last(list, block + step) < row) block += step, step *= 2;
    for (; step; step /= 2)
        if (block + step < list->blocks && mixline_last(list, block + step) < row) block += step;
    return block + 1;
}

/* Go to `row`, which is not below those asked for before; whether the list has it. */
__attribute__((always_inline)) static inline int mixline_seek_by(mixline_list *list, uint32_t row,
                                                                 int (*below)(const uint32_t *, uint32_t)) {
    int64_t block = list->block < 0 ? 0 : list->block;
    block = mixline_block_of(list, block, row);
    if (block >= list->blocks) return 0;
    if (block != list->block) mixline_open_block(list, block);
    const uint32_t *rows = list->rows;
    int low = list->at < list->have && rows[list->at] <= row ? list->at : 0;
    if (list->have == MIXLINE_PACK)
        low = below(rows, row);
    else
        while (rows[low] < row) low++;
    list->at = low;
    return rows[low] == row;
}

static inline int mixline_seek(mixline_list *list, uint32_t row) {
    return mixline_seek_by(list, row, mixline_below_portable);
}

/* Whether the row that the list stands at has the term in a field that is asked, and what it is worth. */
static inline int mixline_worth_here(mixline_list *list, int32_t *worth) {
    if (list->timed > 1) return (*worth = list->worths[list->at]) > 0;
    if (!list->timed) mixline_read_times(list);
    float share = mixline_share_at(list, list->at);
    *worth = mixline_worth_of(list, share);
    return share > 0;
}

static inline int32_t mixline_level_bound(const mixline_list *list, int64_t block) {
    return list->bounds[mixline_header(list, block)[list->texts->entry - 1]];
}

/* What every row of the open block is worth. */
#define MIXLINE_DEFINE_POSTINGS(NAME, TARGET)                                                                         \
    TARGET static void mixline_worths_##NAME(mixline_list *list) {                                                    \
        float shares[MIXLINE_PACK] = {0}, norms[MIXLINE_PACK];                                                        \
        const float k1 = list->texts->k1, scale = list->scale;                                                        \
        for (int f = 0; f < list->texts->fields; f++) {                                                               \
            const uint32_t *times = list->times + f * MIXLINE_PACK, *rows = list->rows;                               \
            const float *by_length = list->norms[f];                                                                  \
            if (!by_length || (list->texts->fields > 1 && !list->bits[1 + f])) continue;                              \
            if (list->texts->wide[f]) {                                                                               \
                const uint16_t *lengths = list->texts->lengths[f];                                                    \
                for (int i = 0; i < list->have; i++) norms[i] = by_length[lengths[rows[i]]];                          \
            } else {                                                                                                  \
                const uint8_t *lengths = list->texts->lengths[f];                                                     \
                for (int i = 0; i < list->have; i++) norms[i] = by_length[lengths[rows[i]]];                          \
            }                                                                                                         \
            for (int i = list->have; i < MIXLINE_PACK; i++) norms[i] = 0;                                             \
            for (int i = 0; i < MIXLINE_PACK; i++) shares[i] += (float)(int32_t)times[i] * norms[i];                  \
        }                                                                                                             \
        for (int i = 0; i < MIXLINE_PACK; i++) {                                                                      \
            int32_t worth = (int32_t)(scale * (shares[i] / (shares[i] + k1)) + 0.5f);                                 \
            list->worths[i] = worth + ((worth == 0) & (shares[i] > 0));                                               \
        }                                                                                                             \
    }                                                                                                                 \
    /* Rows of the window whose sum reaches `least`, of those allowed. */                                             \
    TARGET static int64_t mixline_collect_##NAME(const int32_t *sums, const uint64_t *groups, uint32_t first,         \
                                                 int64_t count, int32_t least, const uint64_t *allowed,               \
                                                 mixline_candidate *out) {                                            \
        int64_t found = 0;                                                                                            \
        for (int64_t i = 0; i < count; i += 64) {                                                                     \
            uint64_t may = allowed ? allowed[(first + i) / 64] : ~(uint64_t)0;                                        \
            if (may) may &= mixline_reaching_##NAME(sums + i, least);                                                 \
            for (; may; may &= may - 1) {                                                                             \
                int64_t at = i + __builtin_ctzll(may);                                                                \
                out[found++] = (mixline_candidate){groups ? groups[at] : 0, first + (uint32_t)at, sums[at]};          \
            }                                                                                                         \
        }                                                                                                             \
        return found;                                                                                                 \
    }                                                                                                                 \
    /* Add a list's worths to candidates (rows ascending); those that cannot reach `least` with `rest` more are left      \
     * out. Returns how many remain. */                                                                               \
    TARGET static int64_t mixline_probe_##NAME(mixline_list *list, mixline_candidate *some, int64_t count,            \
                                               uint64_t group, int32_t rest, int32_t least) {                         \
        int64_t kept = 0;                                                                                             \
        for (int64_t i = 0; i < count; i++) {                                                                         \
            mixline_candidate one = some[i];                                                                          \
            int32_t worth;                                                                                            \
            if (list->bounds) { /* a block that cannot bring the row among the best is not opened */                  \
                list->probed = mixline_block_of(list, list->probed, one.row);                                         \
                if (list->probed != list->block) {                                                                    \
                    int32_t most = list->probed < list->blocks ? mixline_level_bound(list, list->probed) : 0;         \
                    if (one.sum < least - rest - most) continue;                                                      \
                }                                                                                                     \
            }                                                                                                         \
            if (mixline_seek_by(list, one.row, mixline_below_##NAME) && mixline_worth_here(list, &worth)) {           \
                one.sum += worth;                                                                                     \
                one.groups |= group;                                                                                  \
            }                                                                                                         \
            some[kept] = one;                                                                                         \
            kept += one.sum >= least - rest;                                                                          \
        }                                                                                                             \
        return kept;                                                                                                  \
    }                                                                                                                 \
    static const mixline_postings mixline_postings_##NAME = {mixline_worths_##NAME, mixline_collect_##NAME,              \
                                                            mixline_probe_##NAME, #NAME};

typedef struct mixline_postings {
    void (*worths)(mixline_list *list);
    int64_t (*collect)(const int32_t *sums, const uint64_t *groups, uint32_t first, int64_t count, int32_t least,
                       const uint64_t *allowed, mixline_candidate *out);
    int64_t (*probe)(mixline_list *list, mixline_candidate *some, int64_t count, uint64_t group, int32_t rest,
                     int32_t least);
    const char *name;
} mixline_postings;

#if defined(__x86_64__)
MIXLINE_DEFINE_POSTINGS(avx2, __attribute__((target("avx2"))))
#endif
MIXLINE_DEFINE_POSTINGS(portable, )

/* The path for an instruction set that this machine has. */
static const mixline_postings *mixline_choose_postings(const char *isa) {
#if defined(__x86_64__)
    if (mixline_isa_named(isa) >= MIXLINE_AVX2) return &mixline_postings_avx2;
#endif
    (void)isa;
    return &mixline_postings_portable;
}

/* Have the worths of the open block's rows. */
static inline void mixline_value_block(const mixline_postings *path, mixline_list *list) {
    if (list->timed > 1) return;
    if (!list->timed) mixline_read_times(list);
    path->worths(list);
    list->timed = 2;
}

/* Add what the rows first .. end are worth to their sums, and note the group; whether there were any. */
static int mixline_accumulate(const mixline_postings *path, mixline_list *list, uint32_t first, uint32_t end,
                              int32_t *sums, uint64_t *groups, uint64_t group) {
    int any = 0;
    int64_t block = list->ahead;
    for (; block < list->blocks; block++) {
        if (list->block != block) {
            if (list->headers && block && mixline_last(list, block - 1) + 1 >= end) break;
            mixline_open_block(list, block);
        }
        int at = list->at;
        while (at < list->have && list->rows[at] < first) at++;
        int stop = list->have;
        if (at < stop && list->rows[stop - 1] >= end)
            for (stop = at; list->rows[stop] < end;) stop++;
        if (at < stop) {
            mixline_value_block(path, list);
            if (groups)
                for (int i = at; i < stop; i++) groups[list->rows[i] - first] |= list->worths[i] ? group : 0;
            for (int i = at; i < stop; i++) sums[list->rows[i] - first] += list->worths[i];
            any = 1;
        }
        list->at = stop;
        if (stop < list->have) break;
    }
    return any;
}

/* What rows of a block of each level are worth at most. */
static void mixline_bounds(mixline_list *list, int32_t *bounds) {
    const float top = mixline_float_at(list->head) / MIXLINE_LEVELS * mixline_weight(list, 0);
    for (int level = 0; level <= MIXLINE_LEVELS; level++) bounds[level] = mixline_bound_of(list, top * (float)level);
    list->bounds = bounds;
}

/* No row of the window is worth more than this. */
static int32_t mixline_window_bound(mixline_list *list, uint32_t first, uint32_t end) {
    const int fields = list->texts->fields;
    if (!list->headers) {
        if (list->ahead >= list->blocks || list->rows[list->have - 1] < first) return 0;
        return list->rows[0] < end ? list->top : 0;
    }
    int64_t block = list->ahead = mixline_block_of(list, list->ahead, first);
    if (block >= list->blocks || (block && mixline_last(list, block - 1) + 1 >= end)) return 0;
    uint8_t levels[MIXLINE_FIELDS] = {0};
    for (; block < list->blocks; block++) {
        const uint8_t *header = mixline_header(list, block);
        for (int f = 0; f < fields; f++) {
            uint8_t level = header[list->texts->entry - fields + f];
            levels[f] = level > levels[f] ? level : levels[f];
        }
        if (mixline_word_at(header) + 1 >= end) break;
    }
    if (list->bounds) return list->bounds[levels[0]];
    float share = 0;
    for (int f = 0; f < fields; f++)
        if (list->norms[f])
            share += mixline_float_at(list->head + 4 * f) * (float)levels[f] / MIXLINE_LEVELS * mixline_weight(list, f);
    int32_t bound = mixline_bound_of(list, share);
    return bound < list->top ? bound : list->top;
}

enum { MIXLINE_MARKED = 64 }; /* blocks between two looks at the clock */

/* Mark all rows of a list in a bitmap; with fields that are not asked, those rows that have the term in one that is.
 * Whether there was time for all. */
static int mixline_mark(mixline_list *list, uint64_t *words, int64_t until_ns) {
    int all = 1;
    for (int f = 0; f < list->texts->fields; f++) all &= list->norms[f] != NULL;
    for (int64_t block = 0; block < list->blocks; block++) {
        if (block % MIXLINE_MARKED == 0 && mixline_over(until_ns)) return 0;
        mixline_open_block(list, block);
        if (!all) mixline_read_times(list);
        for (int i = 0; i < list->have; i++)
            if (all || mixline_share_at(list, i) > 0) words[list->rows[i] >> 6] |= (uint64_t)1 << (list->rows[i] & 63);
    }
    return 1;
}

enum { MIXLINE_PLACES = 4096 }; /* of a word in one row that are looked at */

/* Where a field of the row that the list stands at has the term: how many places, written to `out` less `offset`. */
static int mixline_places(mixline_list *list, int field, int64_t offset, int64_t *out) {
    const mixline_texts *texts = list->texts;
    const uint8_t *at = list->positions;
    int64_t skipped = 0;
    uint32_t gap, place = 0, many = list->times[field * MIXLINE_PACK + list->at];
    if (list->headers && list->block) at += mixline_word_at(mixline_header(list, list->block) - texts->entry + 8);
    for (int f = 0; f < texts->fields; f++)
        for (int i = 0; texts->places[f] && i < list->at + (f < field); i++) skipped += list->times[f * MIXLINE_PACK + i];
    for (; skipped; at++) skipped -= !(*at & 0x80);
    if (many > MIXLINE_PLACES) many = MIXLINE_PLACES;
    for (uint32_t i = 0; i < many; i++) {
        at = mixline_take_varint(at, &gap);
        place += gap;
        out[i] = (int64_t)place - offset;
    }
    return (int)many;
}

/* Whether one entry can be taken of each of `count` ascending lists, which begin MIXLINE_PLACES apart, so that all lie
 * within `slop` of one another. */
static int mixline_within(const int64_t *places, const int *many, int count, int64_t slop) {
    int at[64] = {0};
    for (;;) {
        int least = 0;
        int64_t low = places[at[0]], high = low;
        for (int i = 1; i < count; i++) {
            int64_t place = places[i * MIXLINE_PLACES + at[i]];
            if (place < low) low = place, least = i;
            if (place > high) high = place;
        }
        if (high - low <= slop) return 1;
        if (++at[least] >= many[least]) return 0;
    }
}

#endif
