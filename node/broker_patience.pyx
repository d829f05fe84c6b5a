"""How long a request may wait: reckoned when it comes, held against what its budget leaves, learnt from how it went.

A burst may fill most of a budget. A queue that stands, or many refusals, are overload, in which what waits gains
nothing for anybody: little is let in then, and who has waited for much longer makes room for those who come.
"""

from libc.stdint cimport int64_t

from mixline.ipc import counters
from mixline.node import limits

from mixline.ipc.frames cimport KIND_ASK, OVERLOADED
from mixline.node.broker_hedges cimport Hedges
from mixline.node.broker_ledger cimport Request
from mixline.node.broker_places cimport Place
from mixline.node.broker_surfaces cimport Line

cdef double WAIT_SHARE = limits.wait_share_max
cdef double WAIT_SHARE_STANDING = limits.wait_share_standing
cdef double WAIT_SHARE_PRESSED = limits.wait_share_pressed
cdef double OVERSTAYED = limits.overstayed_times
cdef double PASSES_BORNE = 2.0
cdef double PASSES_PRESSED = 0.75  # some wait for the second of two workers, else one would find too few for a pass
cdef double STRETCH_MAX = 4.0
cdef int64_t FORESEEN_MIN_NS = 1_000_000
cdef double FORESEEN_WEIGHT = 0.01
cdef int64_t STANDING_NS = limits.queue_standing_ms * 1_000_000
cdef int64_t STOOD_NS = limits.queue_stood_ms * 1_000_000
cdef double REFUSED_SHARE = limits.refused_share
cdef int64_t REFUSED_WINDOW_NS = limits.refused_window_ms * 1_000_000
cdef uint64_t REFUSED_MIN = 8
cdef int N_OVERLOADED = counters.BROKER_COUNTERS.index("overloaded")
cdef int N_SHED = counters.BROKER_COUNTERS.index("shed")


cdef class Patience(Hedges):
    """A ledger that foretells waits. See :class:`~mixline.node.broker_ledger.Ledger` for the arguments."""

    cdef bint shed(self, const Request* fresh, int64_t wait_ns) noexcept nogil:
        """Whether the request would wait too long; and note when many do."""
        cdef bint refused = wait_ns and wait_ns > self.bearable_ns(fresh, fresh.arrived_ns)
        if fresh.arrived_ns - self.window_ns > REFUSED_WINDOW_NS:
            self.window_ns, self.offered, self.refused = fresh.arrived_ns, 0, 0
        self.offered += 1
        self.offered_ns = fresh.arrived_ns
        self.refused += refused
        if self.refused >= REFUSED_MIN and self.refused > REFUSED_SHARE * self.offered:
            self.pressed_ns = fresh.arrived_ns
        return refused

    cdef bint pressed(self, int64_t now_ns) noexcept nogil:
        """Whether lately many were refused: that keeps a queue short. At capacity no such share is, so it ends."""
        return self.pressed_ns and now_ns - self.pressed_ns < STOOD_NS

    cdef double bearable_ns(self, const Request* request, int64_t now_ns) noexcept nogil:
        """The longest wait that is let in: under overload a small share of the budget, or two passes, while many are
        refused most of one. With a worker dead a queue is no sign of overload: others are about to be back."""
        cdef bint pressed = self.pressed(now_ns), stands = pressed or self.stands(now_ns)
        cdef double budget = request.deadline_ns - request.arrived_ns - request.cost_ns, passes
        budget -= self.surfaces.at[request.surface].line.fixed
        if not stands or self.careful(now_ns):
            return budget * WAIT_SHARE
        passes = (PASSES_PRESSED if pressed else PASSES_BORNE) * self.surfaces.at[request.surface].passes.took
        return min(max(budget * (WAIT_SHARE_PRESSED if pressed else WAIT_SHARE_STANDING), passes), budget * WAIT_SHARE)

    cdef bint overstayed(self, uint32_t slot, int64_t now_ns) noexcept nogil:
        """True, and refused, for a request that has waited so much longer than the door would let it now that those
        who come, and have not, are better served: it came before the door knew, or the machine stood still. When
        nobody comes any more it was a burst, of which all are served that were let in."""
        cdef Request* request = &self.requests[slot]
        cdef double bearable
        if request.kind != KIND_ASK or request.attempts or not self.pressed(now_ns) or self.careful(now_ns):
            return False
        bearable = self.bearable_ns(request, now_ns)
        if now_ns - request.arrived_ns <= OVERSTAYED * bearable or now_ns - self.offered_ns > bearable:
            return False
        self.compare(request, now_ns)
        self.queue.remove(slot)
        self.count(N_OVERLOADED)
        self.count(N_SHED)
        self.refuse(request, OVERLOADED, "it waited for longer than is let in now", now_ns - request.arrived_ns)
        self.finish(slot)
        self.forget(slot)
        return True

    cdef bint stands(self, int64_t now_ns) noexcept nogil:
        """Whether the queue is overload's and no burst's. Once it was, moments without a queue do not count for a
        while: refusals make them, and each would let a burst in that fills the budget."""
        if self.queue.count and self.places.idle() < 0 and now_ns - self.empty_ns > STANDING_NS:
            self.stood_ns = now_ns
        return self.stood_ns and now_ns - self.stood_ns < STOOD_NS

    cdef int64_t reckoned_wait_ns(self, const Request* fresh) noexcept nogil:
        """How long the request would wait if workers kept their pace: what lies ahead of it and what is left of what
        runs, over the workers."""
        cdef int64_t left_ns, ahead_ns
        cdef int at
        cdef Place* place
        cdef Request* running
        cdef Line line
        if not self.places.active_count or fresh.kind != KIND_ASK:
            return 0
        if not self.queue.count and self.places.idle() >= 0:
            return 0
        ahead_ns = self.queue.ahead_ns(fresh.tenant, fresh.priority)
        for at in range(self.places.active_count):
            place = &self.places.at[self.places.active[at]]
            if place.held_count:
                running = &self.requests[place.held[0]]
                line = self.surfaces.at[running.surface].line
                left_ns = <int64_t>(line.fixed + line.each * place.held_count)
                left_ns -= fresh.arrived_ns - running.runs[0].started_ns
                ahead_ns += max(left_ns, running.cost_ns // 4)
        return ahead_ns // self.places.active_count + 1

    cdef double stretch(self) noexcept nogil:
        """How much longer requests wait than reckoned: workers that share cores with others are slower than known."""
        if self.foreseen_ns <= 0.0:
            return 1.0
        return min(max(self.waited_ns / self.foreseen_ns, 1.0), STRETCH_MAX)

    cdef void compare(self, const Request* request, int64_t now_ns) noexcept nogil:
        """Learn from a request that is taken off the queue how it went with its wait."""
        if request.kind == KIND_ASK and request.foreseen_ns >= FORESEEN_MIN_NS and not request.attempts:
            self.foreseen_ns += (request.foreseen_ns - self.foreseen_ns) * FORESEEN_WEIGHT
            self.waited_ns += (now_ns - request.arrived_ns - self.waited_ns) * FORESEEN_WEIGHT
