"""The transport in C: a ROUTER socket through libzmq's own functions, no Python object per message.

Replies are copied into libzmq below ``limits.lend_bytes_min`` and lent above it: libzmq then sends from the worker's
arena and calls :func:`~mixline.node.broker_ledger.lend_returned` from its own thread when the bytes have left.
"""

from libc.errno cimport EHOSTUNREACH, EINTR
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from mixline.node import limits

from mixline.ipc.frames cimport MX_HEADER_BYTES, mx_reply_frame
from mixline.ipc.libzmq cimport (
    MX_ZMQ_DONTWAIT, MX_ZMQ_POLLIN, MX_ZMQ_SNDMORE, mx_msg, poll_events, raw_socket, zmq_table)
from mixline.node.broker_desk cimport Incoming
from mixline.node.broker_ledger cimport PEER_FULL, SENT, UNROUTABLE, Lend, Request, lend_returned
from mixline.node.broker_loop cimport Loop

cdef int RECEIVE_BATCH = limits.receive_batch


cdef class NativeLoop(Loop):
    """``router`` is a pyzmq ROUTER socket, bound, which this keeps open and uses alone."""

    def __cinit__(self, *_, router, **__):
        cdef int at
        self.zmq = zmq_table()
        self.router = router
        self.socket = raw_socket(router)
        self.socket_fd = router.FD
        self.lends_out = True
        for at in range(FRAMES_MAX):
            self.zmq.msg_init(&self.frames[at])

    cdef bint readable(self) noexcept nogil:
        return poll_events(self.zmq, self.socket) & MX_ZMQ_POLLIN

    cdef int receive(self) noexcept nogil:
        cdef int many, count, at
        for many in range(RECEIVE_BATCH):
            count = self.receive_frames()
            if not count:
                return many
            self.take(min(count, FRAMES_MAX), count)
            for at in range(min(count, FRAMES_MAX)):
                self.zmq.msg_close(&self.frames[at])
                self.zmq.msg_init(&self.frames[at])
        return RECEIVE_BATCH

    cdef int receive_frames(self) noexcept nogil:
        """One whole message into ``frames``, what is too much of it over the last one; how many frames it had."""
        cdef int count = 0
        cdef mx_msg* frame
        while True:
            frame = &self.frames[min(count, FRAMES_MAX - 1)]
            if self.zmq.msg_recv(frame, self.socket, MX_ZMQ_DONTWAIT) < 0:
                if self.zmq.last_errno() == EINTR:
                    continue
                return 0  # between whole messages only: libzmq delivers all frames of one at once
            count += 1
            if not self.zmq.msg_more(frame):
                return count

    cdef void take(self, int held, int count) noexcept nogil:
        """Find the parts of a message. REQ sockets put an empty delimiter behind the identity; the reply needs it."""
        cdef Incoming message
        cdef int first = 2 if held > 1 and not self.zmq.msg_size(&self.frames[1]) else 1
        memset(&message, 0, sizeof(message))
        message.routing = <const uint8_t*>self.zmq.msg_data(&self.frames[0])
        message.routing_length = self.zmq.msg_size(&self.frames[0])
        message.delimiter = first == 2
        message.frames = count - first
        if held > first:
            message.head = <const uint8_t*>self.zmq.msg_data(&self.frames[first])
            message.head_length = self.zmq.msg_size(&self.frames[first])
        if held > first + 1:
            message.body = <const uint8_t*>self.zmq.msg_data(&self.frames[first + 1])
            message.body_length = self.zmq.msg_size(&self.frames[first + 1])
        self.consider(&message)

    cdef int post(self, const Request* to, const mx_reply_frame* head, const uint8_t* body, size_t length,
                  Lend* lend) noexcept nogil:
        cdef mx_msg message
        cdef int sent
        if lend != NULL:
            sent = self.zmq.msg_init_data(&message, <void*>body, length, lend_returned, lend)
        else:
            sent = self.zmq.msg_init_size(&message, length)
            if not sent:
                memcpy(self.zmq.msg_data(&message), body, length)
        if sent:  # no memory, so nobody else will call it
            if lend != NULL:
                lend_returned(NULL, lend)
            return PEER_FULL
        sent = self.zmq.send(self.socket, to.routing, to.routing_length, MX_ZMQ_DONTWAIT | MX_ZMQ_SNDMORE)
        if sent < 0:
            sent = UNROUTABLE if self.zmq.last_errno() == EHOSTUNREACH else PEER_FULL
            self.zmq.msg_close(&message)  # returns what was lent
            return sent
        if to.delimiter:
            self.zmq.send(self.socket, NULL, 0, MX_ZMQ_DONTWAIT | MX_ZMQ_SNDMORE)
        self.zmq.send(self.socket, head, MX_HEADER_BYTES, MX_ZMQ_DONTWAIT | MX_ZMQ_SNDMORE)
        if self.zmq.msg_send(&message, self.socket, MX_ZMQ_DONTWAIT) < 0:
            self.zmq.msg_close(&message)
            return UNROUTABLE
        return SENT
