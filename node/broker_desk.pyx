"""The rules of the broker, in the order of a request's life: refused or admitted, given to a worker, perhaps hedged,
expired or settled; what deaths mean for it is in :mod:`mixline.node.broker_deaths`. One implementation for every
transport; nothing here needs the GIL.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy, memset

from mixline.ipc import counters, seats, wire
from mixline.node import limits

from mixline.ipc.clock cimport mx_now_ns
from mixline.ipc.frames cimport (
    BAD_REQUEST, KIND_APPLY, KIND_ASK, KIND_ECHO, KIND_INFO, MX_HEADER_BYTES, NOT_READY, OK, OVERLOADED, SHUTTING_DOWN,
    STATUS_COUNT, TIMEOUT, TOO_LARGE, mx_is_name, mx_request_frame)
from mixline.ipc.meters cimport ROW_WORDS, meter_record
from mixline.ipc.rings cimport Fields, ring_advance, ring_peek
from mixline.ipc.words cimport bell_toll
from mixline.node.broker_ledger cimport QUEUED, ROUTING_MAX, RUNNING, Lend, Request, Run
from mixline.node.broker_patience cimport Patience
from mixline.node.broker_places cimport WORD, Place
from mixline.node.broker_quarantine cimport request_digest
from mixline.node.broker_surfaces cimport ECHO, Line

cdef int SLEEPING_WORD = seats.SLEEPING * WORD
cdef bytes MAGIC_TEXT = wire.MAGIC
cdef const char* MAGIC_BYTES = MAGIC_TEXT
cdef uint8_t WIRE_VERSION = wire.VERSION
cdef uint64_t REQUEST_BYTES_MAX = limits.request_bytes_max
cdef uint64_t BUDGET_DEFAULT_US = limits.budget_default_us
cdef uint64_t BUDGET_MAX_US = limits.budget_max_us
cdef uint32_t QUEUE_MAX = limits.queue_max
cdef uint64_t QUEUE_BYTES_MAX = limits.queue_bytes_max
cdef uint32_t PEER_OPEN_MAX = limits.peer_open_max
cdef uint64_t PEER_LENT_BYTES_MAX = limits.peer_lent_bytes_max
cdef uint64_t LEND_BYTES_MIN = limits.lend_bytes_min
cdef double SHARE_ALONE = limits.queue_share_alone
cdef double WAIT_SHARE_CALM = limits.wait_share_calm
cdef int HELD_ASK_MAX = limits.held_max
cdef int64_t NOT_READY_WAIT_NS = 100_000_000
cdef int64_t SHUTTING_WAIT_NS = limits.retry_after_us_max * 1000
cdef double HEDGE_SHARE = limits.hedge_share
cdef double HEDGE_CREDIT_MAX = limits.hedge_credit_max
cdef uint32_t WRITES_MAX = limits.writes_max

cdef int N_REQUESTS = counters.BROKER_COUNTERS.index("requests")
cdef int N_BAD_FRAMES = counters.BROKER_COUNTERS.index("bad_frames")
cdef int N_NOT_READY = counters.BROKER_COUNTERS.index("not_ready")
cdef int N_OVERLOADED = counters.BROKER_COUNTERS.index("overloaded")
cdef int N_SHED = counters.BROKER_COUNTERS.index("shed")
cdef int N_PEER_CREDIT = counters.BROKER_COUNTERS.index("peer_credit")
cdef int N_SHUTTING_DOWN = counters.BROKER_COUNTERS.index("shutting_down")
cdef int N_TOO_LARGE = counters.BROKER_COUNTERS.index("too_large")
cdef int N_EXPIRED_QUEUED = counters.BROKER_COUNTERS.index("expired_queued")
cdef int N_TIMED_OUT_RUNNING = counters.BROKER_COUNTERS.index("timed_out_running")
cdef int N_DISPATCHED = counters.BROKER_COUNTERS.index("dispatched")
cdef int N_LATE = counters.BROKER_COUNTERS.index("late_replies")
cdef int N_OLD_LIFE = counters.BROKER_COUNTERS.index("old_life_replies")
cdef int N_PEER_FULL = counters.BROKER_COUNTERS.index("peer_full")
cdef int N_LENDS_REFUSED = counters.BROKER_COUNTERS.index("lends_refused")
cdef int N_HEDGES_WON = counters.BROKER_COUNTERS.index("hedges_won")


cdef class Desk(Patience):
    """A ledger with its rules. See :class:`~mixline.node.broker_ledger.Ledger` for the arguments."""

    def __cinit__(self, *_, **__):
        self.sharing = self.writable = True

    # -- at the door -------------------------------------------------------------------------------------------------

    cdef void consider(self, const Incoming* message) noexcept nogil:
        """Refuse a message or admit it."""
        cdef Request* fresh = &self.fresh
        cdef const mx_request_frame* head = <const mx_request_frame*>message.head
        cdef char text[TEXT_BYTES]
        cdef bint ours = message.head_length >= 24 and not memcmp(message.head, MAGIC_BYTES, 4)
        self.count(N_REQUESTS)
        memset(fresh, 0, sizeof(Request) - ROUTING_MAX)
        fresh.arrived_ns = mx_now_ns()
        fresh.delimiter = message.delimiter
        fresh.routing_length = <uint8_t>message.routing_length
        memcpy(fresh.routing, message.routing, message.routing_length)
        if ours:
            fresh.kind = head.kind & 0x7F
            memcpy(fresh.request_id, head.request_id, 16)
        if self.malformed(message, text):
            self.count(N_BAD_FRAMES)
            self.refuse(fresh, BAD_REQUEST, text, -1)
        elif head.kind == KIND_INFO:
            if self.question_count < QUESTIONS_MAX:
                memcpy(&self.questions[self.question_count], fresh, sizeof(Request))
                self.question_count += 1
            else:
                self.count(N_OVERLOADED)
                self.refuse(fresh, OVERLOADED, "too many INFO requests at once", 0)
        elif message.body_length > REQUEST_BYTES_MAX:
            self.count(N_TOO_LARGE)
            snprintf(text, TEXT_BYTES, "the body has %zu bytes, at most %zu are taken", message.body_length,
                     <size_t>REQUEST_BYTES_MAX)
            self.refuse(fresh, TOO_LARGE, text, -1)
        else:
            self.admit(fresh, message)

    cdef bint malformed(self, const Incoming* message, char* text) noexcept nogil:
        """True, with the reason, for what is no request of this protocol."""
        cdef const mx_request_frame* head = <const mx_request_frame*>message.head
        if message.frames < 1 or message.head_length != MX_HEADER_BYTES:
            snprintf(text, TEXT_BYTES, "header frame: %zu bytes, must be %d", message.head_length, MX_HEADER_BYTES)
        elif memcmp(head.magic, MAGIC_BYTES, 4):
            snprintf(text, TEXT_BYTES, "header frame: magic %02x %02x %02x %02x, must be %s", head.magic[0],
                     head.magic[1], head.magic[2], head.magic[3], MAGIC_BYTES)
        elif head.version != WIRE_VERSION:
            snprintf(text, TEXT_BYTES, "header frame: version %d, this node speaks %d", head.version, WIRE_VERSION)
        elif message.frames > 2:
            snprintf(text, TEXT_BYTES, "%d frames after the envelope, must be a header and a body", message.frames)
        elif not KIND_ASK <= head.kind <= KIND_APPLY:
            snprintf(text, TEXT_BYTES, "kind %d is none of 1 ASK, 2 ECHO, 3 INFO, 4 APPLY", head.kind)
        elif not mx_is_name(head.surface, 32) or not mx_is_name(head.tenant, 16):
            snprintf(text, TEXT_BYTES, "surface and tenant must be ASCII padded with NUL")
        else:
            return False
        return True

    cdef void admit(self, Request* fresh, const Incoming* message) noexcept nogil:
        """Put the request into a slot and the queue, or say why not."""
        cdef const mx_request_frame* head = <const mx_request_frame*>message.head
        cdef uint64_t length = message.head_length + message.body_length
        cdef uint64_t budget_us = head.budget_us
        cdef int64_t wait_ns
        cdef char text[TEXT_BYTES]
        cdef int slot
        cdef uint8_t* into
        fresh.surface = ECHO if fresh.kind == KIND_ECHO else self.surfaces.find(head.surface)
        if not budget_us and self.surfaces.at[fresh.surface].deadline_ns:
            budget_us = <uint64_t>self.surfaces.at[fresh.surface].deadline_ns // 1000
        budget_us = min(budget_us if budget_us else BUDGET_DEFAULT_US, BUDGET_MAX_US)
        fresh.deadline_ns = fresh.arrived_ns + <int64_t>budget_us * 1000
        fresh.cost_ns = <int64_t>self.surfaces.at[fresh.surface].line.each
        fresh.priority = head.priority
        if self.shut(fresh):
            return
        if fresh.kind == KIND_APPLY and not self.writable:
            self.refuse(fresh, BAD_REQUEST, "kind 4 APPLY: this node's engine takes no updates", -1)
            return
        if self.quarantine.count:
            fresh.digest = request_digest(fresh.kind, head.surface, message.body, message.body_length)
            if self.quarantined(fresh):
                return
        fresh.tenant = self.queue.tenant_of(head.tenant)
        fresh.peer = self.peers.enter(fresh.routing, fresh.routing_length)
        fresh.foreseen_ns = self.reckoned_wait_ns(fresh)
        wait_ns = <int64_t>(fresh.foreseen_ns * self.stretch())
        slot = -1
        if not self.crowded(fresh, length, text):
            if self.shed(fresh, wait_ns):
                self.count(N_SHED)
                snprintf(text, TEXT_BYTES, "it would wait %lld us and then take %lld, of a budget of %llu",
                         <long long>(wait_ns // 1000), <long long>(fresh.cost_ns // 1000),
                         <unsigned long long>budget_us)
            else:
                slot = self.enter(fresh, length)
                if slot < 0:
                    snprintf(text, TEXT_BYTES, "no slot for %zu bytes is free", <size_t>length)
        if slot < 0:
            self.peers.leave(fresh.peer)
            self.count(N_OVERLOADED)
            self.refuse(fresh, OVERLOADED, text, wait_ns)
            return
        into = self.slot_bytes + self.slots.start_of(<uint32_t>slot)
        memcpy(into, message.head, message.head_length)
        if message.body_length:  # without a body frame there is no address either
            memcpy(into + message.head_length, message.body, message.body_length)

    cdef bint shut(self, Request* fresh) noexcept nogil:
        """True, and refused, while the node does not serve."""
        if self.draining:
            self.count(N_SHUTTING_DOWN)
            self.refuse(fresh, SHUTTING_DOWN, "the node is shutting down", SHUTTING_WAIT_NS)
        elif not self.ever_ready:
            self.count(N_NOT_READY)
            self.refuse(fresh, NOT_READY, "no worker is ready yet", NOT_READY_WAIT_NS)
        return self.draining or not self.ever_ready

    cdef bint crowded(self, const Request* fresh, uint64_t length, char* text) noexcept nogil:
        """True, with the reason, when a bound by count or bytes is reached. The more urgent a request, the more of the
        queue is its: all for priority 0, half for 255; of that a tenant alone has three quarters, else its share."""
        cdef double bound = QUEUE_MAX * (1.0 - fresh.priority / 510.0)
        cdef double weight = self.queue.tenants[fresh.tenant].weight
        cdef uint32_t own = self.queue.tenants[fresh.tenant].heap.count
        cdef double others = self.queue.weight_waiting - (weight if own else 0.0)
        cdef double share = SHARE_ALONE if others <= 0.0 else min(SHARE_ALONE, weight / (weight + others))
        if self.peers.pool[fresh.peer].open_requests >= PEER_OPEN_MAX:
            self.count(N_PEER_CREDIT)
            snprintf(text, TEXT_BYTES, "this connection has %u requests open already", PEER_OPEN_MAX)
        elif fresh.kind == KIND_APPLY:
            if self.writes.count < WRITES_MAX:
                return False
            snprintf(text, TEXT_BYTES, "%u batches wait for the writer already", self.writes.count)
        elif self.queue.total_bytes + length > QUEUE_BYTES_MAX:
            snprintf(text, TEXT_BYTES, "%zu bytes wait already", <size_t>self.queue.total_bytes)
        elif self.queue.count >= bound or own >= bound * share:
            snprintf(text, TEXT_BYTES, "%u requests wait already, %u of them of this tenant", self.queue.count, own)
        else:
            return False
        return True

    # -- to a worker -------------------------------------------------------------------------------------------------

    cdef void dispatch(self, int64_t now_ns) noexcept nogil:
        """Give queued requests to workers while there is one with room; and note when the queue was no standing one.

        That it is empty says nothing: a worker that shares a pass may take all of it at once. It stands until a worker
        finds nothing to do, or the first of a pass has waited only little, or for one pass alone.
        """
        cdef int64_t slot, waited_ns
        cdef int number
        cdef Request* request
        if self.writes.count:
            self.dispatch_writes(now_ns)
        if self.aside.count:
            self.bring_back(now_ns)
        while self.queue.count:
            slot = self.queue.first()
            request = &self.requests[slot]
            if self.overstayed(<uint32_t>slot, now_ns):
                continue
            number = self.places.choose(request.kind == KIND_ECHO, request.attempts > 0)
            if number < 0:
                return
            if self.held_up(<uint32_t>slot, now_ns):
                continue
            waited_ns = now_ns - request.arrived_ns
            if waited_ns < max((request.deadline_ns - request.arrived_ns) * WAIT_SHARE_CALM,
                               self.surfaces.at[request.surface].passes.took):
                self.empty_ns = now_ns
            if self.claim(<uint32_t>slot, now_ns):
                if self.risky(request, now_ns):
                    self.risk_seat = number
                self.begin(<uint32_t>slot, number, now_ns)
                if self.sharing:
                    self.accompany(<uint32_t>slot, number, now_ns)
        if self.places.idle() >= 0:
            self.empty_ns = now_ns

    cdef bint claim(self, uint32_t slot, int64_t now_ns) noexcept nogil:
        """Take a request off the queue; False, and answered, when too little time is left for it."""
        cdef Request* request = &self.requests[slot]
        cdef Line line = self.surfaces.at[request.surface].line
        self.queue.take(slot)
        if request.kind == KIND_ASK and request.deadline_ns - now_ns < (line.fixed + line.each) / 2.0:
            self.count(N_EXPIRED_QUEUED)
            self.refuse(request, TIMEOUT, "too little of the time budget was left after the queue", -1)
            self.finish(slot)
            self.forget(slot)
            return False
        self.compare(request, now_ns)
        meter_record(self.meters.base + (request.surface * 2 + 1) * ROW_WORDS, (now_ns - request.arrived_ns) // 1000)
        self.hedge_credit = min(self.hedge_credit + HEDGE_SHARE, HEDGE_CREDIT_MAX)
        return True

    cdef void accompany(self, uint32_t slot, int number, int64_t now_ns) noexcept nogil:
        """Give the worker that has just got a request its part of those behind it that want the same scan; or of short
        ones a few, for which it then comes and goes once.

        Nothing waits for company, and nothing parks behind a busy worker: what is given along would have waited in the
        queue all the same. Not while something that kills is about, for then many would be charged at once.
        """
        cdef Request* first = &self.requests[slot]
        cdef Request* request
        cdef Place* place = &self.places.at[number]
        cdef int64_t next_slot
        cdef int at
        # An equal part, the first included, for each worker that is free now or will be after one request.
        cdef uint32_t free = <uint32_t>self.places.lightly_laden()
        cdef uint32_t part = (self.queue.count + free) // free
        if place.alone or self.quarantine.count or self.careful(now_ns):
            return
        while self.queue.count and place.held_count < min(part, <uint32_t>HELD_ASK_MAX) and not place.broken:
            next_slot = self.queue.first()
            request = &self.requests[next_slot]
            if request.surface != first.surface or request.kind != KIND_ASK or request.attempts:
                break
            if not self.surfaces.has_room(first.surface, place.held_count, first.deadline_ns - now_ns):
                break
            if self.claim(<uint32_t>next_slot, now_ns):
                self.begin(<uint32_t>next_slot, number, now_ns)
        for at in range(place.held_count):
            request = &self.requests[place.held[at]]
            request.runs[0].company = place.held_count

    cdef void begin(self, uint32_t slot, int number, int64_t now_ns) noexcept nogil:
        """Start one run of a request on a place with room."""
        cdef Request* request = &self.requests[slot]
        cdef Place* place = &self.places.at[number]
        cdef Run* run = &request.runs[0 if request.runs[0].seat < 0 else 1]
        cdef Fields work
        request.state = RUNNING
        request.attempts += 1
        run.seat, run.attempt, run.started_ns, run.company = number, request.attempts, now_ns, 1
        memset(&work, 0, sizeof(work))
        work.slot, work.generation, work.life = slot, request.generation, self.life
        work.attempt, work.kind, work.length = <uint16_t>request.attempts, request.kind, request.length
        work.offset, work.deadline_ns = self.slots.start_of(slot), <uint64_t>request.deadline_ns
        work.server_us = <uint32_t>min((now_ns - request.arrived_ns) // 1000, <int64_t>0xFFFFFFFF)
        self.count(N_DISPATCHED)
        if self.places.hand(place, &work, request.kind == KIND_ECHO, request.attempts > 1 or number == self.risk_seat):
            bell_toll(&place.words[SLEEPING_WORD], place.bell_fd)
        else:
            self.broken = True

    cdef void expire(self, int64_t now_ns) noexcept nogil:
        """TIMEOUT at the deadline, whether the request still waits or a worker is busy with it."""
        cdef uint32_t slot
        cdef Request* request
        while self.deadlines.count and <int64_t>self.deadlines.entries[0].major <= now_ns:
            slot = self.deadlines.entries[0].item
            request = &self.requests[slot]
            if request.state == QUEUED:
                self.count(N_EXPIRED_QUEUED)
                self.refuse(request, TIMEOUT, "the time budget ran out in the queue", -1)
            else:
                self.count(N_TIMED_OUT_RUNNING)
                self.cancel(slot)
                self.refuse(request, TIMEOUT, "the time budget ran out in a worker", -1)
            self.finish(slot)
            self.forget(slot)

    # -- back from a worker ------------------------------------------------------------------------------------------

    cdef int collect(self) noexcept nogil:
        """Take the replies that workers have published; how many."""
        cdef int number, got, many = 0
        cdef Place* place
        cdef Fields done
        for number in range(self.places.count):
            place = &self.places.at[number]
            while not place.broken:
                got = ring_peek(place.done, &done)
                if not got:
                    break
                if got > 0:
                    ring_advance(place.done)
                    many += 1
                if got < 0 or not self.settle(place, &done):
                    place.broken = self.broken = True
        return many

    cdef bint settle(self, Place* place, const Fields* done) noexcept nogil:
        """One reply: check every number that the worker wrote, send it, return its memory. False: it is not ours."""
        cdef Run* run
        cdef Request* request
        cdef int64_t block
        cdef bint lent = False, taken
        if done.life != self.life:
            self.count(N_OLD_LIFE)
            return True
        run = self.find(done, place.seat)
        block = self.arena.find_block(done.offset)
        if run == NULL or block < 0 or done.length > self.arena.room_of(<uint32_t>block) or done.status >= STATUS_COUNT:
            return False
        request = &self.requests[done.slot]
        run.seat = -1
        self.places.drop(place, done.slot)
        self.survived(done.slot, place)
        # The whole time that the place was taken, the ways there and back included, and of late replies too: those
        # left out, the slower the requests the lower the estimate.
        self.surfaces.learn(request.surface, mx_now_ns() - run.started_ns)
        if not place.held_count or run.company == 1:
            self.surfaces.reckon(request.surface, mx_now_ns() - run.started_ns, run.company)
        taken = not request.answered
        if not taken:
            self.count(N_LATE)
        else:
            lent = self.reply(request, place, done, <uint32_t>block)
            if request.hedged and done.attempt == 2:
                self.count(N_HEDGES_WON)
            self.cancel(done.slot)
            self.finish(done.slot)
        self.forget(done.slot)
        if not lent:
            self.release(place, done.offset, taken)
        return True

    cdef bint reply(self, Request* request, Place* place, const Fields* done, uint32_t block) noexcept nogil:
        """Send a worker's reply, copied or lent; True when its block is lent. A peer that leaves too much unread loses
        what is large, as it does when libzmq's queue for it is full."""
        cdef Lend* lend = NULL
        cdef const uint8_t* body = place.arena + done.offset
        if done.length >= LEND_BYTES_MIN:
            if self.peers.pool[request.peer].lent_bytes + done.length > PEER_LENT_BYTES_MAX:
                self.count(N_PEER_FULL)
                self.count(N_LENDS_REFUSED)
                return False
            lend = self.lend(place, request, block, done)
            if lend != NULL and lend.copied != NULL:
                body = <const uint8_t*>lend.copied
        self.answer(request, done.status, body, done.length, done, place.seat, -1, lend)
        return lend != NULL and lend.copied == NULL

    # -- in the broker's own name ------------------------------------------------------------------------------------

    def answer_questions(self, bytes body) -> int:
        """Answer all INFO requests that wait with the same body; how many there were."""
        cdef const unsigned char[::1] text = body
        cdef int at, many = self.question_count
        for at in range(many):
            self.answer(&self.questions[at], OK, &text[0], len(body), NULL, 0, -1, NULL)
        self.question_count = 0
        return many
