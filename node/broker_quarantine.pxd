"""Requests that killed workers, and requests known to kill none, by digest."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef enum:
    CASES_MAX = 256
    KNOWN_MAX = 4096
    INNOCENT = 0
    WATCHED = 1    # it killed one worker, and nobody has judged it: the next copy will
    SUSPECT = 2    # it killed one, and is being tried again
    CONDEMNED = 3

cdef struct Case:
    uint64_t digest
    int64_t last_ns
    int crashes
    bint on_trial


cdef class Quarantine:
    cdef Case cases[CASES_MAX]
    cdef readonly int count
    cdef uint64_t known[KNOWN_MAX]
    cdef int64_t condemned_ns

    cdef int look(self, uint64_t digest, int64_t now_ns) noexcept nogil
    cdef void crash(self, uint64_t digest, int64_t now_ns) noexcept nogil
    cdef Case* find(self, uint64_t digest) noexcept nogil
    cdef void try_again(self, uint64_t digest, bint on_trial) noexcept nogil
    cdef void acquit(self, uint64_t digest) noexcept nogil
    cdef void vouch(self, uint64_t digest) noexcept nogil
    cdef bint vouched(self, uint64_t digest) noexcept nogil


cdef uint64_t request_digest(uint8_t kind, const uint8_t* surface, const uint8_t* body, size_t length) noexcept nogil
