"""The record of one run and the seam to a transport: the loop is written once and knows neither ZeroMQ nor HTTP."""

from libc.stddef cimport size_t
from libc.stdint cimport int16_t, int64_t, uint16_t, uint32_t


cdef extern from "<poll.h>" nogil:
    cdef struct pollfd:
        int fd
        short events
        short revents

    const int POLLIN

cdef enum:
    PENDING = -1  # no reply yet
    FAILED = -2  # the connection broke under it, or it could not be sent

ctypedef struct Fragment:
    const char* data
    size_t size

ctypedef struct Record:
    int64_t total, start_ns, first_id
    int64_t* due_ns  # offsets from start: given by the schedule, or written at the send in a closed loop
    const uint32_t* which  # the prepared request of each shot
    int16_t* status
    int64_t* latency_ns
    int64_t* lateness_ns
    int64_t* reply_bytes
    uint16_t* attempt
    int64_t noticed, sent, done  # shots whose time has come, that left, that are settled
    int64_t doubled, strangers, malformed, reconnects, wrong
    bint more  # the last receive stopped before the transport was empty
    int16_t good  # the status whose body is checked against the fragments
    const Fragment* fragments  # of request w: fragments[bounds[w] : bounds[w + 1]]
    const uint32_t* bounds
    int64_t keep_every  # bodies of every n-th shot are kept; 0 keeps none
    char** kept
    int64_t* kept_bytes


cdef int64_t now_ns() noexcept nogil
cdef void settle(Record* record, int64_t request_id, int status, const char* body, size_t size,
                 int attempt) noexcept nogil


cdef class Transport:
    cdef pollfd* waits  # what announces replies; owned by the transport
    cdef int wait_count
    cdef readonly int request_count
    cdef int16_t good
    cdef int start(self) except -1
    cdef bint send(self, Record* record, int64_t shot) noexcept nogil
    cdef int receive(self, Record* record, int64_t until_ns) noexcept nogil
    cdef int finish(self) except -1
