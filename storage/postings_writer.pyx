"""Postings lists as an epoch has them: rows and frequencies in blocks of 128, each with the best that it can give.

docs/store-format.md has the layout. A list depends on its postings alone and not on the runs that they came in, so
equal input gives equal bytes.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

cnp.import_array()

cdef extern from "bitpack.h" nogil:
    enum:
        MIXLINE_PACK
    int mixline_bits(const uint32_t* values, int count) noexcept
    void mixline_pack(const uint32_t* values, int bits, uint8_t* out) noexcept
    int64_t mixline_pack_few(const uint32_t* values, int count, int bits, uint8_t* out) noexcept
    uint8_t* mixline_put_varint(uint8_t* out, uint32_t value) noexcept

cdef enum:
    FIELDS_MAX = 16
    DEPTHS = 3              # of the best shares of a list: the 10th, 100th and 1000th
    LEVELS = 255

cdef struct Run:
    const uint64_t* starts
    const uint32_t* rows
    const uint32_t* times
    const uint64_t* place_starts
    const uint32_t* places
    size_t terms


cdef class Buffer:
    cdef uint8_t* data
    cdef size_t size, room

    def __dealloc__(self):
        free(self.data)

    cdef uint8_t* more(self, size_t count) except NULL:
        """Room for ``count`` bytes behind what is there; the caller says how many it used."""
        cdef uint8_t* wider
        if self.size + count > self.room:
            self.room = max(2 * self.room, self.size + count + 4096)
            wider = <uint8_t*>realloc(self.data, self.room)
            if wider == NULL:
                raise MemoryError(f"no memory for {self.room} bytes of postings")
            self.data = wider
        return self.data + self.size

    def take(self):
        found = np.empty(self.size, dtype=np.uint8)
        memcpy((<cnp.ndarray>found).data, self.data, self.size)
        self.size = 0
        return found


cdef void put_float(uint8_t* at, float value) noexcept nogil:
    memcpy(at, &value, 4)


cdef void put_word(uint8_t* at, uint32_t value) noexcept nogil:
    memcpy(at, &value, 4)


cdef int level_of(float share, float top) noexcept nogil:
    """The least level that stands for no less than ``share``."""
    cdef int level = <int>(share / top * LEVELS)
    while level < LEVELS and level * (top / <float>LEVELS) < share:
        level += 1
    return level


cdef class ListWriter:
    cdef list kept                      # the arrays that pointers below lead into
    cdef Run* runs
    cdef size_t run_count
    cdef int fields
    cdef const uint32_t* lengths[FIELDS_MAX]
    cdef const float* norms[FIELDS_MAX]
    cdef bint stored[FIELDS_MAX]
    cdef bint any_stored
    cdef uint32_t* rows                 # of the list at hand
    cdef uint32_t* gaps
    cdef uint32_t* times                # by field, then posting
    cdef float* shares                  # the same
    cdef uint64_t* place_ends           # by posting
    cdef size_t room
    cdef uint32_t* places
    cdef size_t places_room
    cdef readonly Buffer lists, positions

    def __cinit__(self, runs, lengths, norms, stored):
        cdef size_t i
        self.kept = [list(runs), list(lengths), list(norms)]
        self.fields, self.run_count = len(lengths), len(runs)
        self.lists, self.positions = Buffer(), Buffer()
        self.runs = <Run*>malloc(max(1, self.run_count) * sizeof(Run))
        if self.runs == NULL:
            raise MemoryError("no memory for runs")
        for i, (starts, rows, times, place_starts, places) in enumerate(runs):
            self.runs[i].starts = <const uint64_t*>(<cnp.ndarray>starts).data
            self.runs[i].rows = <const uint32_t*>(<cnp.ndarray>rows).data
            self.runs[i].times = <const uint32_t*>(<cnp.ndarray>times).data
            self.runs[i].place_starts = <const uint64_t*>(<cnp.ndarray>place_starts).data
            self.runs[i].places = <const uint32_t*>(<cnp.ndarray>places).data
            self.runs[i].terms = len(starts) - 1
        for i in range(self.fields):
            self.lengths[i] = <const uint32_t*>(<cnp.ndarray>lengths[i]).data
            self.norms[i] = <const float*>(<cnp.ndarray>norms[i]).data
            self.stored[i] = stored[i]
            self.any_stored |= stored[i]

    def __dealloc__(self):
        free(self.runs)
        free(self.rows)
        free(self.gaps)
        free(self.times)
        free(self.shares)
        free(self.place_ends)
        free(self.places)

    def write(self, const uint32_t[::1] terms, uint32_t[::1] counts, uint64_t[::1] list_ends,
              uint64_t[::1] position_ends):
        """Lists of some terms, in this order: how many rows each has, and where lists and positions end in what
        :attr:`lists` and :attr:`positions` then have."""
        cdef Py_ssize_t at
        cdef size_t count
        for at in range(terms.shape[0]):
            count = self.gather(terms[at])
            self.encode(count)
            counts[at] = <uint32_t>count
            list_ends[at], position_ends[at] = self.lists.size, self.positions.size

    cdef int make_room(self, size_t count, size_t places) except -1:
        if count > self.room or self.rows == NULL:
            self.room = max(count, 2 * self.room, <size_t>1024)
            self.rows = <uint32_t*>realloc(self.rows, self.room * 4)
            self.gaps = <uint32_t*>realloc(self.gaps, self.room * 4)
            self.times = <uint32_t*>realloc(self.times, self.room * 4 * self.fields)
            self.shares = <float*>realloc(self.shares, self.room * 4 * self.fields)
            self.place_ends = <uint64_t*>realloc(self.place_ends, self.room * 8)
        if places > self.places_room or self.places == NULL:
            self.places_room = max(places, 2 * self.places_room, <size_t>1024)
            self.places = <uint32_t*>realloc(self.places, self.places_room * 4)
        if (self.rows == NULL or self.gaps == NULL or self.times == NULL or self.shares == NULL
                or self.place_ends == NULL or self.places == NULL):
            raise MemoryError(f"no memory for a list of {count} rows")
        return 0

    cdef size_t gather(self, uint32_t term) except? 0:
        """Bring a term's postings together, one for each row."""
        cdef size_t i, postings = 0, places = 0, count = 0
        cdef uint64_t at, many
        cdef Run* run
        cdef uint32_t field, row
        for i in range(self.run_count):
            run = self.runs + i
            if term < run.terms:
                postings += run.starts[term + 1] - run.starts[term]
                places += run.place_starts[term + 1] - run.place_starts[term]
        self.make_room(postings, places)
        places = 0
        for i in range(self.run_count):
            run = self.runs + i
            if term >= run.terms:
                continue
            many = run.place_starts[term + 1] - run.place_starts[term]
            memcpy(self.places + places, run.places + run.place_starts[term], many * 4)
            places += many
            for at in range(run.starts[term], run.starts[term + 1]):
                row = run.rows[at]
                if not count or self.rows[count - 1] != row:
                    self.rows[count] = row
                    for field in range(<uint32_t>self.fields):
                        self.times[field * self.room + count] = 0
                        self.shares[field * self.room + count] = 0
                    count += 1
                field = run.times[at] >> 24
                self.times[field * self.room + count - 1] = run.times[at] & 0xFFFFFF
                self.shares[field * self.room + count - 1] = (
                    <float>(run.times[at] & 0xFFFFFF) * self.norms[field][self.lengths[field][row]])
        return count

    cdef int encode(self, size_t count) except -1:
        """Append the list that was gathered."""
        cdef size_t full = count // MIXLINE_PACK, blocks = (count + MIXLINE_PACK - 1) // MIXLINE_PACK, block, i, width
        cdef size_t head, payload, entry, first, many, positions = self.positions.size
        cdef int f
        cdef float[FIELDS_MAX] tops
        cdef float best
        cdef uint8_t* at
        self.write_places(count)
        if not full:
            self.put_block(0, count, -1)
            return 0
        for f in range(self.fields):
            tops[f] = 0
            for i in range(count):
                tops[f] = max(tops[f], self.shares[f * self.room + i])
        entry = 8 + 4 * self.any_stored + 1 + 2 * self.fields
        width = 4 * self.fields + (4 * DEPTHS if self.fields == 1 else 0)
        head = self.lists.size
        at = self.lists.more(width + blocks * entry)
        for f in range(self.fields):
            put_float(at + 4 * f, tops[f])
        if self.fields == 1:
            self.put_depths(at + 4, count)
        self.lists.size += width + blocks * entry
        payload = self.lists.size
        for block in range(blocks):
            first, many = block * MIXLINE_PACK, min(count - block * MIXLINE_PACK, <size_t>MIXLINE_PACK)
            self.put_block(first, many, <int64_t>(head + width + block * entry))
            at = self.lists.data + head + width + block * entry
            put_word(at, self.rows[first + many - 1])
            put_word(at + 4, <uint32_t>(self.lists.size - payload))
            if self.any_stored:
                put_word(at + 8, <uint32_t>(self.place_ends[first + many - 1] - positions))
            at += 8 + 4 * self.any_stored + 1 + self.fields
            for f in range(self.fields):
                best = 0
                for i in range(first, first + many):
                    best = max(best, self.shares[f * self.room + i])
                at[f] = <uint8_t>level_of(best, tops[f]) if best > 0 else 0
        return 0

    cdef int put_depths(self, uint8_t* at, size_t count) except -1:
        """The 10th, 100th and 1000th best share, 0 where the list has fewer rows."""
        cdef int which
        ranked = np.empty(count, dtype=np.float32)
        memcpy((<cnp.ndarray>ranked).data, self.shares, count * 4)
        depth = 10
        for which in range(DEPTHS):
            value = np.partition(ranked, count - depth)[count - depth] if count >= depth else 0.0
            put_float(at + 4 * which, value)
            depth *= 10
        return 0

    cdef int put_block(self, size_t first, size_t count, int64_t widths) except -1:
        """Append one block; the bits of its numbers go before it, or to the place ``widths`` + the entry's own."""
        cdef uint32_t before = self.rows[first - 1] if first else 0xFFFFFFFF
        cdef size_t i
        cdef int f, bits
        cdef uint8_t* at
        cdef uint8_t[1 + FIELDS_MAX] wide
        cdef uint32_t* values
        cdef uint8_t* out
        for i in range(count):
            self.gaps[i] = self.rows[first + i] - before - 1
            before = self.rows[first + i]
        wide[0] = <uint8_t>mixline_bits(self.gaps, <int>count)
        for f in range(self.fields):
            values = self.times + f * self.room + first
            if self.fields == 1:
                for i in range(count):
                    values[i] -= 1
            wide[1 + f] = <uint8_t>mixline_bits(values, <int>count)
        at = self.lists.more(1 + self.fields + (1 + self.fields) * 4 * MIXLINE_PACK)
        out = at
        if widths < 0:
            memcpy(out, wide, 1 + self.fields)
            out += 1 + self.fields
        else:
            memcpy(self.lists.data + widths + 8 + 4 * self.any_stored, wide, 1 + self.fields)
        for f in range(-1, self.fields):
            values = self.gaps if f < 0 else self.times + f * self.room + first
            bits = wide[1 + f]
            if count == MIXLINE_PACK:
                mixline_pack(values, bits, out)
                out += 16 * bits
            else:
                out += mixline_pack_few(values, <int>count, bits, out)
        self.lists.size += out - at
        return 0

    cdef int write_places(self, size_t count) except -1:
        """Append the positions, each less the one before it in the same row and field."""
        cdef size_t i, read = 0
        cdef uint32_t many, before
        cdef int f
        cdef uint8_t* at
        cdef uint8_t* begin
        if not self.any_stored:
            return 0
        for i in range(count):
            for f in range(self.fields):
                many = self.times[f * self.room + i] if self.stored[f] else 0
                if many:
                    begin = self.positions.more(5 * many)
                    at = begin
                    before = 0
                    for _ in range(many):
                        at = mixline_put_varint(at, self.places[read] - before)
                        before = self.places[read]
                        read += 1
                    self.positions.size += at - begin
            self.place_ends[i] = self.positions.size
        return 0
