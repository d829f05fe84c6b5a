"""Single-producer single-consumer rings of 64-byte descriptors; bodies here, so that a loop in C inlines them."""

from cpython.buffer cimport Py_buffer
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from mixline.ipc.checks cimport mx_check
from mixline.ipc.words cimport mx_load_acquire, mx_load_relaxed, mx_store_release

# `life` names the broker process that a descriptor belongs to; `generation` the use of the slot; `attempt` the try.
cdef packed struct Fields:
    uint32_t slot
    uint32_t generation
    uint32_t life
    uint16_t attempt
    uint8_t status
    uint8_t kind
    uint64_t offset
    uint32_t length
    uint32_t server_us
    uint64_t epoch
    uint64_t live_seq
    uint64_t config_generation
    uint64_t deadline_ns

# Producer and consumer write to different cache lines, two apart: the prefetcher fetches lines in pairs.
cdef struct Lines:
    uint64_t tail
    uint64_t pad_tail[15]
    uint64_t head
    uint64_t pad_head[15]

# One side's own view. `seen` is the last value read of the other side's index, so that its line is touched rarely.
cdef struct Side:
    Lines* lines
    Fields* entries
    uint64_t capacity
    uint64_t own
    uint64_t seen


cdef inline int ring_push(Side* side, const Fields* fields) noexcept nogil:
    """1 when published, 0 when full, -1 when the consumer's index is impossible."""
    if side.own - side.seen >= side.capacity:
        side.seen = mx_load_acquire(&side.lines.head)  # SYNC POINT: ring head
        if side.own - side.seen > side.capacity:
            return -1
        if side.own - side.seen == side.capacity:
            return 0
    mx_check(side.own - side.seen < side.capacity, "ring: a push would overwrite what was not consumed")
    mx_check(mx_load_relaxed(&side.lines.tail) == side.own, "ring: another producer moved the tail")
    memcpy(&side.entries[side.own & (side.capacity - 1)], fields, sizeof(Fields))
    side.own += 1
    mx_store_release(&side.lines.tail, side.own)  # SYNC POINT: ring tail
    return 1


cdef inline int ring_peek(Side* side, Fields* fields) noexcept nogil:
    """1 when copied out, 0 when empty, -1 when the producer's index is impossible."""
    if side.seen == side.own:
        side.seen = mx_load_acquire(&side.lines.tail)  # SYNC POINT: ring tail
        if side.seen - side.own > side.capacity:
            return -1
        if side.seen == side.own:
            return 0
    memcpy(fields, &side.entries[side.own & (side.capacity - 1)], sizeof(Fields))
    return 1


cdef inline void ring_advance(Side* side) noexcept nogil:
    """Give the entry that was peeked back to the producer."""
    mx_check(side.own != side.seen, "ring: advance past the tail")
    mx_check(mx_load_relaxed(&side.lines.head) == side.own, "ring: another consumer moved the head")
    side.own += 1
    mx_store_release(&side.lines.head, side.own)  # SYNC POINT: ring head


cdef class Descriptor:
    cdef Fields fields


cdef class RingSide:
    cdef Py_buffer view
    cdef bint held
    cdef Side side

    cdef int map(self, buffer, Py_ssize_t offset, Py_ssize_t capacity, bint produces) except -1


cdef class Producer(RingSide):
    cpdef bint push(self, Descriptor descriptor) except -1


cdef class Consumer(RingSide):
    cpdef bint peek(self, Descriptor into) except -1
    cpdef int advance(self) except -1
    cpdef bint pop(self, Descriptor into) except -1
