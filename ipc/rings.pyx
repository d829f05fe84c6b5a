"""Rings that carry descriptors between the broker and one worker, never the bytes themselves.

Both indices live in the shared memory and only ever grow, so a process that was killed and its successor meet at the
same place: what was published stays published, what was not is not. Neither side trusts the other's index.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uintptr_t
from libc.string cimport memset

from mixline.ipc.errors import Corrupt, SegmentError

from mixline.ipc.checks cimport mx_live, mx_live_add
from mixline.ipc.words cimport mx_load_acquire, mx_load_relaxed, mx_store_release

DESCRIPTOR_BYTES = sizeof(Fields)
RING_HEADER_BYTES = sizeof(Lines)
assert DESCRIPTOR_BYTES == 64


def ring_bytes(Py_ssize_t capacity) -> int:
    """Bytes that a ring of ``capacity`` descriptors (a power of two) takes in a segment."""
    if capacity < 2 or capacity & (capacity - 1):
        raise ValueError(f"ring capacity {capacity}: must be a power of two, at least 2")
    return RING_HEADER_BYTES + capacity * DESCRIPTOR_BYTES


def live() -> int:
    """Buffer views that this process holds through this module: the debug build's leak counter, 0 in any other."""
    return mx_live()


cdef class Descriptor:
    """The 64 bytes of one message, reused by its owner for every push or pop. See ``rings.pxd`` for the fields."""

    property slot:
        def __get__(self): return self.fields.slot
        def __set__(self, value): self.fields.slot = value

    property generation:
        def __get__(self): return self.fields.generation
        def __set__(self, value): self.fields.generation = value

    property life:
        def __get__(self): return self.fields.life
        def __set__(self, value): self.fields.life = value

    property attempt:
        def __get__(self): return self.fields.attempt
        def __set__(self, value): self.fields.attempt = value

    property status:
        def __get__(self): return self.fields.status
        def __set__(self, value): self.fields.status = value

    property kind:
        def __get__(self): return self.fields.kind
        def __set__(self, value): self.fields.kind = value

    property offset:
        def __get__(self): return self.fields.offset
        def __set__(self, value): self.fields.offset = value

    property length:
        def __get__(self): return self.fields.length
        def __set__(self, value): self.fields.length = value

    property server_us:
        def __get__(self): return self.fields.server_us
        def __set__(self, value): self.fields.server_us = value

    property epoch:
        def __get__(self): return self.fields.epoch
        def __set__(self, value): self.fields.epoch = value

    property live_seq:
        def __get__(self): return self.fields.live_seq
        def __set__(self, value): self.fields.live_seq = value

    property config_generation:
        def __get__(self): return self.fields.config_generation
        def __set__(self, value): self.fields.config_generation = value

    property deadline_ns:
        def __get__(self): return self.fields.deadline_ns
        def __set__(self, value): self.fields.deadline_ns = value


cdef class RingSide:
    """What both ends share: the mapping and the own index, taken up where the last owner of this end left it."""

    cdef int map(self, buffer, Py_ssize_t offset, Py_ssize_t capacity, bint produces) except -1:
        cdef Py_ssize_t need = ring_bytes(capacity)
        PyObject_GetBuffer(buffer, &self.view, PyBUF_WRITABLE)
        self.held = True
        mx_live_add(1)
        if offset < 0 or offset + need > self.view.len:
            raise SegmentError(f"ring: {need} bytes at {offset} do not fit {self.view.len}")
        cdef char* base = <char*>self.view.buf + offset
        if <uintptr_t>base % 64:
            raise SegmentError(f"ring: offset {offset} is not a multiple of 64")
        self.side.lines = <Lines*>base
        self.side.entries = <Fields*>(base + sizeof(Lines))
        self.side.capacity = capacity
        cdef uint64_t tail = mx_load_acquire(&self.side.lines.tail)  # SYNC POINT: ring take-over
        cdef uint64_t head = mx_load_acquire(&self.side.lines.head)
        if tail - head > <uint64_t>capacity:
            raise Corrupt(f"ring: tail {tail} and head {head} are more than {capacity} apart")
        if produces:
            self.side.own = tail
            self.side.seen = head
        else:
            self.side.own = head
            self.side.seen = tail
        return 0

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)
            mx_live_add(-1)

    def __len__(self) -> int:
        return mx_load_relaxed(&self.side.lines.tail) - mx_load_relaxed(&self.side.lines.head)

    @property
    def position(self) -> int:
        """How many descriptors this end has moved since the ring was made, over all its owners."""
        return self.side.own

    def reset(self) -> None:
        """Empty the ring. Only when no other process uses it: its last user's pidfd said that it is gone."""
        memset(self.side.entries, 0, self.side.capacity * sizeof(Fields))
        self.side.own = 0
        self.side.seen = 0
        self.side.lines.head = 0
        mx_store_release(&self.side.lines.tail, 0)  # SYNC POINT: ring take-over


cdef class Producer(RingSide):
    """The writing end."""

    def __cinit__(self, buffer, Py_ssize_t offset, Py_ssize_t capacity):
        self.held = False
        self.map(buffer, offset, capacity, True)

    cpdef bint push(self, Descriptor descriptor) except -1:
        """Publish a copy; False when the ring is full. Corrupt when the consumer's index is impossible."""
        cdef int done = ring_push(&self.side, &descriptor.fields)
        if done < 0:
            raise Corrupt(f"ring: head {self.side.seen} is impossible for tail {self.side.own}")
        return done


cdef class Consumer(RingSide):
    """The reading end."""

    def __cinit__(self, buffer, Py_ssize_t offset, Py_ssize_t capacity):
        self.held = False
        self.map(buffer, offset, capacity, False)

    cpdef bint peek(self, Descriptor into) except -1:
        """Copy the oldest descriptor without taking it; False when there is none."""
        cdef int done = ring_peek(&self.side, &into.fields)
        if done < 0:
            raise Corrupt(f"ring: tail {self.side.seen} is impossible for head {self.side.own}")
        return done

    cpdef int advance(self) except -1:
        """Take the descriptor that was peeked."""
        if self.side.seen == self.side.own:
            raise Corrupt("ring: advance without a descriptor that was peeked")
        ring_advance(&self.side)
        return 0

    cpdef bint pop(self, Descriptor into) except -1:
        """Copy and take the oldest descriptor; False when there is none."""
        if not self.peek(into):
            return False
        ring_advance(&self.side)
        return True
