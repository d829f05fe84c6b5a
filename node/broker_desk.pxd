"""The rules by which requests come in, run, and end; a transport adds the socket."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from mixline.ipc.rings cimport Fields
from mixline.node.broker_ledger cimport Lend, Request
from mixline.node.broker_patience cimport Patience
from mixline.node.broker_places cimport Place

cdef enum:
    QUESTIONS_MAX = 16
    TEXT_BYTES = 256

# A message as a transport received it; the bytes stay the transport's.
cdef struct Incoming:
    const uint8_t* routing
    size_t routing_length
    bint delimiter
    int frames  # after the envelope
    const uint8_t* head
    size_t head_length
    const uint8_t* body
    size_t body_length


cdef class Desk(Patience):
    cdef Request fresh
    cdef Request questions[QUESTIONS_MAX]
    cdef readonly int question_count
    cdef public bint draining
    cdef public bint ever_ready
    cdef public bint sharing
    cdef public bint writable  # there is a writer, or will be when something is to be written
    cdef bint broken  # some place is

    cdef void consider(self, const Incoming* message) noexcept nogil
    cdef bint malformed(self, const Incoming* message, char* text) noexcept nogil
    cdef void admit(self, Request* fresh, const Incoming* message) noexcept nogil
    cdef bint shut(self, Request* fresh) noexcept nogil
    cdef bint crowded(self, const Request* fresh, uint64_t length, char* text) noexcept nogil
    cdef void dispatch(self, int64_t now_ns) noexcept nogil
    cdef bint claim(self, uint32_t slot, int64_t now_ns) noexcept nogil
    cdef void accompany(self, uint32_t slot, int number, int64_t now_ns) noexcept nogil
    cdef void expire(self, int64_t now_ns) noexcept nogil
    cdef bint settle(self, Place* place, const Fields* done) noexcept nogil
    cdef bint reply(self, Request* request, Place* place, const Fields* done, uint32_t block) noexcept nogil
