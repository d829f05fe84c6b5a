"""The best rows for a text query: BM25F over block-compressed lists, by MaxScore in windows of rows (Turtle and Flood
1995; Ding and Suel 2011).

A window's lists are ordered by the most that they can give in it. Those that could not bring a row among the best even
together are not read through, only asked about the rows that the others bring; windows out of reach are passed over.
What is skipped is never among the best, so the answer is that of scoring every row.
"""

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from mixline.kernels.order cimport Entry, heap_sort, ranks_before, sift_down
from mixline.kernels.postings cimport (
    MIXLINE_DEPTHS,
    MIXLINE_PLACES,
    MIXLINE_UNITS,
    MIXLINE_WINDOW,
    Postings,
    check_words,
    mixline_accumulate,
    mixline_candidate,
    mixline_float_at,
    mixline_list,
    mixline_over,
    mixline_places,
    mixline_read_times,
    mixline_seek,
    mixline_weight,
    mixline_window_bound,
    mixline_within,
    mixline_worth_of,
    path,
)

from mixline.kernels.errors import KernelArgumentError

cdef enum:
    LISTS = 64
    WORDS = 16              # of a phrase
    LISTS_LOOKED = 8        # lists, rows and rows with phrases between two looks at the clock within a window
    ROWS_LOOKED = 64
    PHRASES_LOOKED = 8

LISTS_MAX = LISTS
GROUPS_MAX = LISTS
WORDS_MAX = WORDS
WINDOW = MIXLINE_WINDOW

cdef enum Kind:
    SHOULD = 0
    MUST = 1
    NOT = 2
    PART = 3                # of a phrase that must not be there: looked at, and worth nothing

KINDS = {"should": SHOULD, "must": MUST, "not": NOT, "part": PART}

cdef struct Phrase:
    bint unwanted
    int slop
    int first, count        # of the words of one reading among all
    int next                # the next reading of the same phrase + 1; 0: none


cdef class Search:
    cdef Postings index
    cdef list kept
    cdef mixline_list* lists
    cdef int count, lead
    cdef int[LISTS] group, kind         # of each list
    cdef uint64_t must, unwanted
    cdef mixline_list* words            # of phrases, each with a place of its own
    cdef int[LISTS] word_offset
    cdef Phrase[LISTS] phrases
    cdef int phrase_count, word_count
    cdef const uint64_t* allowed
    cdef uint64_t* marks                # all rows that match, where they are not ranked
    cdef int32_t* sums
    cdef uint64_t* groups
    cdef mixline_candidate* some
    cdef int64_t* places
    cdef int64_t until_ns
    cdef Entry* heap
    cdef Py_ssize_t size
    cdef readonly Py_ssize_t k
    cdef bint full, cut                 # cut: the time was over within a window, its lists are somewhere in it
    cdef int32_t least                  # a sum below is not among the best
    cdef readonly int64_t next          # the first row that was not looked at
    cdef readonly int64_t windows, valued

    def __cinit__(self, Postings index not None, Py_ssize_t k, lists, views, kinds, phrases=(), allowed=None,
                  bint whole=True, uint64_t[::1] marks=None):
        cdef int i
        self.index, self.k, self.kept = index, k, [views, allowed, marks]
        if k < 1 or not 0 < len(lists) <= LISTS or len(kinds) > LISTS:
            raise KernelArgumentError(f"k = {k}, {len(lists)} lists in {len(kinds)} groups; at most {LISTS}")
        self.lists = <mixline_list*>calloc(LISTS, sizeof(mixline_list))
        self.sums = <int32_t*>calloc(MIXLINE_WINDOW + 64, sizeof(int32_t))
        self.some = <mixline_candidate*>malloc((MIXLINE_WINDOW + 64) * sizeof(mixline_candidate))
        self.heap = <Entry*>malloc(k * sizeof(Entry))
        if self.lists == NULL or self.sums == NULL or self.some == NULL or self.heap == NULL:
            raise MemoryError(f"no memory for a search of the best {k}")
        for i, (start, number, places, weight, view, group) in enumerate(lists):
            self.group[i], self.kind[i] = group, kinds[group]
            wanted = self.kind[i] in (SHOULD, MUST)
            index.open(&self.lists[i], start, number, places, weight if wanted else 0.0, views[view])
            self.count += 1
        if allowed is not None:
            self.allowed = check_words("allowed", allowed, index.rows)
        if marks is not None:
            self.marks = <uint64_t*>check_words("marks", marks, index.rows)
        self.take_kinds(kinds)
        self.take_phrases(lists, views, phrases)
        self.least = 1
        if self.must | self.unwanted or self.phrase_count:
            self.groups = <uint64_t*>calloc(MIXLINE_WINDOW + 64, sizeof(uint64_t))
            if self.groups == NULL:
                raise MemoryError("no memory for groups of terms")
        elif whole and allowed is None and marks is None:
            self.take_floor()

    def __dealloc__(self):
        cdef int i
        for i in range(self.count):
            free(self.lists[i].times)
        for i in range(self.word_count):
            free(self.words[i].times)
        free(self.lists)
        free(self.words)
        free(self.sums)
        free(self.groups)
        free(self.some)
        free(self.places)
        free(self.heap)

    cdef int take_kinds(self, kinds) except -1:
        """What must be there and what not; the rarest that must be leads."""
        cdef int i
        rows = [0] * len(kinds)
        for i in range(self.count):
            rows[self.group[i]] += self.lists[i].count
        self.lead = -1
        for group, kind in enumerate(kinds):
            if kind == MUST:
                self.must |= <uint64_t>1 << <int>group
                if self.lead < 0 or rows[group] < rows[self.lead]:
                    self.lead = group
            elif kind == NOT:
                self.unwanted |= <uint64_t>1 << <int>group
        return 0

    cdef int take_phrases(self, lists, views, phrases) except -1:
        cdef int i = 0
        if not phrases:
            return 0
        self.words = <mixline_list*>calloc(LISTS, sizeof(mixline_list))
        self.places = <int64_t*>malloc(WORDS * MIXLINE_PLACES * sizeof(int64_t))
        if self.words == NULL or self.places == NULL:
            raise MemoryError("no memory for phrases")
        if not self.index.texts.stored:
            raise KernelArgumentError("phrases need positions, and the index has none")
        for unwanted, slop, readings in phrases:
            for at, reading in enumerate(readings):
                if (not 0 < len(reading) <= WORDS or i + len(reading) > LISTS or self.phrase_count >= LISTS):
                    raise KernelArgumentError(f"a phrase of {len(reading)} words; at most {WORDS}, {LISTS} in all")
                self.phrases[self.phrase_count].unwanted = unwanted
                self.phrases[self.phrase_count].slop = slop
                self.phrases[self.phrase_count].first = i
                self.phrases[self.phrase_count].count = <int>len(reading)
                self.phrase_count += 1
                self.phrases[self.phrase_count - 1].next = self.phrase_count if at + 1 < len(readings) else 0
                for number, offset in reading:
                    start, count, places, _, view, _ = lists[number]
                    self.index.open(&self.words[i], start, count, places, 0.0, views[view])
                    self.word_offset[i] = offset
                    i += 1
                    self.word_count = i
        return 0

    cdef void take_floor(self) noexcept:
        """What the best k of one list alone reach, by the shares that the list keeps."""
        cdef int i, depth = 0
        cdef mixline_list* one
        cdef float share
        cdef int32_t floor
        cdef Py_ssize_t rank = 10
        while rank < self.k:
            rank *= 10
            depth += 1
        if self.index.texts.fields > 1 or depth >= MIXLINE_DEPTHS:
            return
        for i in range(self.count):
            one = &self.lists[i]
            if one.headers == NULL or one.norms[0] == NULL:
                continue
            share = mixline_float_at(one.head + 4 + 4 * depth)
            floor = <int32_t>(mixline_worth_of(one, share * mixline_weight(one, 0)) * 0.999998) - 2
            self.least = max(self.least, floor)

    def advance(self, Py_ssize_t windows=1 << 30, int64_t until_ns=0):
        self.until_ns = until_ns
        with nogil:
            while windows > 0 and self.next < self.index.rows and not self.cut and not mixline_over(until_ns):
                self.window()
                windows -= 1
        return self.next < self.index.rows

    cdef void cut_off(self, uint32_t first) noexcept nogil:
        """End for good within the window that begins with this row."""
        self.cut, self.next = True, first

    cdef void window(self) noexcept nogil:
        """Look at the next rows."""
        cdef uint32_t first = <uint32_t>self.next
        cdef uint32_t end = <uint32_t>min(self.next + MIXLINE_WINDOW, self.index.rows)
        cdef int32_t[LISTS] bounds
        cdef int[LISTS] order
        cdef int32_t rest = 0
        cdef int64_t found
        cdef int i, split, any = 0
        self.next = end
        split = self.plan(first, end, bounds, order, &rest)
        if split < 0:
            return
        self.windows += 1
        for i in range(self.count - 1, split - 1, -1):
            if i % LISTS_LOOKED == 0 and mixline_over(self.until_ns):
                self.cut_off(first)
                return
            any |= mixline_accumulate(path, &self.lists[order[i]], first, end, self.sums, self.groups,
                                      <uint64_t>1 << self.group[order[i]])
        if not any:
            return
        found = path.collect(self.sums, self.groups, first, (end - first + 63) // 64 * 64, max(1, self.least - rest),
                             self.allowed, self.some)
        memset(self.sums, 0, MIXLINE_WINDOW * sizeof(int32_t))
        if self.groups:
            memset(self.groups, 0, MIXLINE_WINDOW * sizeof(uint64_t))
        self.valued += found
        for i in range(split - 1, -1, -1):
            if not found:
                return
            if found > ROWS_LOOKED and mixline_over(self.until_ns):
                self.cut_off(first)
                return
            rest -= bounds[order[i]]
            found = path.probe(&self.lists[order[i]], self.some, found, <uint64_t>1 << self.group[order[i]], rest,
                               self.least)
        self.offer(first, found)

    cdef int plan(self, uint32_t first, uint32_t end, int32_t* bounds, int* order, int32_t* rest) noexcept nogil:
        """Order lists by what they can give here; those from the returned place on are read through, -1: none need be.
        ``rest``: what all others can give together."""
        cdef int i, at, split = 0
        cdef int32_t total = 0
        cdef uint64_t there = 0, may = 0
        cdef Py_ssize_t word
        if self.allowed:
            for word in range(first // 64, (end + 63) // 64):
                may |= self.allowed[word]
            if not may:
                return -1
        for i in range(self.count):
            bounds[i] = 0
            if self.kind[i] <= MUST:
                bounds[i] = mixline_window_bound(&self.lists[i], first, end)
                there |= <uint64_t>(bounds[i] > 0) << self.group[i]
                total += bounds[i]
        if total < self.least or there & self.must != self.must:
            return -1
        for i in range(self.count):
            at = i
            while at > 0 and self.stands_behind(order[at - 1], i, bounds):
                order[at] = order[at - 1]
                at -= 1
            order[at] = i
        if self.lead >= 0:
            while self.group[order[split]] != self.lead:
                rest[0] += bounds[order[split]]
                split += 1
            return split
        while split < self.count - 1 and rest[0] + bounds[order[split]] < self.least:
            rest[0] += bounds[order[split]]
            split += 1
        return split

    cdef bint stands_behind(self, int one, int other, int32_t* bounds) noexcept nogil:
        """Whether a list is read before another: those of the lead, then those that give most."""
        cdef bint a = self.group[one] == self.lead, b = self.group[other] == self.lead
        return a if a != b else bounds[one] > bounds[other]

    cdef void offer(self, uint32_t first, int64_t found) noexcept nogil:
        """Let candidates that match try for a place among the best."""
        cdef Py_ssize_t i, hole
        cdef Entry entry
        cdef mixline_candidate* one
        for i in range(found):
            one = self.some + i
            if one.sum < self.least or one.groups & self.must != self.must or one.groups & self.unwanted:
                continue
            if self.phrase_count:
                if i % PHRASES_LOOKED == 0 and mixline_over(self.until_ns):
                    self.cut_off(first)
                    return
                if not self.phrases_hold(one.row):
                    continue
            if self.marks:
                self.marks[one.row >> 6] |= <uint64_t>1 << (one.row & 63)
                continue
            entry.score = <float>(<double>one.sum / MIXLINE_UNITS)
            entry.row = one.row
            entry.key = self.index.keys[one.row]
            if not self.full:
                self.heap[self.size] = entry
                self.size += 1
                if self.size == self.k:
                    self.full = True
                    for hole in range(self.size // 2 - 1, -1, -1):
                        sift_down(self.heap, self.size, hole)
                    self.raise_least()
            elif ranks_before(&entry, &self.heap[0]):
                self.heap[0] = entry
                sift_down(self.heap, self.size, 0)
                self.raise_least()

    cdef void raise_least(self) noexcept nogil:
        """The least sum whose score, as a float32, is no less than the worst of the best."""
        cdef double worst = self.heap[0].score
        cdef int64_t sum_ = <int64_t>(worst * MIXLINE_UNITS)
        cdef int64_t step = 1
        while sum_ >> 24 >= step:
            step *= 2
        self.least = max(self.least, <int32_t>(sum_ - (step if sum_ >= 1 << 24 else 0)))

    cdef bint phrases_hold(self, uint32_t row) noexcept nogil:
        cdef int at = 0
        cdef bint holds
        cdef Phrase* phrase
        while at < self.phrase_count:
            phrase = &self.phrases[at]
            holds = False
            while True:
                holds = holds or self.reading_holds(&self.phrases[at], row)
                at += 1
                if not self.phrases[at - 1].next:
                    break
            if holds == phrase.unwanted:
                return False
        return True

    cdef bint reading_holds(self, Phrase* phrase, uint32_t row) noexcept nogil:
        """Whether the words stand in some field of a row as the phrase says."""
        cdef int i, f
        cdef int[WORDS] many
        cdef mixline_list* one
        cdef bint there
        for i in range(phrase.count):
            one = &self.words[phrase.first + i]
            if not mixline_seek(one, row):
                return False
            if not one.timed:
                mixline_read_times(one)
        for f in range(self.index.texts.fields):
            there = self.index.texts.places[f]
            for i in range(phrase.count):
                one = &self.words[phrase.first + i]
                there = there and one.norms[f] != NULL
                if there:
                    many[i] = mixline_places(one, f, self.word_offset[phrase.first + i],
                                             self.places + i * MIXLINE_PLACES)
                    there = many[i] > 0
                if not there:
                    break
            if there and mixline_within(self.places, many, phrase.count, phrase.slop):
                return True
        return False

    def result(self):
        cdef Py_ssize_t i
        cdef uint32_t[::1] rows = np.empty(self.size, dtype=np.uint32)
        cdef float[::1] scores = np.empty(self.size, dtype=np.float32)
        cdef Entry* ranked = <Entry*>malloc(max(1, self.size) * sizeof(Entry))
        if ranked == NULL:
            raise MemoryError(f"no memory to rank {self.size}")
        memcpy(ranked, self.heap, self.size * sizeof(Entry))
        heap_sort(ranked, self.size)
        for i in range(self.size):
            rows[i], scores[i] = ranked[i].row, ranked[i].score
        free(ranked)
        return rows.base, scores.base
