"""The best k of any number of scored rows, in the order that is written in ``order.pxd``.

What beats the worst of the best k so far is put into a buffer of a few times k entries; a full buffer is cut back to
its best k by selection, in linear time. Nothing of length n is ever sorted, and parts merge into the whole, whatever
the parts were. A heap took a step of log k for each row that came in: at k = 500 more than the scan itself.
"""

import numpy as np

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from mixline.kernels.order cimport Entry, RADIX_MAX, rank_entries, ranks_before, select_first, sunk

from mixline.kernels.errors import KernelArgumentError


cdef class TopK:
    def __cinit__(self, Py_ssize_t k):
        if k < 0:
            raise KernelArgumentError(f"k is {k}; it must be 0 or more")
        self.k = k
        self.held = 0
        self.full = k == 0
        self.capacity = 2 * k + 32
        self.entries = <Entry*>malloc(self.capacity * sizeof(Entry))
        if self.entries == NULL:
            raise MemoryError(f"no memory for {self.capacity} entries of {sizeof(Entry)} bytes")

    def __dealloc__(self):
        free(self.entries)

    def __len__(self):
        return min(self.held, self.k)

    @property
    def size(self):
        return min(self.held, self.k)

    cdef void push(self, float score, uint32_t row, uint64_t key) noexcept nogil:
        cdef Entry entry
        entry.score = sunk(score)
        entry.row = row
        entry.key = key
        self.push_entry(&entry)

    cdef void push_entry(self, Entry* entry) noexcept nogil:
        if self.full and (not self.k or not ranks_before(entry, &self.worst)):
            return
        self.entries[self.held] = entry[0]
        self.held += 1
        if self.held == self.capacity or (self.held == self.k and not self.full):
            self.shrink()

    cdef void shrink(self) noexcept nogil:
        """Cut the buffer back to the best k, once there are so many."""
        if self.k and self.held >= self.k:
            select_first(self.entries, self.held, self.k)
            self.held = self.k
            self.worst = self.entries[self.k - 1]
            self.full = True

    def offer(self, const float[::1] scores, const uint32_t[::1] rows, const uint64_t[::1] keys):
        cdef Py_ssize_t i, n = scores.shape[0]
        if rows.shape[0] != n or keys.shape[0] != n:
            raise KernelArgumentError(
                f"scores, rows and keys have {n}, {rows.shape[0]} and {keys.shape[0]} entries; give one of each per row"
            )
        with nogil:
            for i in range(n):
                self.push(scores[i], rows[i], keys[i])

    def merge(self, TopK other not None):
        cdef Py_ssize_t i
        if other is self:
            return
        with nogil:
            other.shrink()
            for i in range(other.held):
                self.push_entry(&other.entries[i])

    def result(self):
        cdef Py_ssize_t i, size = min(self.held, self.k)
        cdef uint32_t[::1] rows
        cdef float[::1] scores
        rows_out = np.empty(size, dtype=np.uint32)
        scores_out = np.empty(size, dtype=np.float32)
        if size == 0:
            return rows_out, scores_out
        if self.held > RADIX_MAX:
            self.shrink()
        cdef Entry* ranked = <Entry*>malloc(2 * self.held * sizeof(Entry))
        if ranked == NULL:
            raise MemoryError(f"no memory to rank {self.held} entries")
        rows = rows_out
        scores = scores_out
        with nogil:
            memcpy(ranked, self.entries, self.held * sizeof(Entry))
            rank_entries(ranked, ranked + self.held, self.held)
            for i in range(size):
                rows[i] = ranked[i].row
                scores[i] = ranked[i].score
            free(ranked)
        return rows_out, scores_out


def top_positions(const float[::1] scores, const uint64_t[::1] keys, Py_ssize_t k):
    cdef Py_ssize_t i, n = scores.shape[0]
    if keys.shape[0] != n:
        raise KernelArgumentError(f"scores have {n} entries and keys {keys.shape[0]}; give one key per score")
    if n >= 0xFFFFFFFF:
        raise KernelArgumentError(f"{n} scores; at most 2^32 - 2 can be ranked at once")
    cdef TopK heap = TopK(min(k, n) if k >= 0 else k)
    with nogil:
        for i in range(n):
            heap.push(scores[i], <uint32_t>i, keys[i])
    positions, _ = heap.result()
    return positions
