"""Block-compressed lists of postings as a query reads them: opened at their beginning, marked, or asked about rows.

Worths are whole numbers, so that a sum does not depend on the order in which lists come.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.isa import checked, in_use

cnp.import_array()

UNITS = MIXLINE_UNITS

cdef const mixline_postings* path = mixline_choose_postings(in_use().encode())


def choose_path(isa):
    global path
    cdef bytes encoded = checked(isa).encode()
    path = mixline_choose_postings(encoded)
    return path.name.decode()


cdef const uint64_t* check_words(str name, const uint64_t[::1] words, Py_ssize_t rows) except NULL:
    if not rows or words.shape[0] * 64 < rows:
        raise KernelArgumentError(f"{name}: a bitmap of uint64 words for {rows} rows")
    return &words[0]


cdef class Postings:
    def __cinit__(self, cnp.ndarray lists not None, cnp.ndarray positions not None, lengths, stored, double k1,
                  cnp.ndarray keys not None, Py_ssize_t rows):
        cdef int f
        if lists.dtype != np.uint8 or positions.dtype != np.uint8 or keys.dtype != np.uint64:
            raise KernelArgumentError("postings and positions are uint8, order keys uint64")
        if not 1 <= len(lengths) <= MIXLINE_FIELDS or len(stored) != len(lengths) or len(keys) < rows:
            raise KernelArgumentError(f"{len(lengths)} fields, {len(stored)} flags, {len(keys)} keys for {rows} rows")
        self.kept = [lists, positions, list(lengths), keys]
        self.lists, self.positions = <const uint8_t*>lists.data, <const uint8_t*>positions.data
        self.keys, self.rows = <const uint64_t*>keys.data, rows
        self.lists_bytes, self.position_bytes = lists.shape[0], positions.shape[0]
        self.texts.fields, self.texts.k1 = <int>len(lengths), k1
        for f, one in enumerate(lengths):
            if one.dtype not in (np.uint8, np.uint16) or len(one) < rows or not one.flags.c_contiguous:
                raise KernelArgumentError(f"lengths of field {f}: uint8 or uint16, one for each row")
            self.texts.lengths[f] = (<cnp.ndarray>one).data
            self.texts.wide[f] = one.dtype == np.uint16
            self.texts.places[f] = bool(stored[f])
            self.texts.stored |= self.texts.places[f]
        self.texts.entry = 8 + 4 * self.texts.stored + 1 + 2 * self.texts.fields

    cdef int open(self, mixline_list* out, size_t start, uint32_t count, size_t places, float weight,
                  tuple view) except -1:
        """A list as a query reads it, at its beginning. ``view``: by field its norms behind its weight, or None."""
        cdef int f, fields = self.texts.fields
        cdef size_t blocks = (<size_t>count + MIXLINE_PACK - 1) // MIXLINE_PACK
        cdef float share = 0
        if not count or start >= self.lists_bytes or places > self.position_bytes or len(view) != fields:
            raise KernelArgumentError(f"a list of {count} rows at {start} of {self.lists_bytes} bytes")
        out.texts, out.count, out.scale = &self.texts, count, weight * MIXLINE_UNITS
        out.full, out.blocks, out.block, out.ahead = count // MIXLINE_PACK, blocks, -1, 0
        out.at = out.have = out.timed = 0
        out.positions = self.positions + places
        for f in range(fields):
            out.norms[f] = NULL if view[f] is None else <const float*>(<cnp.ndarray>view[f]).data + 1
        out.times = <uint32_t*>malloc((fields * MIXLINE_PACK + MIXLINE_LEVELS + 1) * sizeof(uint32_t))
        out.bounds, out.probed = NULL, 0
        if out.times == NULL:
            raise MemoryError("no memory for a list")
        if not out.full:
            out.head = out.headers = NULL
            out.payload = self.lists + start
            mixline_open_block(out, 0)
            out.top = 0
            if out.scale > 0:
                mixline_value_block(path, out)
                for f in range(out.have):
                    out.top = max(out.top, out.worths[f])
            return 0
        out.head = self.lists + start
        out.headers = out.head + 4 * fields + (4 * MIXLINE_DEPTHS if fields == 1 else 0)
        out.payload = out.headers + blocks * self.texts.entry
        for f in range(fields):
            if out.norms[f]:
                share += mixline_float_at(out.head + 4 * f) * mixline_weight(out, f)
        out.top = mixline_bound_of(out, share)
        if fields == 1 and out.norms[0] and out.scale > 0:
            mixline_bounds(out, <int32_t*>(out.times + MIXLINE_PACK))
        return 0

    def mark(self, uint64_t[::1] words, lists, views, int64_t until_ns=0):
        cdef mixline_list one
        cdef Py_ssize_t done = 0
        cdef bint whole
        check_words("words", words, self.rows)
        for start, count, places, _, view, *_ in lists:
            self.open(&one, start, count, places, 0.0, views[view])
            with nogil:
                whole = mixline_mark(&one, &words[0], until_ns)
            free(one.times)
            if not whole:
                break
            done += 1
        return done

    def rows_with(self, lists, views):
        words = np.zeros((self.rows + 63) // 64, dtype=np.uint64)
        self.mark(words, lists, views)
        return words

    def worth(self, lists, views, const uint32_t[::1] rows):
        cdef Py_ssize_t i, count = rows.shape[0]
        cdef mixline_list one
        cdef int32_t worth
        sums = np.zeros(count, dtype=np.int64)
        cdef int64_t[::1] out = sums
        for i in range(count):
            if rows[i] >= self.rows or (i and rows[i] <= rows[i - 1]):
                raise KernelArgumentError(f"row {rows[i]} of {self.rows} at position {i}: rows must ascend")
        for start, number, places, weight, view, *_ in lists:
            self.open(&one, start, number, places, weight, views[view])
            with nogil:
                for i in range(count):
                    if mixline_seek(&one, rows[i]) and mixline_worth_here(&one, &worth):
                        out[i] += worth
            free(one.times)
        return (sums / MIXLINE_UNITS).astype(np.float32)
