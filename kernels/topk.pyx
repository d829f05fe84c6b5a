"""The best k of any number of scored rows, in a heap whose order is written in ``order.pxd``.

One heap serves a whole scan, slice after slice, so nothing of length n is ever sorted; heaps of parts merge into
the heap of the whole, whatever the parts were.
"""

import numpy as np

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from mixline.kernels.order cimport Entry, heap_offer, heap_sort, sunk

from mixline.kernels.errors import KernelArgumentError


cdef class TopK:
    def __cinit__(self, Py_ssize_t k):
        if k < 0:
            raise KernelArgumentError(f"k is {k}; it must be 0 or more")
        self.k = k
        self.size = 0
        self.heap = <Entry*>malloc(max(k, 1) * sizeof(Entry))
        if self.heap == NULL:
            raise MemoryError(f"no memory for a heap of {k} entries of {sizeof(Entry)} bytes")

    def __dealloc__(self):
        free(self.heap)

    def __len__(self):
        return self.size

    cdef void push(self, float score, uint32_t row, uint64_t key) noexcept nogil:
        cdef Entry entry
        entry.score = sunk(score)
        entry.row = row
        entry.key = key
        self.size = heap_offer(self.heap, self.size, self.k, entry)

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
            for i in range(other.size):
                self.size = heap_offer(self.heap, self.size, self.k, other.heap[i])

    def result(self):
        cdef Py_ssize_t i, size = self.size
        cdef uint32_t[::1] rows
        cdef float[::1] scores
        rows_out = np.empty(size, dtype=np.uint32)
        scores_out = np.empty(size, dtype=np.float32)
        if size == 0:
            return rows_out, scores_out
        cdef Entry* ranked = <Entry*>malloc(size * sizeof(Entry))
        if ranked == NULL:
            raise MemoryError(f"no memory to rank {size} entries")
        rows = rows_out
        scores = scores_out
        with nogil:
            memcpy(ranked, self.heap, size * sizeof(Entry))
            heap_sort(ranked, size)
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
