"""The message loop of one worker."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from mixline.ipc.blocks cimport Blocks
from mixline.ipc.rings cimport Fields, Side

cdef enum:
    BATCH_MAX = 64
    BLOCKS_MAX = 1024

cdef class WorkerLoop:
    cdef readonly Blocks blocks
    cdef public bint leaving
    cdef readonly uint64_t life
    cdef object seat
    cdef object board
    cdef object slots
    cdef object answer
    cdef object answer_many
    cdef object engine  # names what replies are made on
    cdef Side* work
    cdef Side* done
    cdef Side* released
    cdef uint64_t* words
    cdef uint64_t* lent_words
    cdef uint64_t* counts
    cdef const uint64_t* board_words
    cdef uint8_t* arena
    cdef const uint8_t* slot_bytes
    cdef Fields current
    cdef Fields batch[BATCH_MAX]
    cdef int batched
    cdef uint64_t executing
    cdef int unrung  # replies published of which the broker was not told
    cdef int64_t published  # block of the latest reply, -1 when there is none
    cdef dict effects  # by number, of replies of which the broker has not yet said what became
    cdef int64_t effects_kept
    cdef object effects_due  # of replies that were sent
    cdef uint64_t effects_life
    cdef int effects_open  # of these how many have not come back
    cdef bint overdue  # an effect is due that work kept waiting: it goes before the next sleep
    cdef int look_ms  # the next look for them
    cdef int64_t told[BLOCKS_MAX]  # effects whose block came back, less than 0 when its reply was not the one
    cdef int told_count
    cdef int64_t awaited[BLOCKS_MAX]  # the effect of the reply in a block, 0: it has none
    cdef int64_t restless_ms  # until Python wants to be called while nothing is asked, 0: it does not
    cdef int bell_fd
    cdef int broker_bell_fd
    cdef int wake_fd

    cdef uint64_t board_life(self) noexcept nogil
    cdef void toll(self) noexcept nogil
    cdef void ring(self) noexcept nogil
    cdef void beat(self) noexcept nogil
    cdef void join(self) noexcept nogil
    cdef bint step(self) noexcept nogil
    cdef bint next(self) noexcept nogil
    cdef void echo(self) noexcept nogil
    cdef void execute(self, uint64_t word) noexcept nogil
    cdef bint open_request(self) noexcept nogil
    cdef void sleep(self) noexcept nogil
    cdef bint linger(self) noexcept nogil
    cdef int64_t take_block(self, uint64_t length, int64_t deadline_ns) noexcept nogil
    cdef void take_back(self) noexcept nogil
    cdef void publish(self, int status, const uint8_t* body, uint64_t length, int64_t started_ns) noexcept nogil
    cdef int serve_ask(self) except -1
    cdef object open_batch(self)
    cdef int serve_batch(self, list asks) except -1
    cdef bint cancelled(self, uint64_t word) noexcept nogil
    cdef int keep_effect(self) except -1
    cdef int end_life(self) except -1
    cdef int run_effects(self, bint leaving) except -1
    cdef int publish_answer(self, int status, answer, int64_t started_ns) except -1


cdef class Pulse:
    cdef WorkerLoop loop
    cdef uint64_t word
