"""Second starts of requests that take longer than they should, on a worker that can be spared; one reply counts."""

from libc.stdint cimport int64_t, uint64_t

from mixline.ipc import counters
from mixline.node import limits

from mixline.ipc.frames cimport KIND_ASK
from mixline.node.broker_ledger cimport Request
from mixline.node.broker_places cimport Place
from mixline.node.broker_surfaces cimport Surfaces
from mixline.node.broker_writes cimport Writes

cdef uint64_t HEDGE_SAMPLES_MIN = limits.hedge_samples_min
cdef double HEDGE_WAIT_MIN_NS = limits.hedge_wait_min_us * 1000.0
cdef int64_t NEVER = 1 << 62
cdef int N_HEDGED = counters.BROKER_COUNTERS.index("hedged")


cdef class Hedges(Writes):
    """A ledger that hedges. See :class:`~mixline.node.broker_ledger.Ledger` for the arguments."""

    def __cinit__(self, *_, **__):
        self.surfaces = Surfaces()
        self.hedging = True
        self.hedge_at_ns = NEVER

    cdef void hedge(self, int64_t now_ns) noexcept nogil:
        """Start requests that run longer than 99 of 100 of their surface on a second worker, while one can be spared
        and nothing waits; and work out when to look again. The standby comes first, and the last idle worker never: a
        request that hangs would take it too. None for a while after a crash: what kills would kill two."""
        cdef int at, idle
        cdef Place* place
        cdef Request* request
        cdef int64_t due_ns
        self.hedge_at_ns = NEVER
        if not self.hedging or self.queue.count or self.hedge_credit < 1.0 or self.careful(now_ns):
            return
        for at in range(self.places.active_count):
            place = &self.places.at[self.places.active[at]]
            if place.held_count != 1:
                continue
            request = &self.requests[place.held[0]]
            if request.kind != KIND_ASK or request.attempts != 1 or request.answered:
                continue
            if self.surfaces.at[request.surface].samples < HEDGE_SAMPLES_MIN:
                continue
            due_ns = request.runs[0].started_ns + <int64_t>max(
                self.surfaces.at[request.surface].slow_ns, HEDGE_WAIT_MIN_NS)
            idle = self.places.spare()
            if idle < 0:
                return
            if due_ns > now_ns:
                self.hedge_at_ns = min(self.hedge_at_ns, due_ns)
            else:
                request.hedged = True
                self.hedge_credit -= 1.0
                self.count(N_HEDGED)
                self.begin(place.held[0], idle, now_ns)
