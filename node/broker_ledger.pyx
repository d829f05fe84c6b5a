"""What the broker knows of every request, and the only record it believes.

A request stays in the ledger, and its slot untouched, until every worker that may read it has returned or died; that it
was answered with TIMEOUT in between changes nothing. Memory is bounded by construction: a table with one entry per
slot, and libzmq's queues, into which small replies are copied and large ones lent from the arena they lie in.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from mixline.ipc import board, counters, seats, wire
from mixline.node import limits

from mixline.ipc.blocks cimport Blocks
from mixline.ipc.clock cimport mx_now_ns
from mixline.ipc.frames cimport (
    KIND_APPLY, KIND_INFO, MX_HEADER_BYTES, OVERLOADED, POISON, STATUS_COUNT, mx_error_body, mx_reply_frame,
    mx_request_frame)
from mixline.ipc.meters cimport ROW_WORDS, Meters, meter_count, meter_record
from mixline.ipc.rings cimport Fields, ring_push
from mixline.ipc.words cimport bell_toll, executing_word, mx_load_acquire, mx_store_release
from mixline.node.broker_peers cimport Peer, Peers
from mixline.node.broker_places cimport WORD, Place, Places
from mixline.node.broker_queue cimport FairQueue
from mixline.node.heaps cimport heap_push, heap_remove

cdef int BROKER_SLEEPING = board.SLEEPING
cdef int CANCEL_WORD = seats.CANCEL * WORD
cdef int N_REPLIES = counters.BROKER_COUNTERS.index("replies")
cdef int N_UNROUTABLE = counters.BROKER_COUNTERS.index("unroutable")
cdef int N_PEER_FULL = counters.BROKER_COUNTERS.index("peer_full")
cdef int N_LENT = counters.BROKER_COUNTERS.index("lent")
cdef int N_LENDS_REFUSED = counters.BROKER_COUNTERS.index("lends_refused")
cdef bytes MAGIC_TEXT = wire.MAGIC
cdef const char* MAGIC_BYTES = MAGIC_TEXT
cdef uint8_t WIRE_VERSION = wire.VERSION
cdef uint64_t LEND_BYTES_MIN = limits.lend_bytes_min
cdef uint64_t PEER_LENT_BYTES_MAX = limits.peer_lent_bytes_max
cdef int64_t RETRY_MIN_US = limits.retry_after_us_min
cdef int64_t RETRY_MAX_US = limits.retry_after_us_max

assert sizeof(mx_reply_frame) == sizeof(mx_request_frame) == MX_HEADER_BYTES == wire.HEADER_BYTES
assert STATUS_COUNT == wire.STATUS_COUNT and OVERLOADED == wire.Status.OVERLOADED.code
assert POISON == wire.Status.POISON.code and KIND_INFO == wire.Kind.INFO and KIND_APPLY == wire.Kind.APPLY
assert seats.LENT_WORDS * 64 >= sum(count for _, count in limits.arena_plan)


cdef void lend_returned(void* data, void* hint) noexcept nogil:
    """libzmq is done with a lent reply. On libzmq's thread: a store and perhaps an eventfd, nothing else."""
    cdef Lend* lend = <Lend*>hint
    cdef const uint64_t* sleeping = lend.sleeping
    cdef int bell_fd = lend.bell_fd
    mx_store_release(&lend.returned, 1)  # SYNC POINT: lend returned
    bell_toll(sleeping, bell_fd)


cdef class Ledger:
    """``notice_board`` is the broker's; ``slot_memory`` all slots, writable; ``weights`` the tenants' shares."""

    def __cinit__(self, notice_board, slot_memory, Places places, Meters meters, int life, weights, **_):
        cdef unsigned char[::1] memory = slot_memory
        cdef uint32_t slot
        self.places, self.meters, self.life = places, meters, life
        self.slot_memory, self.slot_bytes = slot_memory, &memory[0]
        self.counters = notice_board.counters.words
        self.board_words = notice_board.words
        self.sleeping = self.board_words.at(BROKER_SLEEPING)
        self.bell_fd = notice_board.bell.fd
        self.slots, self.arena = Blocks(limits.slot_plan), Blocks(limits.arena_plan)
        self.queue = FairQueue(self.slots.block_count, weights)
        self.peers = Peers(self.slots.block_count + LENDS_MAX + 1)
        self.requests = <Request*>calloc(self.slots.block_count, sizeof(Request))
        self.deadlines.place = <uint32_t*>malloc(self.slots.block_count * sizeof(uint32_t))
        self.writes.place = <uint32_t*>malloc(self.slots.block_count * sizeof(uint32_t))
        if self.requests == NULL or self.deadlines.place == NULL or self.writes.place == NULL:
            raise MemoryError()
        memset(self.deadlines.place, 0xFF, self.slots.block_count * sizeof(uint32_t))
        memset(self.writes.place, 0xFF, self.slots.block_count * sizeof(uint32_t))
        for slot in range(LENDS_MAX):
            self.lends[slot].sleeping, self.lends[slot].bell_fd = self.sleeping, self.bell_fd

    def __dealloc__(self):
        free(self.requests)
        free(self.deadlines.place)
        free(self.deadlines.entries)
        free(self.writes.place)
        free(self.writes.entries)

    cdef int post(self, const Request* to, const mx_reply_frame* head, const uint8_t* body, size_t length,
                  Lend* lend) noexcept nogil:
        """Send one message; the transport's part."""
        return UNROUTABLE

    cdef void count(self, int counter) noexcept nogil:
        meter_count(self.counters.base, counter, 1)

    # -- coming and going ------------------------------------------------------------------------------------------

    cdef int enter(self, const Request* fresh, uint64_t length) noexcept nogil:
        """A slot with the request entered and queued, or -1 when no slot of its size is free."""
        cdef int64_t slot = self.slots.take_block(length)
        cdef Request* request
        cdef Peer* peer
        cdef int run
        if slot < 0:
            return -1
        request = &self.requests[slot]
        memcpy(request, fresh, sizeof(Request))
        request.generation, request.length = self.slots.generations[slot], <uint32_t>length
        for run in range(RUNS_MAX):
            request.runs[run].seat = -1
        if heap_push(&self.deadlines, <uint32_t>slot, <uint64_t>request.deadline_ns, 0):
            self.slots.give_block(<uint32_t>slot)
            return -1
        peer = &self.peers.pool[request.peer]
        peer.open_requests += 1
        self.waiting += 1
        self.enqueue(<uint32_t>slot)
        return <int>slot

    cdef void enqueue(self, uint32_t slot) noexcept nogil:
        """Queue a request, new or back from a worker that died."""
        cdef Request* request = &self.requests[slot]
        request.state = QUEUED
        if request.kind == KIND_APPLY:
            heap_push(&self.writes, slot, <uint64_t>request.arrived_ns, 0)
            return
        self.queue.push(slot, request.tenant, request.priority, request.deadline_ns, request.cost_ns, request.length)

    cdef bint running(self, const Request* request) noexcept nogil:
        """Whether some worker may still read the request's slot."""
        return request.runs[0].seat >= 0 or request.runs[1].seat >= 0

    cdef void finish(self, uint32_t slot) noexcept nogil:
        """The peer has its one reply. The slot stays while a worker may read it."""
        cdef Request* request = &self.requests[slot]
        cdef Peer* peer = &self.peers.pool[request.peer]
        if request.answered:
            return
        request.answered = True
        self.waiting -= 1
        heap_remove(&self.deadlines, slot)
        self.queue.remove(slot)
        heap_remove(&self.writes, slot)
        peer.open_requests -= 1
        self.peers.leave(request.peer)

    cdef void forget(self, uint32_t slot) noexcept nogil:
        """Free the slot if nobody reads it any more."""
        if self.requests[slot].state != FREE and not self.running(&self.requests[slot]):
            self.requests[slot].state = FREE
            self.slots.give_block(slot)

    cdef void cancel(self, uint32_t slot) noexcept nogil:
        """Tell every worker that still runs the request that nobody waits for it."""
        cdef Request* request = &self.requests[slot]
        cdef Run* run
        cdef int at
        for at in range(RUNS_MAX):
            run = &request.runs[at]
            if run.seat >= 0:  # SYNC POINT: cancel word
                mx_store_release(&self.places.at[run.seat].words[CANCEL_WORD],
                                 executing_word(slot, request.generation, run.attempt))

    cdef Run* find(self, const Fields* done, int32_t seat) noexcept nogil:
        """The run that a worker's descriptor names, if that worker may name it; else NULL."""
        cdef Request* request
        cdef int at
        if done.slot >= self.slots.block_count:
            return NULL
        request = &self.requests[done.slot]
        if request.state != RUNNING or request.generation != done.generation:
            return NULL
        for at in range(RUNS_MAX):
            if request.runs[at].seat == seat and request.runs[at].attempt == done.attempt:
                return &request.runs[at]
        return NULL

    # -- replies -----------------------------------------------------------------------------------------------------

    cdef void answer(self, const Request* request, int status, const uint8_t* body, size_t length, const Fields* made,
                     int32_t seat, int64_t retry_after_ns, Lend* lend) noexcept nogil:
        """Send a reply; ``made`` is the descriptor of the worker in ``seat``, NULL when none was involved."""
        cdef mx_reply_frame head
        cdef int64_t spent_us = (mx_now_ns() - request.arrived_ns) // 1000
        cdef uint64_t* row = self.meters.base + request.surface * 2 * ROW_WORDS
        cdef int sent
        memset(&head, 0, sizeof(head))
        memcpy(head.magic, MAGIC_BYTES, 4)
        head.version, head.kind, head.status = WIRE_VERSION, request.kind | 0x80, <uint8_t>status
        memcpy(head.request_id, request.request_id, 16)
        head.server_us = <uint64_t>spent_us
        if retry_after_ns >= 0:
            head.retry_after_us = <uint32_t>min(max(retry_after_ns // 1000, RETRY_MIN_US), RETRY_MAX_US)
        head.attempt = <uint16_t>request.attempts
        if made != NULL:
            head.epoch, head.live_seq, head.config_generation = made.epoch, made.live_seq, made.config_generation
            head.seat, head.attempt = <uint16_t>seat, made.attempt
        sent = self.post(request, &head, body, length, lend)
        self.count(N_REPLIES if sent == SENT else N_UNROUTABLE if sent == UNROUTABLE else N_PEER_FULL)
        meter_count(row, status, 1)
        if status != OVERLOADED:
            meter_record(row, spent_us)

    cdef void refuse(self, const Request* request, int status, const char* text, int64_t retry_after_ns) noexcept nogil:
        """Send a reply that is no answer; ``retry_after_ns`` -1 gives no advice."""
        cdef uint8_t body[256]
        cdef int length = mx_error_body(body, text)
        self.answer(request, status, body, <size_t>length, NULL, 0, retry_after_ns, NULL)

    cdef Lend* lend(self, Place* place, Request* request, uint32_t block, const Fields* done) noexcept nogil:
        """A token under which libzmq may send a large reply from where it lies; NULL when it is to be copied by libzmq.

        At most half of the blocks of a size are lent, so a worker always finds one for the next reply; beyond that we
        copy, and the copy counts against the peer as a lent block does.
        """
        cdef int size_class = self.arena.class_of(block)
        cdef Peer* peer = &self.peers.pool[request.peer]
        cdef bint enough = 2 * (place.lent_of_class[size_class] + 1) <= self.arena.classes[size_class].count
        cdef void* copied = NULL
        cdef int at
        cdef Lend* lend
        if not self.lends_out or done.length < LEND_BYTES_MIN or self.lend_count == LENDS_MAX:
            return NULL
        if not enough:
            copied = malloc(done.length)
            if copied == NULL:
                return NULL
            memcpy(copied, place.arena + done.offset, done.length)
        for at in range(LENDS_MAX):
            if not self.lends[at].used:
                break
        lend = &self.lends[at]
        lend.used, lend.returned, lend.seat, lend.peer = True, 0, place.seat, request.peer
        lend.block, lend.size_class, lend.offset, lend.length = block, size_class, done.offset, done.length
        lend.copied = copied
        self.lend_count += 1
        peer.lends += 1
        peer.lent_bytes += done.length
        if copied == NULL:
            place.lent_of_class[size_class] += 1
            self.mark(place, block, True)
            self.count(N_LENT)
        return lend

    cdef void mark(self, Place* place, uint32_t block, bint lent) noexcept nogil:
        """Show the seat's next worker which blocks are not its own yet."""
        cdef uint64_t* word = &place.lent_words[block // 64]
        cdef uint64_t bit = <uint64_t>1 << (block % 64)
        mx_store_release(word, word[0] | bit if lent else word[0] & ~bit)  # SYNC POINT: lent words

    cdef void release(self, Place* place, uint64_t offset, bint taken) noexcept nogil:
        """Give a block of its arena back to the worker; ``taken``: what lay in it was the request's one reply."""
        cdef Fields fields
        memset(&fields, 0, sizeof(fields))
        fields.life, fields.offset, fields.status = self.life, offset, taken
        if ring_push(place.released, &fields) != 1:
            place.broken = True  # the ring has room for every block, so its index was tampered with

    cdef void reclaim(self) noexcept nogil:
        """Take back what libzmq has sent. The block is released before its bit falls: a worker that starts between the
        two finds the block taken and the release in its ring."""
        cdef int at
        cdef Lend* lend
        cdef Place* place
        cdef Peer* peer
        for at in range(LENDS_MAX):
            if not self.lend_count:
                return
            lend = &self.lends[at]
            if not lend.used or not mx_load_acquire(&lend.returned):  # SYNC POINT: lend returned
                continue
            if lend.copied != NULL:
                free(lend.copied)
            else:
                place = &self.places.at[lend.seat]
                self.release(place, lend.offset, True)
                self.mark(place, lend.block, False)
                place.lent_of_class[lend.size_class] -= 1
            peer = &self.peers.pool[lend.peer]
            peer.lends -= 1
            peer.lent_bytes -= lend.length
            self.peers.leave(lend.peer)
            lend.used = False
            self.lend_count -= 1

    def reserve(self, uint32_t slot) -> bool:
        """Take a slot that a worker of the life before still reads; False when it is no free slot."""
        if slot >= self.slots.block_count or self.slots.is_taken(slot):
            return False
        self.slots.reserve(slot)
        return True

    def unreserve(self, uint32_t slot) -> None:
        """The reader of a reserved slot is gone, or has come over to this life."""
        self.slots.give(slot)
