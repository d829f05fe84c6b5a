"""The loop around the rules: messages in, replies out, sleep; it returns to Python for what Python decides."""

from libc.stdint cimport int64_t

from mixline.node.broker_desk cimport Desk

# Why the loop came back; bits.
cdef enum Reason:
    TIME = 1      # the tick is due
    CONTROL = 2   # the supervisor wrote
    QUESTION = 4  # somebody asked INFO
    BROKEN = 8    # a worker must go
    ARRIVED = 16  # a worker has become ready


cdef class Loop(Desk):
    cdef int socket_fd
    cdef int control_fd
    cdef int64_t glance_at_ns

    cdef int receive(self) noexcept nogil
    cdef bint readable(self) noexcept nogil
    cdef int serve(self, int64_t until_ns) noexcept nogil
    cdef int reasons(self, int64_t now_ns, int64_t until_ns) noexcept nogil
    cdef void pause(self) noexcept nogil
    cdef void doze(self) noexcept nogil
    cdef int sleep(self, int64_t until_ns) noexcept nogil
