"""What the death of a worker means for the requests it had, and for those like them."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from mixline.node.broker_ledger cimport Ledger, Request
from mixline.node.broker_places cimport Place
from mixline.node.broker_quarantine cimport Quarantine
from mixline.node.heaps cimport Heap


cdef class Deaths(Ledger):
    cdef readonly Quarantine quarantine
    cdef Heap aside          # risky requests that wait until one more may run, by deadline; not in the queue
    cdef uint64_t aside_count
    cdef int32_t risk_seat   # where the one risky run is under way, or -1
    cdef int64_t careful_ns  # until then whatever is not known to be good is risky

    cdef int collect(self) noexcept nogil
    cdef void sign(self, uint32_t slot) noexcept nogil
    cdef bint quarantined(self, const Request* request) noexcept nogil
    cdef bint careful(self, int64_t now_ns) noexcept nogil
    cdef bint risky(self, const Request* request, int64_t now_ns) noexcept nogil
    cdef bint may_risk(self) noexcept nogil
    cdef bint held_up(self, uint32_t slot, int64_t now_ns) noexcept nogil
    cdef void bring_back(self, int64_t now_ns) noexcept nogil
    cdef void survived(self, uint32_t slot, Place* place) noexcept nogil
    cdef void finish(self, uint32_t slot) noexcept nogil
    cdef void charge(self, uint32_t slot, bint executing, bint crash) noexcept nogil
