"""Second starts of slow requests."""

from libc.stdint cimport int64_t

from mixline.node.broker_surfaces cimport Surfaces
from mixline.node.broker_writes cimport Writes


cdef class Hedges(Writes):
    cdef readonly Surfaces surfaces
    cdef public bint hedging
    cdef double hedge_credit
    cdef int64_t hedge_at_ns

    cdef void hedge(self, int64_t now_ns) noexcept nogil
