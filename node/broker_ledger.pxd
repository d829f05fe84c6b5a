"""What the broker knows of every request, and the one way by which a reply leaves; a transport adds :meth:`post`."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from mixline.ipc.blocks cimport Blocks
from mixline.ipc.frames cimport mx_reply_frame
from mixline.ipc.meters cimport Meters
from mixline.ipc.rings cimport Fields
from mixline.ipc.words cimport Words
from mixline.node.broker_peers cimport Peers
from mixline.node.broker_places cimport Place, Places
from mixline.node.broker_queue cimport FairQueue
from mixline.node.heaps cimport Heap

cdef enum:
    ROUTING_MAX = 255
    RUNS_MAX = 2  # a request and its hedge
    LENDS_MAX = 1024

cdef enum RequestState:
    FREE
    QUEUED
    RUNNING

# How a message left.
cdef enum Sent:
    SENT
    UNROUTABLE
    PEER_FULL

# One start of a request on a worker; seat -1: over.
cdef struct Run:
    int64_t started_ns
    int32_t seat
    uint32_t attempt
    uint32_t company  # requests that the worker got at once

cdef struct Request:
    int64_t arrived_ns
    int64_t deadline_ns
    int64_t cost_ns
    int64_t foreseen_ns  # how long it would wait, as reckoned when it came
    uint64_t digest    # 0: not made
    Run runs[RUNS_MAX]
    uint32_t generation
    uint32_t length
    uint32_t attempts
    int32_t peer
    int32_t surface
    int32_t tenant
    uint8_t state
    uint8_t answered
    uint8_t kind
    uint8_t priority
    uint8_t deaths     # workers that died while executing it
    uint8_t crashes    # of those, the deaths that the request may have caused: a fault, an abort, a hang
    uint8_t hedged
    uint8_t on_trial   # its bytes killed a worker, and this is the copy that is tried again
    uint8_t delimiter
    uint8_t request_id[16]
    uint8_t routing_length
    uint8_t routing[ROUTING_MAX]

# A large reply that libzmq sends from where it lies: in a worker's arena, or in a copy of ours when the arena has lent
# its share. `returned` is set on libzmq's own thread.
cdef struct Lend:
    uint64_t returned
    const uint64_t* sleeping
    int bell_fd
    bint used
    int32_t seat
    int32_t peer
    uint32_t block
    int size_class
    uint64_t offset
    uint32_t length
    void* copied  # NULL: in the arena


cdef void lend_returned(void* data, void* hint) noexcept nogil


cdef class Ledger:
    cdef readonly Blocks slots
    cdef readonly FairQueue queue
    cdef readonly Peers peers
    cdef readonly Places places
    cdef Blocks arena
    cdef Meters meters
    cdef Words counters
    cdef Words board_words
    cdef object slot_memory
    cdef uint64_t* sleeping
    cdef uint8_t* slot_bytes
    cdef Request* requests
    cdef Heap deadlines
    cdef Heap writes  # requests for the writer, in the order in which they came; not in the queue
    cdef Lend lends[LENDS_MAX]
    cdef readonly int lend_count
    cdef readonly bint lends_out     # whether the transport can lend
    cdef readonly uint32_t life
    cdef readonly uint32_t waiting   # requests whose peer has no reply yet
    cdef int bell_fd

    cdef int post(self, const Request* to, const mx_reply_frame* head, const uint8_t* body, size_t length,
                  Lend* lend) noexcept nogil
    cdef void count(self, int counter) noexcept nogil
    cdef int enter(self, const Request* fresh, uint64_t length) noexcept nogil
    cdef void enqueue(self, uint32_t slot) noexcept nogil
    cdef void answer(self, const Request* request, int status, const uint8_t* body, size_t length, const Fields* made,
                     int32_t seat, int64_t retry_after_ns, Lend* lend) noexcept nogil
    cdef void refuse(self, const Request* request, int status, const char* text, int64_t retry_after_ns) noexcept nogil
    cdef void finish(self, uint32_t slot) noexcept nogil
    cdef void forget(self, uint32_t slot) noexcept nogil
    cdef void cancel(self, uint32_t slot) noexcept nogil
    cdef bint running(self, const Request* request) noexcept nogil
    cdef Run* find(self, const Fields* done, int32_t seat) noexcept nogil
    cdef Lend* lend(self, Place* place, Request* request, uint32_t block, const Fields* done) noexcept nogil
    cdef void mark(self, Place* place, uint32_t block, bint lent) noexcept nogil
    cdef void release(self, Place* place, uint64_t offset, bint taken) noexcept nogil
    cdef void reclaim(self) noexcept nogil
