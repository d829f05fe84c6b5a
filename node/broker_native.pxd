"""The transport in C."""

from mixline.ipc.libzmq cimport mx_msg, mx_zmq
from mixline.node.broker_loop cimport Loop

cdef enum:
    FRAMES_MAX = 5  # identity, delimiter, header, body, and one too many


cdef class NativeLoop(Loop):
    cdef object router
    cdef void* socket
    cdef const mx_zmq* zmq
    cdef mx_msg frames[FRAMES_MAX]

    cdef int receive_frames(self) noexcept nogil
    cdef void take(self, int held, int count) noexcept nogil
