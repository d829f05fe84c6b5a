"""Requests for the one that writes: in the order in which they came, and together as soon as it has nothing in hand.

They wait apart from the queue, so that a writer that is busy, dead or not yet there holds no other request up, and none
holds it up. What waits while one commit is made is the next one's.
"""

from libc.stdint cimport int64_t, uint32_t

from mixline.node import limits

from mixline.ipc.meters cimport ROW_WORDS, meter_record
from mixline.node.broker_ledger cimport Request
from mixline.node.broker_places cimport Place
from mixline.node.heaps cimport heap_remove

cdef int HELD_MAX = limits.held_max


cdef class Writes(Deaths):
    """A ledger with a writer. See :class:`~mixline.node.broker_ledger.Ledger` for the arguments."""

    cdef void begin(self, uint32_t slot, int number, int64_t now_ns) noexcept nogil:
        """Start one run of a request on a place with room; the desk's part."""

    cdef void dispatch_writes(self, int64_t now_ns) noexcept nogil:
        """Give the writer, when it has nothing in hand, all that waits for it, to be committed together; what was in
        hand when a writer died goes alone. While there is no writer it waits, and the supervisor hears of it."""
        cdef Place* place
        cdef Request* request
        cdef uint32_t slot
        cdef bint alone
        if self.places.writer < 0:
            return
        place = &self.places.at[self.places.writer]
        if place.held_count or place.broken:
            return
        while self.writes.count and place.held_count < HELD_MAX and not place.broken:
            slot = self.writes.entries[0].item
            request = &self.requests[slot]
            alone = request.deaths > 0
            if alone and place.held_count:
                return
            heap_remove(&self.writes, slot)
            meter_record(self.meters.base + (request.surface * 2 + 1) * ROW_WORDS,
                         (now_ns - request.arrived_ns) // 1000)
            self.begin(slot, self.places.writer, now_ns)
            if alone:
                return

    def writes_wait(self) -> bool:
        """Whether something waits for a writer that is not there."""
        return self.writes.count > 0 and self.places.writer < 0
