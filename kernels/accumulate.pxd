"""A sparse accumulator: sums by row, in memory proportional to the rows touched."""

from libc.stdint cimport uint32_t


cdef class Scratch:
    cdef uint32_t* table
    cdef uint32_t* rows
    cdef double* sums
    cdef Py_ssize_t slots
    cdef Py_ssize_t size

    cdef int grow(self) except -1 nogil
    cdef int add(self, uint32_t row, double amount) except -1 nogil
    cdef void clear(self) noexcept nogil
