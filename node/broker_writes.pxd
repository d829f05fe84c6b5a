"""Requests for the writer, committed together."""

from libc.stdint cimport int64_t, uint32_t

from mixline.node.broker_deaths cimport Deaths


cdef class Writes(Deaths):
    cdef void begin(self, uint32_t slot, int number, int64_t now_ns) noexcept nogil
    cdef void dispatch_writes(self, int64_t now_ns) noexcept nogil
