"""Texts in, postings out, in bounded memory: what comes is gathered until a run is full, sorted by term and set aside.

What an analyser makes of a word is asked once for each different word and remembered here, so a build costs what it
takes to find words in a table. Only this vocabulary grows with the input.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort, realloc
from libc.string cimport memcmp, memcpy

from mixline.storage.words cimport mixline_next_word, mixline_point, mixline_text, open_text

cnp.import_array()

cdef enum:
    WORD_MAX = 64           # as in analysis.py
    RAW_MAX = 4 * WORD_MAX
    NO_WORD = 0xFFFFFFFF
    FEW = 48                # numbers that are sorted by insertion
    PLACES_MAX = 1 << 20    # words of one text that are looked at
    TOGETHER = 16           # words that are looked up at once, so that their cache misses overlap

cdef extern from *:
    void fetch "__builtin_prefetch" (const void* place) noexcept nogil

cdef extern from "Python.h" nogil:
    bint Py_UNICODE_ISSPACE(uint32_t point) noexcept

cdef enum:
    UNICODE = 0
    SPACES = 1
    WHOLE = 2

WAYS = {"unicode": UNICODE, "spaces": SPACES, "whole": WHOLE}
POSTING = np.dtype([("term", "<u4"), ("row", "<u4"), ("times", "<u4")])
FIELD_SHIFT = 24            # of ``times``: the field above, how often below

cdef struct Posting:
    uint32_t term
    uint32_t row
    uint32_t times

cdef struct Known:
    uint64_t hash
    uint64_t text           # where its bytes begin
    uint32_t length
    uint32_t chain          # number of the analyser
    uint32_t first          # of its terms
    uint32_t count
    uint32_t word


cdef struct Waiting:
    uint64_t hash
    int length
    uint32_t place
    uint8_t[RAW_MAX] raw


cdef void* grown(void* memory, size_t* room, size_t need, size_t each) except NULL:
    """Memory for ``need`` entries, twice as many as before if any more."""
    cdef size_t more = room[0]
    cdef void* found
    if need <= more and memory != NULL:
        return memory
    more = max(need, 2 * more, <size_t>1024)
    found = realloc(memory, more * each)
    if found == NULL:
        raise MemoryError(f"no memory for {more} entries of {each} bytes")
    room[0] = more
    return found


cdef int ascending(const void* a, const void* b) noexcept nogil:
    cdef uint64_t one = (<const uint64_t*>a)[0], other = (<const uint64_t*>b)[0]
    return (one > other) - (one < other)


cdef void sort_tokens(uint64_t* tokens, size_t count) noexcept nogil:
    cdef size_t at, hole
    cdef uint64_t moving
    if count > FEW:
        qsort(tokens, count, sizeof(uint64_t), &ascending)
        return
    for at in range(1, count):
        moving = tokens[at]
        hole = at
        while hole > 0 and tokens[hole - 1] > moving:
            tokens[hole] = tokens[hole - 1]
            hole -= 1
        tokens[hole] = moving


cdef int put_utf8(const mixline_text* text, int64_t start, int64_t end, uint8_t* out) noexcept nogil:
    """The bytes of some code points; how many."""
    cdef int64_t at
    cdef uint32_t point
    cdef int count = 0
    cdef const uint8_t* plain = <const uint8_t*>text.points
    if text.width == 1:
        while count < min(end - start, WORD_MAX) and plain[start + count] < 0x80:
            out[count] = plain[start + count]
            count += 1
        if count == min(end - start, WORD_MAX):
            return count
        count = 0
    for at in range(start, min(end, start + WORD_MAX)):
        point = mixline_point(text, at)
        if point < 0x80:
            out[count] = <uint8_t>point
            count += 1
        elif point < 0x800:
            out[count] = <uint8_t>(0xC0 | point >> 6)
            out[count + 1] = <uint8_t>(0x80 | point & 0x3F)
            count += 2
        elif point < 0x10000:
            out[count] = <uint8_t>(0xE0 | point >> 12)
            out[count + 1] = <uint8_t>(0x80 | point >> 6 & 0x3F)
            out[count + 2] = <uint8_t>(0x80 | point & 0x3F)
            count += 3
        else:
            out[count] = <uint8_t>(0xF0 | point >> 18)
            out[count + 1] = <uint8_t>(0x80 | point >> 12 & 0x3F)
            out[count + 2] = <uint8_t>(0x80 | point >> 6 & 0x3F)
            out[count + 3] = <uint8_t>(0x80 | point & 0x3F)
            count += 4
    return count


cdef bint next_spaced(const mixline_text* text, int64_t* at, int64_t* start, int64_t* end) noexcept nogil:
    """The next word between white space, as str.split has it; whether there is one."""
    cdef int64_t place = at[0]
    while place < text.count and Py_UNICODE_ISSPACE(mixline_point(text, place)):
        place += 1
    start[0] = place
    while place < text.count and not Py_UNICODE_ISSPACE(mixline_point(text, place)):
        place += 1
    at[0] = end[0] = place
    return place > start[0]


cdef uint64_t hash_of(const uint8_t* raw, int length, uint32_t chain) noexcept nogil:
    """FNV-1a, finished as MurmurHash3 does."""
    cdef uint64_t h = <uint64_t>0xCBF29CE484222325 ^ chain
    cdef int i
    for i in range(length):
        h = (h ^ raw[i]) * <uint64_t>0x100000001B3
    h ^= h >> 33
    h *= <uint64_t>0xFF51AFD7ED558CCD
    return h ^ (h >> 33)


cdef class Inverter:
    cdef readonly dict terms, words
    cdef object analysers, chains, stored, ways
    cdef bint spelling
    cdef Known* known
    cdef size_t known_count, known_room
    cdef uint32_t* table                # entry + 1 by hash; 0: none
    cdef size_t slots
    cdef uint8_t* raws
    cdef size_t raw_bytes, raw_room
    cdef uint32_t* found                # terms of the words
    cdef size_t found_count, found_room
    cdef uint64_t* counts               # of words as they are spelt
    cdef size_t counts_room
    cdef uint64_t* tokens               # of the text at hand: term above, place below
    cdef size_t token_count, token_room
    cdef Posting* postings
    cdef size_t posting_count, posting_room
    cdef uint32_t* places
    cdef size_t place_count, place_room

    def __cinit__(self, analysers, chains, stored, bint spelling):
        self.analysers, self.chains, self.stored, self.spelling = list(analysers), list(chains), list(stored), spelling
        self.ways = [WAYS[analyser.facts.words] for analyser in self.analysers]
        self.terms, self.words = {}, {}
        self.slots = 1 << 12
        self.table = <uint32_t*>calloc(self.slots, sizeof(uint32_t))
        if self.table == NULL:
            raise MemoryError("no memory for a table of words")

    def __dealloc__(self):
        for_all = (<size_t>self.known, <size_t>self.table, <size_t>self.raws, <size_t>self.found, <size_t>self.counts,
                   <size_t>self.tokens, <size_t>self.postings, <size_t>self.places)
        for one in for_all:
            free(<void*><size_t>one)

    @property
    def bytes(self):
        return self.posting_count * sizeof(Posting) + self.place_count * sizeof(uint32_t)

    def add_rows(self, uint32_t first, columns, uint32_t start, uint32_t stop, size_t bytes_max, uint32_t length_max):
        cdef Py_ssize_t fields = len(columns), field
        cdef uint32_t at = start
        cdef cnp.ndarray lengths
        cdef list texts = [list(values) for values, _ in columns]
        cdef list found = [lengths for _, lengths in columns]
        for lengths in found:
            if lengths.dtype != np.uint32 or not lengths.flags.c_contiguous or lengths.shape[0] < stop:
                raise ValueError("lengths are uint32, one for each row")
        while at < stop and self.posting_count * sizeof(Posting) + self.place_count * sizeof(uint32_t) < bytes_max:
            for field in range(fields):
                text = (<list>texts[field])[at]
                if text:
                    lengths = found[field]
                    (<uint32_t*>lengths.data)[at] = min(self.take_text(first + at, field, text), length_max)
            at += 1
        return at

    def add(self, uint32_t row, uint32_t field, str text not None):
        return self.take_text(row, field, text)

    cdef int64_t take_text(self, uint32_t row, uint32_t field, str text) except -1:
        """Note a text; how many of its words are found by something."""
        cdef mixline_text given = open_text(text)
        cdef uint32_t chain = self.chains[field]
        cdef int64_t at = 0, start = 0, end = 0
        cdef uint32_t place = 0, length = 0
        cdef int way = self.ways[chain], waits = 0
        cdef Waiting[TOGETHER] waiting
        cdef Waiting* word
        self.token_count = 0
        spans = iter(self.analysers[chain].spans(text, PLACES_MAX)) if way == WHOLE else None
        while place < PLACES_MAX:
            if way == UNICODE:
                if not mixline_next_word(&given, &at, &start, &end):
                    break
            elif way == SPACES:
                if not next_spaced(&given, &at, &start, &end):
                    break
            else:
                span = next(spans, None)
                if span is None:
                    break
                start, end = span
            word = &waiting[waits]
            word.place = place
            word.length = put_utf8(&given, start, end, word.raw)
            word.hash = hash_of(word.raw, word.length, chain)
            fetch(self.table + (word.hash & (self.slots - 1)))
            place += 1
            waits += 1
            if waits == TOGETHER:
                length += self.take(waiting, waits, chain)
                waits = 0
        length += self.take(waiting, waits, chain)
        self.settle(row, field, self.stored[field])
        return length

    cdef int take(self, const Waiting* waiting, int count, uint32_t chain) except -1:
        """Note the terms of some words; how many have any."""
        cdef const Waiting* word
        cdef Known* known
        cdef uint32_t i, entry
        cdef int at, having = 0
        for at in range(count):
            entry = self.table[waiting[at].hash & (self.slots - 1)]
            if entry:
                fetch(self.known + entry - 1)
        for at in range(count):
            word = waiting + at
            known = self.look_up(word.raw, word.length, chain, word.hash)
            if known.word != NO_WORD:
                self.counts[known.word] += 1
            self.tokens = <uint64_t*>grown(self.tokens, &self.token_room, self.token_count + known.count, 8)
            for i in range(known.count):
                self.tokens[self.token_count] = <uint64_t>self.found[known.first + i] << 32 | word.place
                self.token_count += 1
            having += known.count > 0
        return having

    cdef Known* look_up(self, const uint8_t* raw, int length, uint32_t chain, uint64_t h) except NULL:
        cdef size_t slot = h & (self.slots - 1)
        cdef Known* known
        while self.table[slot]:
            known = self.known + self.table[slot] - 1
            if (known.hash == h and known.length == <uint32_t>length and known.chain == chain
                    and not memcmp(self.raws + known.text, raw, length)):
                return known
            slot = (slot + 1) & (self.slots - 1)
        return self.learn(raw, length, chain, h)

    cdef Known* learn(self, const uint8_t* raw, int length, uint32_t chain, uint64_t h) except NULL:
        """Ask the analyser about a word that is new."""
        cdef Known* known
        word = raw[:length].decode("utf-8", "surrogatepass")
        analyser = self.analysers[chain]
        terms = analyser.expand(word)
        self.known = <Known*>grown(self.known, &self.known_room, self.known_count + 1, sizeof(Known))
        self.raws = <uint8_t*>grown(self.raws, &self.raw_room, self.raw_bytes + length, 1)
        self.found = <uint32_t*>grown(self.found, &self.found_room, self.found_count + len(terms), 4)
        known = self.known + self.known_count
        known.hash, known.text, known.length, known.chain = h, self.raw_bytes, length, chain
        known.first, known.count, known.word = <uint32_t>self.found_count, <uint32_t>len(terms), NO_WORD
        memcpy(self.raws + self.raw_bytes, raw, length)
        self.raw_bytes += length
        for term in terms:
            self.found[self.found_count] = self.terms.setdefault(term, len(self.terms))
            self.found_count += 1
        if self.spelling:
            plain = analyser.plain(word)
            known.word = self.words.setdefault(plain, len(self.words))
            while self.counts_room < len(self.words):
                first = self.counts_room
                self.counts = <uint64_t*>grown(self.counts, &self.counts_room, len(self.words), 8)
                for at in range(first, self.counts_room):
                    self.counts[at] = 0
        self.known_count += 1
        if 2 * self.known_count > self.slots:
            self.widen()
        else:
            self.enter(<uint32_t>self.known_count - 1)
        return known

    cdef void enter(self, uint32_t at) noexcept:
        cdef size_t slot = self.known[at].hash & (self.slots - 1)
        while self.table[slot]:
            slot = (slot + 1) & (self.slots - 1)
        self.table[slot] = at + 1

    cdef int widen(self) except -1:
        cdef uint32_t at
        cdef uint32_t* wider = <uint32_t*>calloc(4 * self.slots, sizeof(uint32_t))
        if wider == NULL:
            raise MemoryError(f"no memory for a table of {4 * self.slots} words")
        free(self.table)
        self.table = wider
        self.slots *= 4
        for at in range(<uint32_t>self.known_count):
            self.enter(at)
        return 0

    cdef int settle(self, uint32_t row, uint32_t field, bint stored) except -1:
        """Make postings of the tokens of one text."""
        cdef size_t at, first = 0
        cdef Posting* posting
        sort_tokens(self.tokens, self.token_count)
        self.postings = <Posting*>grown(
            self.postings, &self.posting_room, self.posting_count + self.token_count, sizeof(Posting))
        if stored:
            self.places = <uint32_t*>grown(self.places, &self.place_room, self.place_count + self.token_count, 4)
        for at in range(self.token_count):
            if stored:
                self.places[self.place_count] = <uint32_t>self.tokens[at]
                self.place_count += 1
            if at + 1 == self.token_count or self.tokens[at + 1] >> 32 != self.tokens[at] >> 32:
                posting = self.postings + self.posting_count
                posting.term = <uint32_t>(self.tokens[at] >> 32)
                posting.row = row
                posting.times = field << 24 | <uint32_t>min(at + 1 - first, <size_t>0xFFFFFF)
                self.posting_count += 1
                first = at + 1
        return 0

    def word_counts(self):
        found = np.empty(len(self.words), dtype=np.uint64)
        if len(self.words):
            memcpy((<cnp.ndarray>found).data, self.counts, len(self.words) * sizeof(uint64_t))
        return found

    def take_run(self):
        """What was gathered, by term: (starts, rows, times, place starts, places); nothing is left."""
        cdef size_t count = self.posting_count, terms = len(self.terms), i, many
        cdef uint64_t place, start
        starts, place_starts = np.zeros(terms + 1, dtype=np.uint64), np.zeros(terms + 1, dtype=np.uint64)
        rows, times = np.empty(count, dtype=np.uint32), np.empty(count, dtype=np.uint32)
        places = np.empty(self.place_count, dtype=np.uint32)
        next_posting, next_place = np.zeros(terms + 1, dtype=np.uint64), np.zeros(terms + 1, dtype=np.uint64)
        stored = np.array(self.stored, dtype=np.uint8)
        cdef uint64_t[::1] s = starts, p = place_starts, to = next_posting, place_to = next_place
        cdef uint32_t[::1] r = rows, t = times, o = places
        cdef uint8_t[::1] keeps = stored
        cdef Posting* posting
        for i in range(count):
            posting = self.postings + i
            s[posting.term + 1] += 1
            if keeps[posting.times >> 24]:
                p[posting.term + 1] += posting.times & 0xFFFFFF
        for i in range(terms):
            s[i + 1] += s[i]
            p[i + 1] += p[i]
            to[i], place_to[i] = s[i], p[i]
        place = 0
        for i in range(count):
            posting = self.postings + i
            r[to[posting.term]] = posting.row
            t[to[posting.term]] = posting.times
            to[posting.term] += 1
            if keeps[posting.times >> 24]:
                many = posting.times & 0xFFFFFF
                start = place_to[posting.term]
                memcpy(&o[start], self.places + place, many * sizeof(uint32_t))
                place += many
                place_to[posting.term] += many
        self.posting_count = self.place_count = 0
        return starts, rows, times, place_starts, places
