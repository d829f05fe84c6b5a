"""Connections with something open: how many requests, and how many bytes of replies lent to libzmq."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    BUCKETS = 4096
    NOBODY = -1

cdef struct Peer:
    uint64_t digest
    uint32_t open_requests
    uint32_t lends
    uint64_t lent_bytes
    int32_t next_in_bucket


cdef class Peers:
    cdef Peer* pool
    cdef int32_t* buckets
    cdef int32_t unused
    cdef readonly uint32_t pool_size
    cdef readonly uint32_t count

    cdef int32_t enter(self, const uint8_t* routing, size_t length) noexcept nogil
    cdef void leave(self, int32_t number) noexcept nogil
