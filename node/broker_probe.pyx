"""A broker without a socket, for the fuzz tests: it makes damaged messages in C, lets the rules consider them, plays
the worker that answers, and counts what would have been sent. No node loads it.

Every frame lies in a block of exactly its length, so that the address sanitizer sees a read of one byte too many; every
reply is read from end to end and must be one that a client could take for its own.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from mixline.ipc import wire
from mixline.node import limits

from mixline.ipc.clock cimport mx_now_ns
from mixline.ipc.frames cimport (
    KIND_ASK, MX_HEADER_BYTES, OK, STATUS_COUNT, mx_reply_frame, mx_request_frame)
from mixline.ipc.rings cimport Consumer, Fields, Side, ring_advance, ring_peek
from mixline.node.broker_desk cimport QUESTIONS_MAX, Incoming
from mixline.node.broker_ledger cimport SENT, UNROUTABLE, Lend, Request
from mixline.node.broker_loop cimport Loop
from mixline.node.broker_places cimport Place

cdef bytes MAGIC_TEXT = wire.MAGIC
cdef const char* MAGIC_BYTES = MAGIC_TEXT
cdef uint8_t WIRE_VERSION = wire.VERSION
cdef size_t REQUEST_BYTES_MAX = limits.request_bytes_max
cdef enum:
    FLIPS_MAX = 6
    SHORT_BODY = 64
    LONG_BODY = 8192
    ROUND = 16  # messages between two turns of the worker

cdef int64_t HOUR_NS = 3600 * 10**9


cdef class ProbeLoop(Loop):
    """As :class:`Loop`, with ``work`` and ``released``: the worker's ends of the only seat's rings."""

    cdef Side* work
    cdef Side* released
    cdef object keep
    cdef uint64_t state
    cdef uint8_t* huge
    cdef uint64_t seen[STATUS_COUNT]
    cdef readonly uint64_t considered
    cdef readonly uint64_t replies
    cdef readonly uint64_t bad_replies
    cdef readonly uint64_t forged       # descriptors of the worker that were refused
    cdef readonly uint64_t unsettled    # true ones that were: must stay 0
    cdef uint64_t checksum

    def __cinit__(self, *_, Consumer work, Consumer released, **__):
        self.keep = (work, released)
        self.work, self.released = &work.side, &released.side
        self.huge = <uint8_t*>malloc(REQUEST_BYTES_MAX + 1)
        if self.huge == NULL:
            raise MemoryError()
        memset(self.huge, 7, REQUEST_BYTES_MAX + 1)

    def __dealloc__(self):
        free(self.huge)

    @property
    def statuses(self) -> list[int]:
        """Replies by status code."""
        cdef int at
        return [self.seen[at] for at in range(<int>STATUS_COUNT)]

    def feed(self, uint64_t seed, uint64_t count) -> None:
        """``count`` damaged messages; MemoryError when a frame could not be made."""
        cdef bint made = True
        cdef uint64_t at
        self.state = seed * <uint64_t>0x9E3779B97F4A7C15 | 1  # never 0
        with nogil:
            for at in range(count):
                made = self.feed_one()
                if not made:
                    break
                if at % ROUND == ROUND - 1:
                    self.turn()
            self.turn()
        if not made:
            raise MemoryError()

    def settle_all(self) -> None:
        """Answer and expire until nothing is open. What damage made a batch for the writer, whom nobody plays, is left
        over, and its time made to run out: budgets reach a minute."""
        while self.waiting or self.question_count:
            with nogil:
                self.turn()
                if self.writes.count == self.waiting:
                    self.expire(mx_now_ns() + HOUR_NS)

    def ask(self, bytes body, uint64_t budget_us) -> bool:
        """One good request of kind ASK, for :meth:`step` to dispatch; whether it was let in."""
        cdef Incoming message
        cdef mx_request_frame whole
        cdef const unsigned char[::1] text = body
        cdef uint32_t waiting = self.waiting
        memset(&message, 0, sizeof(message))
        memset(&whole, 0, sizeof(whole))
        memcpy(whole.magic, MAGIC_BYTES, 4)
        whole.version, whole.kind, whole.budget_us, whole.surface[0] = WIRE_VERSION, KIND_ASK, budget_us, 97
        message.routing, message.routing_length, message.frames = b"peer", 4, 2
        message.head, message.head_length = <const uint8_t*>&whole, MX_HEADER_BYTES
        message.body, message.body_length = &text[0], <size_t>len(body)
        self.consider(&message)
        return self.waiting > waiting

    def step(self) -> None:
        """What a turn of the loop does beside the socket: collect, expire, dispatch. The test plays the workers."""
        cdef int64_t now_ns
        with nogil:
            self.collect()
            now_ns = mx_now_ns()
            self.expire(now_ns)
            self.dispatch(now_ns)

    cdef uint64_t draw(self, uint64_t below) noexcept nogil:
        """xorshift64 (Marsaglia 2003)."""
        self.state ^= self.state << 13
        self.state ^= self.state >> 7
        self.state ^= self.state << 17
        return (self.state >> 11) % below

    cdef void flip(self, uint8_t* bytes_, size_t length) noexcept nogil:
        """Damage some bytes, or none."""
        cdef uint64_t _, many = self.draw(FLIPS_MAX)
        if not length or self.draw(3) == 0:
            return
        for _ in range(many):
            bytes_[self.draw(length)] = <uint8_t>self.draw(256)

    cdef bint feed_one(self) noexcept nogil:
        """One message: mostly a request with some damage, of any number of frames of any length."""
        cdef Incoming message
        cdef mx_request_frame whole
        cdef uint8_t routing[255]
        cdef uint8_t* head = NULL
        cdef uint8_t* body = NULL
        cdef uint64_t who = self.draw(64)
        memset(&message, 0, sizeof(message))
        memset(routing, <int>who, sizeof(routing))
        message.routing, message.routing_length = routing, 255 if who == 63 else 5
        message.delimiter = self.draw(4) == 0
        message.frames = <int>self.draw(4) if self.draw(8) == 0 else 2
        self.write_header(&whole)
        if message.frames > 0:
            message.head_length = MX_HEADER_BYTES if self.draw(8) else self.draw(2 * MX_HEADER_BYTES)
            head = <uint8_t*>malloc(message.head_length)
            if head == NULL and message.head_length:
                return False
            memset(head, 0, message.head_length)
            memcpy(head, &whole, min(message.head_length, <size_t>MX_HEADER_BYTES))
            self.flip(head, message.head_length)
            message.head = head
        if message.frames > 1:
            message.body_length = self.draw(LONG_BODY if self.draw(16) == 0 else SHORT_BODY)
            body = <uint8_t*>malloc(message.body_length)
            if body == NULL and message.body_length:
                free(head)
                return False
            memset(body, <int>self.draw(4), message.body_length)
            message.body = body
            if self.draw(8192) == 0:
                message.body, message.body_length = self.huge, REQUEST_BYTES_MAX + self.draw(2)
        self.considered += 1
        self.consider(&message)
        free(head)
        free(body)
        return True

    cdef void write_header(self, mx_request_frame* whole) noexcept nogil:
        """A good header: any kind, few tenants and surfaces, budgets from none to for ever."""
        cdef uint64_t at, letter
        memset(whole, 0, sizeof(mx_request_frame))
        memcpy(whole.magic, MAGIC_BYTES, 4)
        whole.version, whole.kind = WIRE_VERSION, <uint8_t>(KIND_ASK + self.draw(3))
        if whole.kind > KIND_ASK and self.draw(4):
            whole.kind = KIND_ASK
        whole.priority = <uint8_t>self.draw(256)
        for at in range(16):
            whole.request_id[at] = <uint8_t>self.draw(256)
        whole.budget_us = 0 if self.draw(4) == 0 else <uint64_t>1 << self.draw(64)
        letter = 97 + self.draw(8)
        for at in range(self.draw(16)):
            whole.tenant[at] = <uint8_t>letter
        for at in range(self.draw(32)):
            whole.surface[at] = <uint8_t>letter

    cdef void turn(self) noexcept nogil:
        """The broker's turn without a socket, and the worker's."""
        cdef int at
        cdef Fields given
        cdef int64_t now_ns = mx_now_ns()
        self.expire(now_ns)
        self.dispatch(now_ns)
        while ring_peek(self.work, &given) > 0:
            ring_advance(self.work)
            self.work_on(&given)
            self.dispatch(mx_now_ns())
        while ring_peek(self.released, &given) > 0:
            ring_advance(self.released)
        if self.question_count == QUESTIONS_MAX or self.draw(4) == 0:
            for at in range(self.question_count):
                self.answer(&self.questions[at], OK, self.huge, 64, NULL, 0, -1, NULL)
            self.question_count = 0

    cdef void work_on(self, const Fields* given) noexcept nogil:
        """Settle one request; now and then with a forged descriptor first, as a worker gone wild would write."""
        cdef Fields done = given[0], wild
        cdef Place* place = &self.places.at[0]
        cdef uint32_t block = <uint32_t>self.draw(self.arena.block_count)
        done.status = <uint8_t>self.draw(STATUS_COUNT)
        done.offset = self.arena.start_of(block)
        done.length = <uint32_t>self.draw(min(self.arena.room_of(block), <uint64_t>LONG_BODY) + 1)
        if self.draw(4) == 0:
            wild = done
            self.flip(<uint8_t*>&wild, sizeof(Fields))
            if not self.settle(place, &wild):
                self.forged += 1
            if self.find(given, 0) == NULL:  # the damage had hit nothing that matters
                return
        if not self.settle(place, &done):
            self.unsettled += 1

    cdef int post(self, const Request* to, const mx_reply_frame* head, const uint8_t* body, size_t length,
                  Lend* lend) noexcept nogil:
        """Count a reply; some clients are gone."""
        cdef size_t at
        self.replies += 1
        if (memcmp(head.magic, MAGIC_BYTES, 4) or head.version != WIRE_VERSION or not head.kind & 0x80
                or head.status >= STATUS_COUNT or memcmp(head.request_id, to.request_id, 16)
                or not to.routing_length):
            self.bad_replies += 1
        else:
            self.seen[head.status] += 1
        for at in range(length):
            self.checksum += body[at]
        return UNROUTABLE if self.draw(64) == 0 else SENT
