"""What a broker expects of waits, and lets in."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from mixline.node.broker_hedges cimport Hedges
from mixline.node.broker_ledger cimport Request


cdef class Patience(Hedges):
    cdef int64_t empty_ns  # when the queue was last seen not to stand
    cdef int64_t stood_ns  # when it was last seen to; 0: never
    cdef int64_t pressed_ns  # when many were last refused; 0: never
    cdef int64_t window_ns  # when the count of offers began
    cdef int64_t offered_ns  # when somebody last asked
    cdef uint64_t offered, refused
    cdef double foreseen_ns, waited_ns  # of those taken off the queue lately, moving averages

    cdef bint shed(self, const Request* fresh, int64_t wait_ns) noexcept nogil
    cdef bint pressed(self, int64_t now_ns) noexcept nogil
    cdef double bearable_ns(self, const Request* request, int64_t now_ns) noexcept nogil
    cdef bint overstayed(self, uint32_t slot, int64_t now_ns) noexcept nogil
    cdef bint stands(self, int64_t now_ns) noexcept nogil
    cdef int64_t reckoned_wait_ns(self, const Request* fresh) noexcept nogil
    cdef double stretch(self) noexcept nogil
    cdef void compare(self, const Request* request, int64_t now_ns) noexcept nogil
