"""The loop of a worker: takes work off its ring, answers ECHO itself, hands an ASK to Python, publishes the reply.

It holds the GIL only while Python answers. It trusts nothing but the broker's life number on the board: work of another
life is skipped without reading its slot, and on a new life every arena block is free again but those still lent.
"""

from collections import deque
from time import sleep as sleep_s

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.time cimport nanosleep, timespec

from mixline.ipc import board, counters, seats
from mixline.node import limits

from mixline.ipc.clock cimport mx_now_ns
from mixline.ipc.frames cimport KIND_ECHO, MX_HEADER_BYTES, OK, OVERLOADED, TOO_LARGE, mx_error_body
from mixline.ipc.meters cimport meter_count
from mixline.ipc.rings cimport Consumer, Fields, Producer, ring_advance, ring_peek, ring_push
from mixline.ipc.waits cimport POLLIN, poll, pollfd, sched_yield
from mixline.ipc.words cimport (
    Words, bell_lie_down, bell_rise, bell_rouse, bell_toll, executing_word, mx_fence, mx_load_acquire, mx_load_relaxed,
    mx_store_release)


cdef enum:
    WORD = 8
    ECHO_BATCH = 16

cdef int BEAT_WORD = seats.BEAT * WORD
cdef int EXECUTING_WORD = seats.EXECUTING * WORD
cdef int ATTACHED_WORD = seats.ATTACHED * WORD
cdef int SLEEPING_WORD = seats.SLEEPING * WORD
cdef int CANCEL_WORD = seats.CANCEL * WORD
cdef int LIFE_WORD = board.LIFE * WORD
cdef int BROKER_SLEEPING_WORD = board.SLEEPING * WORD
cdef int N_ASKS = counters.WORKER_COUNTERS.index("asks")
cdef int N_ECHOES = counters.WORKER_COUNTERS.index("echoes")
cdef int N_TOO_LARGE = counters.WORKER_COUNTERS.index("too_large")
cdef int N_ARENA_WAITS = counters.WORKER_COUNTERS.index("arena_waits")
cdef int N_BUSY_NS = counters.WORKER_COUNTERS.index("busy_ns")
cdef int N_STALE = counters.WORKER_COUNTERS.index("stale")
cdef int N_WAKES = counters.WORKER_COUNTERS.index("wakes")
cdef uint64_t REPLY_BYTES_MAX = limits.reply_bytes_max
cdef int BEAT_IDLE_MS = limits.beat_idle_ms
cdef uint64_t EXECUTING_ALL = seats.EXECUTING_ALL
cdef int64_t NEVER_NS = 1 << 62
cdef int64_t LINGER_NS = 500_000
cdef int EFFECT_LOOK_MS = 1
cdef int EFFECTS_MAX = limits.effects_max
cdef int LEAVE_LOOKS = 200  # of a millisecond, for the broker to say what became of the last replies
cdef uint32_t TOUCHED_MIN = 128   # blocks of the arena, whose pages are given back when it is calm


assert sum(count for _, count in limits.arena_plan) <= BLOCKS_MAX


cdef inline uint64_t word_of(const Fields* request) noexcept nogil:
    return executing_word(request.slot, request.generation, request.attempt)


cdef class Pulse:
    """The :meth:`WorkerLoop.pulse` of one request of several."""

    def __call__(self) -> bool:
        return self.loop.cancelled(self.word)


cdef class WorkerLoop:
    """``seat`` is the :class:`~mixline.ipc.seats.WorkerSide`; ``slots`` all slots, read-only; ``wake_fd`` becomes
    readable when a signal came; ``answer(slot, queued_us, deadline_ns)`` gives (status code, body);
    ``answer_many(asks, turn)``, with (message, queued_us, deadline_ns, pulse) of each, gives (place, status code, body)
    of each as it is ready, and tells ``turn`` whose work comes next, None for what all have a share in."""

    def __cinit__(self, seat, notice_board, slots, int wake_fd, answer, answer_many):
        cdef Consumer work = seat.work, released = seat.released
        cdef Producer done = seat.done
        cdef Words words = seat.words, lent = seat.lent, counts = seat.counters.words, board_words = notice_board.words
        cdef unsigned char[::1] arena = seat.arena
        cdef const unsigned char[::1] slot_bytes = slots
        self.seat, self.board, self.slots = seat, notice_board, slots
        self.answer, self.answer_many = answer, answer_many
        self.work, self.done, self.released = &work.side, &done.side, &released.side
        self.words, self.lent_words, self.counts = words.base, lent.base, counts.base
        self.board_words = board_words.base
        self.arena, self.slot_bytes = &arena[0], &slot_bytes[0]
        self.bell_fd, self.broker_bell_fd, self.wake_fd = seat.bell.fd, notice_board.bell.fd, wake_fd
        self.blocks = Blocks(limits.arena_plan)
        self.effects, self.effects_due, self.published = {}, deque(), -1

    def run(self, engine) -> None:
        """Serve until told to leave; the request in hand is always finished. ``engine`` has ``epoch_number``,
        ``live_seq`` and perhaps ``config_generation``, which name what its replies are made on. It may have ``effect``:
        what is to be done once its latest reply was sent, with ``run_effect(effect)`` and ``idle(waits)``."""
        cdef bint asked
        self.engine = engine
        while not self.leaving:
            with nogil:
                asked = self.next()
            if asked:
                self.serve_ask()
                if self.told_count + len(self.effects_due) > EFFECTS_MAX:
                    self.run_effects(False)
            elif self.told_count or self.effects_due or self.effects_open or self.restless_ms:
                self.run_effects(False)
            PyErr_CheckSignals()
        self.run_effects(True)

    def serve_waiting(self, engine) -> int:
        """For tests: serve what waits without sleeping; how many requests."""
        cdef int many = 0
        self.engine = engine
        before = self.work.own
        while self.step():
            self.serve_ask()
            many += 1
        self.take_back()
        self.run_effects(False)
        return self.work.own - before

    def attach(self) -> None:
        """Join the broker's present life."""
        self.join()

    def pulse(self) -> bool:
        """Called by the engine between slices of work: beat, and say whether to stop, since nobody waits any more."""
        return self.cancelled(self.executing)

    cdef bint cancelled(self, uint64_t word) noexcept nogil:
        self.beat()
        return (mx_load_acquire(&self.words[CANCEL_WORD]) == word  # SYNC POINT: cancel word
                or self.board_life() != self.life)

    def turn(self, at) -> None:
        """Whose work is done from here on, by its place in the batch; None: all that are in it have a share."""
        self.execute(EXECUTING_ALL if at is None else word_of(&self.batch[<int>at]))
        self.beat()

    cdef uint64_t board_life(self) noexcept nogil:
        return mx_load_acquire(&self.board_words[LIFE_WORD])  # SYNC POINT: broker life

    cdef void toll(self) noexcept nogil:
        bell_toll(&self.board_words[BROKER_SLEEPING_WORD], self.broker_bell_fd)

    cdef void ring(self) noexcept nogil:
        """Tell the broker of what was published and not yet told: an ask at once, echoes by the batch."""
        if self.unrung:
            self.unrung = 0
            self.toll()

    cdef void beat(self) noexcept nogil:
        """Tell the broker that this process still runs."""
        mx_store_release(&self.words[BEAT_WORD], <uint64_t>mx_now_ns())  # SYNC POINT: beat

    cdef void join(self) noexcept nogil:
        """The old broker is dead, so nobody holds a block of the arena but what this life has lent from an earlier
        worker in this seat. Those come back through the ring; a release of a block not taken is of no concern."""
        cdef uint32_t block
        cdef uint64_t lent = 0
        self.life = self.board_life()
        self.blocks.clear()
        for block in range(self.blocks.block_count):
            if not block % 64:
                lent = mx_load_acquire(&self.lent_words[block // 64])  # SYNC POINT: lent words
            if lent >> (block % 64) & 1:
                self.blocks.reserve_block(block)
        self.take_back()
        mx_store_release(&self.words[ATTACHED_WORD], self.life)  # SYNC POINT: attached life
        self.toll()

    cdef bint next(self) noexcept nogil:
        """Serve echoes and sleep until an ask is at hand (True) or Python must look for signals (False)."""
        cdef bint asked
        while True:
            asked = self.step()
            if asked:
                return True
            if self.work.seen != self.work.own:
                continue
            bell_rouse(&self.board_words[BROKER_SLEEPING_WORD], self.broker_bell_fd)
            sched_yield()  # whoever waits for this core may have more work for us; then it comes without a wake-up
            if mx_load_relaxed(&self.work.lines.tail) != self.work.own:
                continue
            if self.told_count or self.overdue:
                return False
            self.sleep()
            return False

    cdef bint step(self) noexcept nogil:
        """Take work until an ask is at hand (True) or the ring is empty (False)."""
        cdef int got
        if self.board_life() != self.life:
            self.join()
        while True:
            got = ring_peek(self.work, &self.current)
            if got <= 0 or self.unrung == ECHO_BATCH:
                self.ring()
            if got <= 0:
                return False
            ring_advance(self.work)
            if not self.open_request():
                continue
            if self.current.kind != KIND_ECHO:
                return True
            self.echo()

    cdef void execute(self, uint64_t word) noexcept nogil:
        """Say which attempt at which request is being executed; 0: none."""
        self.executing = word
        mx_store_release(&self.words[EXECUTING_WORD], word)  # SYNC POINT: executing word

    cdef bint open_request(self) noexcept nogil:
        """Say which request is executed from here on; False when it belongs to another life."""
        if self.current.life != self.life:
            meter_count(self.counts, N_STALE, 1)
            return False
        self.execute(word_of(&self.current))
        mx_fence()
        # A broker that took over has read the executing word or will be seen here: it never reuses a slot in use.
        if self.board_life() != self.life:
            self.execute(0)
            return False
        self.beat()
        return True

    cdef void echo(self) noexcept nogil:
        """The body back as it came: measures the way and not the work."""
        meter_count(self.counts, N_ECHOES, 1)
        self.publish(OK, self.slot_bytes + self.current.offset + MX_HEADER_BYTES,
                     self.current.length - MX_HEADER_BYTES, 0)

    cdef int serve_ask(self) except -1:
        """Let Python answer the request at hand, and with it those that the broker has given along."""
        cdef int64_t started_ns = mx_now_ns()
        cdef uint64_t offset = self.current.offset
        if mx_load_relaxed(&self.work.lines.tail) != self.work.own:
            asks = self.open_batch()
            if len(asks) > 1:
                return self.serve_batch(asks)
        meter_count(self.counts, N_ASKS, 1)
        slot = self.slots[offset:offset + self.current.length]
        status, answer = self.answer(slot, self.current.server_us, self.current.deadline_ns)
        self.publish_answer(status, answer, started_ns)
        meter_count(self.counts, N_BUSY_NS, <uint64_t>(mx_now_ns() - started_ns))
        return 0

    cdef object open_batch(self):
        """The request at hand and the asks behind it in the ring, each copied out of its slot while the executing word
        names it: a broker that takes over may use the slot again afterwards."""
        cdef Fields ahead
        cdef Pulse pulse
        asks = []
        self.batched = 0
        while True:
            pulse = Pulse()
            pulse.loop, pulse.word = self, self.executing
            message = bytes(self.slots[self.current.offset:self.current.offset + self.current.length])
            asks.append((message, self.current.server_us, self.current.deadline_ns, pulse))
            self.batch[self.batched] = self.current
            self.batched += 1
            if self.batched == BATCH_MAX or ring_peek(self.work, &ahead) <= 0 or ahead.kind == KIND_ECHO:
                return asks
            ring_advance(self.work)
            self.current = ahead
            if not self.open_request():
                self.current = self.batch[self.batched - 1]
                self.execute(word_of(&self.current))
                return asks

    cdef int serve_batch(self, list asks) except -1:
        """Let Python answer several requests in one go; each reply leaves when it is ready."""
        cdef int64_t started_ns = mx_now_ns()
        meter_count(self.counts, N_ASKS, <uint64_t>len(asks))
        for at, status, answer in self.answer_many(asks, self.turn):
            self.current = self.batch[<int>at]
            self.publish_answer(status, answer, started_ns)
        self.execute(0)
        meter_count(self.counts, N_BUSY_NS, <uint64_t>(mx_now_ns() - started_ns))
        return 0

    cdef int publish_answer(self, int status, answer, int64_t started_ns) except -1:
        """A reply that Python made, told to the broker at once."""
        cdef const unsigned char[::1] body
        self.current.epoch = getattr(self.engine, "epoch_number", 0)
        self.current.live_seq = getattr(self.engine, "live_seq", 0)
        self.current.config_generation = getattr(self.engine, "config_generation", 0)
        if len(answer):
            body = answer
            self.publish(status, &body[0], len(answer), started_ns)
        else:
            self.publish(status, NULL, 0, started_ns)
        self.ring()
        if getattr(self.engine, "effect", None) is not None:
            self.keep_effect()
        return 0

    cdef int keep_effect(self) except -1:
        """Keep the effect of the reply that was just published until the broker has said what became of it."""
        effect, self.engine.effect = self.engine.effect, None
        if self.published >= 0:
            if self.effects_life != self.life:
                self.end_life()
            self.effects_open += 1
            self.look_ms = EFFECT_LOOK_MS
            self.effects_kept += 1
            self.awaited[self.published] = self.effects_kept
            self.effects[self.effects_kept] = effect
        return 0

    cdef int end_life(self) except -1:
        """Effects of replies to a broker that is gone count as sent: it cannot say any more what became of them."""
        self.effects_due.extend(self.effects.values())
        self.effects.clear()
        memset(self.awaited, 0, sizeof(self.awaited))
        self.effects_life, self.effects_open = self.life, 0
        self.overdue = len(self.effects_due) > 0
        return 0

    cdef int run_effects(self, bint leaving) except -1:
        """Run what replies that were sent entail, while nothing is asked; all of it at the end, or where much has
        gathered."""
        cdef int at, looks = 0
        while True:
            with nogil:
                self.take_back()
            for at in range(self.told_count):
                effect = self.effects.pop(abs(self.told[at]), None)
                if effect is not None and self.told[at] > 0:
                    self.effects_due.append(effect)
            self.told_count = 0
            if self.effects and (self.effects_life != self.life or self.board_life() != self.life):
                self.end_life()
            if not leaving or not self.effects or looks >= LEAVE_LOOKS:
                break
            looks += 1
            sleep_s(EFFECT_LOOK_MS / 1000)
        while self.effects_due and (leaving or len(self.effects_due) > EFFECTS_MAX // 2 or not self.work_waits()):
            self.beat()
            self.engine.run_effect(self.effects_due.popleft())
        self.overdue = len(self.effects_due) > 0
        if hasattr(self.engine, "idle"):
            self.restless_ms = self.engine.idle(self.work_waits)
        return 0

    def work_waits(self) -> bool:
        """Whether a request is at hand."""
        self.beat()
        return mx_load_relaxed(&self.work.lines.tail) != self.work.own

    cdef void publish(self, int status, const uint8_t* body, uint64_t length, int64_t started_ns) noexcept nogil:
        """Put the reply into the arena and its descriptor onto the ring. ``started_ns`` 0: the time is not told."""
        cdef Fields done = self.current
        cdef uint8_t words[256]
        cdef int64_t block
        self.published = -1
        if length > REPLY_BYTES_MAX:
            meter_count(self.counts, N_TOO_LARGE, 1)
            status, body = TOO_LARGE, words
            length = <uint64_t>mx_error_body(words, "the reply is longer than the 4 MiB that fit: ask for less")
        block = self.take_block(length, <int64_t>self.current.deadline_ns)
        if block < 0 and self.board_life() == self.life:
            # Only a broker that stands still keeps so many replies; the small classes may still have room for a word.
            status, body = OVERLOADED, words
            length = <uint64_t>mx_error_body(words, "the reply found no room in the arena by its deadline")
            block = self.take_block(length, NEVER_NS)
        if block >= 0:  # else the life ended while waiting; nobody expects this reply any more
            self.published, self.awaited[block] = block, 0
            done.status = <uint8_t>status
            done.offset, done.length = self.blocks.start_of(<uint32_t>block), <uint32_t>length
            memcpy(self.arena + done.offset, body, length)
            done.server_us = <uint32_t>min((mx_now_ns() - started_ns) // 1000, <int64_t>0xFFFFFFFF) if started_ns else 0
            while ring_push(self.done, &done) != 1:
                if self.linger():
                    break
            self.unrung += 1
        self.execute(0)

    cdef int64_t take_block(self, uint64_t length, int64_t deadline_ns) noexcept nogil:
        """A block for the reply, waiting for one until ``deadline_ns`` or the end of its life: -1."""
        cdef int64_t block
        self.take_back()
        block = self.blocks.take_block(length)
        while block < 0:
            meter_count(self.counts, N_ARENA_WAITS, 1)
            if self.linger() or mx_now_ns() > deadline_ns:
                return -1
            self.take_back()
            block = self.blocks.take_block(length)
        return block

    cdef void take_back(self) noexcept nogil:
        """Free the blocks that the broker returned; returns of another life were settled when this one began."""
        cdef Fields released
        cdef int64_t block
        while ring_peek(self.released, &released) > 0:
            ring_advance(self.released)
            if released.life == self.life:
                block = self.blocks.find_block(released.offset)
                if block >= 0:
                    if self.awaited[block] and self.told_count < BLOCKS_MAX:
                        self.told[self.told_count] = self.awaited[block] if released.status else -self.awaited[block]
                        self.told_count += 1
                        self.effects_open -= 1
                    self.awaited[block] = 0
                    self.blocks.give_block(<uint32_t>block)

    cdef bint linger(self) noexcept nogil:
        """Beat, sleep a moment; True when the life of the broker that waits for us has ended."""
        cdef timespec pause
        pause.tv_sec, pause.tv_nsec = 0, LINGER_NS
        self.beat()
        self.toll()
        nanosleep(&pause, NULL)
        return self.board_life() != self.life

    cdef void sleep(self) noexcept nogil:
        """Wait for work or a signal; wakes a few times a second to beat and to see a new life."""
        cdef pollfd fds[2]
        cdef uint64_t* flag = &self.words[SLEEPING_WORD]
        cdef int wait_ms = BEAT_IDLE_MS
        if self.effects_open:  # the broker rings no bell when it gives a block back
            wait_ms = self.look_ms
            self.look_ms = min(2 * self.look_ms, BEAT_IDLE_MS)
        if self.restless_ms:
            wait_ms = <int>min(<int64_t>wait_ms, self.restless_ms)
        self.beat()
        bell_lie_down(flag)
        if mx_load_relaxed(&self.work.lines.tail) == self.work.own and self.board_life() == self.life:
            fds[0].fd, fds[1].fd = self.bell_fd, self.wake_fd
            fds[0].events = fds[1].events = POLLIN
            if not poll(fds, 2, wait_ms) and self.blocks.touched > TOUCHED_MIN:
                self.take_back()
                self.blocks.give_back_pages(self.arena)
            meter_count(self.counts, N_WAKES, 1)
        bell_rise(flag, self.bell_fd)
