"""The message loop of one worker."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from mixline.ipc.blocks cimport Blocks
from mixline.ipc.rings cimport Fields, Side

cdef enum:
    BATCH_MAX = 64

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
    cdef int publish_answer(self, int status, answer, int64_t started_ns) except -1


cdef class Pulse:
    cdef WorkerLoop loop
    cdef uint64_t word
