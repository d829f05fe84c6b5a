"""Sparse row times sparse matrix (Gustavson, ACM TOMS 4(3), 1978): the neighbours of several seeds, summed.

The builder computes co-occurrence with it, a row of A^T A per call; a request sums the item-to-item lists of a
user's items. Sums sit in a hash table that grows with the rows touched, so a worker's memory does not grow with
the catalogue, and come out in the order in which rows were first touched, added in float64 in the order given.
"""

import numpy as np

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from mixline.kernels.errors import KernelArgumentError

cdef enum:
    SLOTS_MIN = 1024


cdef class Scratch:
    def __cinit__(self):
        self.slots = SLOTS_MIN
        self.size = 0
        self.table = <uint32_t*>malloc(SLOTS_MIN * sizeof(uint32_t))
        self.rows = <uint32_t*>malloc(SLOTS_MIN // 2 * sizeof(uint32_t))
        self.sums = <double*>malloc(SLOTS_MIN // 2 * sizeof(double))
        if self.table == NULL or self.rows == NULL or self.sums == NULL:
            raise MemoryError("no memory for an accumulator")
        memset(self.table, 0, SLOTS_MIN * sizeof(uint32_t))

    def __dealloc__(self):
        free(self.table)
        free(self.rows)
        free(self.sums)

    cdef void clear(self) noexcept nogil:
        memset(self.table, 0, self.slots * sizeof(uint32_t))
        self.size = 0

    cdef int grow(self) except -1 nogil:
        """Double the table and place every row again."""
        cdef Py_ssize_t slots = self.slots * 2, i
        cdef uint64_t at
        cdef uint32_t* table = <uint32_t*>malloc(slots * sizeof(uint32_t))
        cdef uint32_t* rows = <uint32_t*>malloc(slots // 2 * sizeof(uint32_t))
        cdef double* sums = <double*>malloc(slots // 2 * sizeof(double))
        if table == NULL or rows == NULL or sums == NULL:
            free(table)
            free(rows)
            free(sums)
            with gil:
                raise MemoryError(f"no memory for an accumulator of {slots} slots")
        memset(table, 0, slots * sizeof(uint32_t))
        memcpy(rows, self.rows, self.size * sizeof(uint32_t))
        memcpy(sums, self.sums, self.size * sizeof(double))
        free(self.table)
        free(self.rows)
        free(self.sums)
        self.table, self.rows, self.sums, self.slots = table, rows, sums, slots
        for i in range(self.size):
            at = home(rows[i], slots)
            while table[at]:
                at = (at + 1) & (slots - 1)
            table[at] = <uint32_t>(i + 1)
        return 0

    cdef int add(self, uint32_t row, double amount) except -1 nogil:
        cdef uint64_t at = home(row, self.slots)
        cdef uint32_t entry
        while True:
            entry = self.table[at]
            if entry == 0:
                break
            if self.rows[entry - 1] == row:
                self.sums[entry - 1] += amount
                return 0
            at = (at + 1) & (self.slots - 1)
        if self.size == self.slots // 2:
            self.grow()
            return self.add(row, amount)
        self.rows[self.size] = row
        self.sums[self.size] = amount
        self.size += 1
        self.table[at] = <uint32_t>self.size
        return 0


cdef inline uint64_t home(uint32_t row, Py_ssize_t slots) noexcept nogil:
    """Fibonacci hashing (Knuth, TAOCP 3, 6.4): the high bits of row * 2^64 / phi, folded to the table."""
    return ((<uint64_t>row * <uint64_t>0x9E3779B97F4A7C15) >> 32) & <uint64_t>(slots - 1)


cdef int accumulate_rows(Scratch scratch, const int64_t* indptr, const uint32_t* indices, const float* weights,
                         const uint32_t* seeds, const float* seed_weights, Py_ssize_t count) except -1 nogil:
    cdef Py_ssize_t i
    cdef int64_t j
    for i in range(count):
        for j in range(indptr[seeds[i]], indptr[seeds[i] + 1]):
            scratch.add(indices[j], <double>seed_weights[i] * (<double>weights[j] if weights != NULL else 1.0))
    return 0


def accumulate(const int64_t[::1] indptr, const uint32_t[::1] indices, const float[::1] weights,
               const uint32_t[::1] seed_rows, const float[::1] seed_weights, Scratch scratch not None):
    cdef Py_ssize_t i, count = seed_rows.shape[0]
    if seed_weights.shape[0] != count:
        raise KernelArgumentError(f"{seed_weights.shape[0]} seed weights for {count} seeds")
    if weights is not None and weights.shape[0] != indices.shape[0]:
        raise KernelArgumentError(f"{weights.shape[0]} weights for {indices.shape[0]} indices")
    for i in range(count):
        if <Py_ssize_t>seed_rows[i] + 1 >= indptr.shape[0]:
            raise KernelArgumentError(f"seed row {seed_rows[i]} lies outside a graph of {indptr.shape[0] - 1} rows")
        if not 0 <= indptr[seed_rows[i]] <= indptr[seed_rows[i] + 1] <= indices.shape[0]:
            raise KernelArgumentError(f"indptr of row {seed_rows[i]} does not lie within {indices.shape[0]} indices")
    scratch.clear()
    if count and indices.shape[0]:
        with nogil:
            accumulate_rows(scratch, &indptr[0], &indices[0], &weights[0] if weights is not None else NULL,
                            &seed_rows[0], &seed_weights[0], count)
    rows = np.empty(scratch.size, dtype=np.uint32)
    sums = np.empty(scratch.size, dtype=np.float32)
    cdef uint32_t[::1] rows_out = rows
    cdef float[::1] sums_out = sums
    for i in range(scratch.size):
        rows_out[i] = scratch.rows[i]
        sums_out[i] = <float>scratch.sums[i]
    return rows, sums
