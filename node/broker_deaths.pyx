"""What the death of a worker means: who is charged, who runs once more, who is never let in again, and how the node
goes on serving while it finds out.

Only a request that was being executed is charged, and two deaths end it. The first copy of something that kills cannot
be told from a good request, but whoever kills is followed by its like: so after a death one worker at least is kept out
of harm's way. A request is *risky* when it has been charged, when its bytes were, or, for a second after a crash, when
no request with these bytes was answered lately. Risky requests run one at a time in the whole node, alone on a worker,
and only while another is ready; meanwhile they lie aside and hold nobody up.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from mixline.ipc import counters, seats
from mixline.node import limits

from mixline.ipc.clock cimport mx_now_ns
from mixline.ipc.frames cimport KIND_ASK, MX_HEADER_BYTES, OVERLOADED, POISON, WORKER_LOST, mx_request_frame
from mixline.ipc.words cimport executing_word, mx_load_acquire
from mixline.node.broker_ledger cimport QUEUED, RUNS_MAX, Ledger, Request, Run
from mixline.node.broker_places cimport WORD, Place
from mixline.node.broker_quarantine cimport CONDEMNED, SUSPECT, WATCHED, Quarantine, request_digest
from mixline.node.heaps cimport heap_push, heap_remove

cdef enum:
    TEXT_BYTES = 256

cdef int EXECUTING_WORD = seats.EXECUTING * WORD
cdef uint64_t EXECUTING_ALL = seats.EXECUTING_ALL
cdef uint8_t ATTEMPTS_MAX = limits.attempts_max
cdef int64_t QUARANTINE_NS = limits.quarantine_ms * 1_000_000
cdef int64_t CAREFUL_NS = limits.careful_ms * 1_000_000
cdef int64_t SUSPECT_WAIT_NS = 100_000_000
cdef uint32_t KNOWN_BYTES_MAX = limits.known_bytes_max
cdef int N_REDISPATCHED = counters.BROKER_COUNTERS.index("redispatched")
cdef int N_WORKER_LOST = counters.BROKER_COUNTERS.index("worker_lost")
cdef int N_POISON = counters.BROKER_COUNTERS.index("poison")
cdef int N_QUARANTINED = counters.BROKER_COUNTERS.index("quarantined")
cdef int N_SUSPECTED = counters.BROKER_COUNTERS.index("suspected")


cdef class Deaths(Ledger):
    """A ledger that knows what kills. See :class:`~mixline.node.broker_ledger.Ledger` for the arguments."""

    def __cinit__(self, *_, **__):
        self.quarantine = Quarantine(limits.quarantine_ms)
        self.risk_seat = -1
        self.aside.place = <uint32_t*>malloc(self.slots.block_count * sizeof(uint32_t))
        if self.aside.place == NULL:
            raise MemoryError()
        memset(self.aside.place, 0xFF, self.slots.block_count * sizeof(uint32_t))

    def __dealloc__(self):
        free(self.aside.place)
        free(self.aside.entries)

    cdef int collect(self) noexcept nogil:
        """Take the replies that workers have published; the desk's part."""
        return 0

    # -- who is suspected --------------------------------------------------------------------------------------------

    cdef void sign(self, uint32_t slot) noexcept nogil:
        """Give a request the digest by which the quarantine knows it."""
        cdef Request* request = &self.requests[slot]
        cdef mx_request_frame* head = <mx_request_frame*>(self.slot_bytes + self.slots.start_of(slot))
        if not request.digest:
            request.digest = request_digest(request.kind, head.surface, <const uint8_t*>head + MX_HEADER_BYTES,
                                            request.length - MX_HEADER_BYTES)

    cdef bint quarantined(self, const Request* request) noexcept nogil:
        """True, and refused, when these bytes killed two workers, or one and another copy is on trial for it."""
        cdef int verdict = self.quarantine.look(request.digest, mx_now_ns())
        if verdict == CONDEMNED:
            self.count(N_QUARANTINED)
            self.refuse(request, POISON, "a request with these bytes has killed two workers", QUARANTINE_NS)
        elif verdict == SUSPECT and not request.on_trial:
            self.count(N_SUSPECTED)
            self.refuse(request, OVERLOADED, "a request with these bytes has just killed a worker and is tried again",
                        SUSPECT_WAIT_NS)
        else:
            return False
        return True

    cdef bint careful(self, int64_t now_ns) noexcept nogil:
        """Whether a worker has just been killed by a request."""
        return now_ns < self.careful_ns

    cdef bint risky(self, const Request* request, int64_t now_ns) noexcept nogil:
        """Whether the request may well kill the worker that it is given to."""
        if request.kind != KIND_ASK:
            return False
        return request.deaths > 0 or request.on_trial or (
            self.careful(now_ns) and not self.quarantine.vouched(request.digest))

    cdef bint may_risk(self) noexcept nogil:
        """Whether a worker can be risked: none is at risk, and another is ready."""
        return self.risk_seat < 0 and self.places.steady() > 1

    cdef bint held_up(self, uint32_t slot, int64_t now_ns) noexcept nogil:
        """True when the first of the queue does not run now, because it was refused or set aside."""
        cdef Request* request = &self.requests[slot]
        if request.kind != KIND_ASK or not (request.deaths or self.quarantine.count):
            return False
        self.sign(slot)
        if self.quarantined(request):  # it may have waited while its like killed a worker
            self.finish(slot)
            self.forget(slot)
            return True
        if self.quarantine.look(request.digest, now_ns) == WATCHED:
            request.on_trial = True
            self.quarantine.try_again(request.digest, True)
        if not self.risky(request, now_ns) or self.may_risk():
            return False
        self.aside_count += 1
        if heap_push(&self.aside, slot, <uint64_t>request.deadline_ns, self.aside_count):
            return False  # without memory it runs all the same
        self.queue.remove(slot)
        return True

    cdef void bring_back(self, int64_t now_ns) noexcept nogil:
        """What lies aside waits in the queue again: the first, when a worker can be risked; and all that are not risky
        any more."""
        cdef uint32_t at = 0, slot
        if self.may_risk() and self.places.idle() >= 0:
            slot = self.aside.entries[0].item
            heap_remove(&self.aside, slot)
            self.enqueue(slot)
        while at < self.aside.count and not self.careful(now_ns):
            slot = self.aside.entries[at].item
            if self.risky(&self.requests[slot], now_ns):
                at += 1
            else:
                heap_remove(&self.aside, slot)
                self.enqueue(slot)
                at = 0  # the heap has another order now

    @property
    def set_aside(self) -> int:
        """Risky requests that wait until a worker can be risked."""
        return self.aside.count

    # -- how runs end ------------------------------------------------------------------------------------------------

    cdef void survived(self, uint32_t slot, Place* place) noexcept nogil:
        """A run has ended and its worker lives: these bytes are known to be good; had they been charged, acquitted."""
        cdef Request* request = &self.requests[slot]
        if place.seat == self.risk_seat:
            self.risk_seat = -1
        if request.crashes or request.on_trial:
            self.quarantine.acquit(request.digest)
        if request.kind != KIND_ASK or request.length > KNOWN_BYTES_MAX:
            return
        self.sign(slot)
        self.quarantine.vouch(request.digest)

    cdef void finish(self, uint32_t slot) noexcept nogil:
        """As the ledger does; and a trial that ends without a verdict leaves the case to the next copy."""
        cdef Request* request = &self.requests[slot]
        if request.answered:
            return
        heap_remove(&self.aside, slot)
        if request.on_trial:
            self.quarantine.try_again(request.digest, False)
        Ledger.finish(self, slot)

    # -- deaths ------------------------------------------------------------------------------------------------------

    cdef void charge(self, uint32_t slot, bint executing, bint crash) noexcept nogil:
        """A worker with this request is gone: move it, or end it when it killed two.

        Only the request that was executing is charged. It runs once more, alone, as soon as that is no risk to the
        last worker. If that kills a worker too, and both deaths are of the kind that a request can cause, it is
        POISON; a SIGKILL comes from outside (the operator, the OOM killer), so then the worker is merely lost.
        """
        cdef Request* request = &self.requests[slot]
        cdef char text[TEXT_BYTES]
        cdef int64_t now_ns = mx_now_ns()
        if executing and crash:  # whoever has been answered meanwhile has killed a worker all the same
            self.sign(slot)
            self.quarantine.crash(request.digest, now_ns)
            self.careful_ns = now_ns + CAREFUL_NS
        if executing and not request.answered:
            request.deaths += 1
            request.crashes += crash
            if crash:
                request.on_trial = True
                self.quarantine.try_again(request.digest, True)
        if request.answered or self.running(request):  # over, or its other run goes on
            pass
        elif request.deaths < ATTEMPTS_MAX:
            self.count(N_REDISPATCHED)
            self.enqueue(slot)
        else:
            self.count(N_POISON if request.crashes == request.deaths else N_WORKER_LOST)
            snprintf(text, TEXT_BYTES, "%d workers died while they ran this request", request.deaths)
            self.refuse(request, POISON if request.crashes == request.deaths else WORKER_LOST, text, -1)
            self.finish(slot)
        if request.state != QUEUED:
            self.forget(slot)

    def overdue(self, int number) -> bool:
        """Whether the worker in a seat still holds a request that was answered without it."""
        cdef Place* place = &self.places.at[number]
        cdef int at
        for at in range(place.held_count):
            if self.requests[place.held[at]].answered:
                return True
        return False

    def bury(self, int number, bint crash) -> None:
        """The worker in a seat is gone: keep what it had published, charge what it was executing, move what merely
        waited. ``crash``: it died of a kind that a request can cause, or hung."""
        cdef Place* place = &self.places.at[number]
        cdef uint64_t executing = mx_load_acquire(&place.words[EXECUTING_WORD])  # SYNC POINT: executing word
        cdef uint32_t slot
        cdef Request* request
        cdef Run* run
        cdef bint mine
        cdef int at
        self.collect()
        if self.risk_seat == number:
            self.risk_seat = -1
        while place.held_count:
            slot = place.held[place.held_count - 1]
            self.places.drop(place, slot)
            request = &self.requests[slot]
            mine = False
            for at in range(RUNS_MAX):
                run = &request.runs[at]
                if run.seat == number:
                    mine = executing == EXECUTING_ALL or executing == executing_word(
                        slot, request.generation, run.attempt)
                    run.seat = -1
            self.charge(slot, mine, crash)
