"""The bounded selection as other kernels see it: push from C, read from Python."""

from libc.stdint cimport uint32_t, uint64_t

from mixline.kernels.order cimport Entry


cdef class TopK:
    cdef Entry* entries
    cdef Py_ssize_t held      # entries in the buffer, more than k at times
    cdef Py_ssize_t capacity
    cdef Entry worst          # of the best k so far, once there were k
    cdef bint full
    cdef readonly Py_ssize_t k

    cdef void push(self, float score, uint32_t row, uint64_t key) noexcept nogil
    cdef void push_entry(self, Entry* entry) noexcept nogil
    cdef void shrink(self) noexcept nogil
