"""Estimates of many places, and the best few of them."""

from libc.stdint cimport uint32_t, uint64_t

from mixline.kernels.candidates cimport Short
from mixline.kernels.codes cimport CodedRows


cdef struct Field:
    Py_ssize_t keep, room, filled, held
    float bar               # what was not kept lies below it
    float* values           # estimates of places that were not sifted yet
    uint32_t* blocks        # whose rows each sixteen of them are
    float* kept             # estimates, and rows, of the best so far
    uint32_t* rows
    const float* lifts      # added to estimates, ``by`` times, or NULL
    float by
    const uint64_t* allowed  # by row, or NULL


cdef int fit_field(Field* field, Py_ssize_t keep) except -1
cdef void close_field(Field* field) noexcept nogil
cdef void clear_field(Field* field) noexcept nogil
cdef void fill(Field* field, const Short* short, const CodedRows* rows, Py_ssize_t start,
               Py_ssize_t stop) noexcept nogil
cdef void sift(Field* field, const CodedRows* rows) noexcept nogil
