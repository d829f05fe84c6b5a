"""The bounded heap as other kernels see it: push from C, read from Python."""

from libc.stdint cimport uint32_t, uint64_t

from mixline.kernels.order cimport Entry


cdef class TopK:
    cdef Entry* heap
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t k

    cdef void push(self, float score, uint32_t row, uint64_t key) noexcept nogil
