"""Requests that killed workers, by digest."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef enum:
    CASES_MAX = 256
    INNOCENT = 0
    WATCHED = 1    # it killed one worker some time ago, and may be tried
    SUSPECT = 2    # it has just killed one, and its second attempt is not over
    CONDEMNED = 3

cdef struct Case:
    uint64_t digest
    int64_t last_ns
    int crashes


cdef class Quarantine:
    cdef Case cases[CASES_MAX]
    cdef readonly int count
    cdef int64_t suspect_ns
    cdef int64_t condemned_ns

    cdef int look(self, uint64_t digest, int64_t now_ns) noexcept nogil
    cdef void crash(self, uint64_t digest, int64_t now_ns) noexcept nogil
    cdef void acquit(self, uint64_t digest) noexcept nogil


cdef uint64_t request_digest(uint8_t kind, const uint8_t* surface, const uint8_t* body, size_t length) noexcept nogil
