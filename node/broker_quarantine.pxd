"""Requests that killed workers, by digest."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef enum:
    CASES_MAX = 256
    INNOCENT = 0
    SUSPECT = 1  # it killed one worker, and its second attempt is not over
    CONDEMNED = 2

cdef struct Case:
    uint64_t digest
    int64_t until_ns
    int verdict


cdef class Quarantine:
    cdef Case cases[CASES_MAX]
    cdef readonly int count
    cdef int64_t suspect_ns
    cdef int64_t condemned_ns

    cdef int look(self, uint64_t digest, int64_t now_ns) noexcept nogil
    cdef void note(self, uint64_t digest, int verdict, int64_t now_ns) noexcept nogil


cdef uint64_t request_digest(uint8_t kind, const uint8_t* surface, const uint8_t* body, size_t length) noexcept nogil
