"""The transport on plain pyzmq, for where libzmq's C interface cannot be had: the same rules, an object per frame."""

import zmq

from libc.stdint cimport uint8_t
from libc.string cimport memset

from mixline.node import limits

from mixline.ipc.frames cimport MX_HEADER_BYTES, mx_reply_frame
from mixline.node.broker_desk cimport Incoming
from mixline.node.broker_ledger cimport PEER_FULL, SENT, UNROUTABLE, Lend, Request
from mixline.node.broker_loop cimport Loop

cdef int RECEIVE_BATCH = limits.receive_batch


cdef class PlainLoop(Loop):
    """``router`` is a pyzmq ROUTER socket, bound, which this keeps open and uses alone."""

    cdef object router
    cdef readonly object failure  # what pyzmq raised and the loop could not; :meth:`run` does

    def __cinit__(self, *_, router, **__):
        self.router = router
        self.socket_fd = router.FD
        self.failure = None

    def run(self, until_ns) -> int:
        """As :meth:`Loop.run`; raises what pyzmq raised meanwhile."""
        why = Loop.run(self, until_ns)
        if self.failure is not None:
            raise self.failure
        return why

    cdef bint readable(self) noexcept nogil:
        with gil:
            try:
                return bool(self.router.EVENTS & zmq.POLLIN)
            except zmq.ZMQError as error:
                self.failure = error
                return False

    cdef int receive(self) noexcept nogil:
        cdef int many
        with gil:
            for many in range(RECEIVE_BATCH):
                try:
                    frames = self.router.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    return many
                except zmq.ZMQError as error:
                    self.failure = error
                    return many
                self.take(frames)
        return RECEIVE_BATCH

    cdef int take(self, list frames) except -1:
        """As :meth:`NativeLoop.take`; the frames live until this returns."""
        cdef Incoming message
        cdef const unsigned char[::1] routing, head, body
        cdef int first = 2 if len(frames) > 1 and not frames[1] else 1
        memset(&message, 0, sizeof(message))
        message.delimiter = first == 2
        message.frames = len(frames) - first
        routing = frames[0]
        message.routing, message.routing_length = &routing[0], len(routing)
        if len(frames) > first and frames[first]:
            head = frames[first]
            message.head, message.head_length = &head[0], len(head)
        if len(frames) > first + 1 and frames[first + 1]:
            body = frames[first + 1]
            message.body, message.body_length = &body[0], len(body)
        self.consider(&message)
        return 0

    cdef int post(self, const Request* to, const mx_reply_frame* head, const uint8_t* body, size_t length,
                  Lend* lend) noexcept nogil:
        with gil:
            frames = [bytes(to.routing[:to.routing_length])] + ([b""] if to.delimiter else [])
            frames += [bytes((<const uint8_t*>head)[:MX_HEADER_BYTES]), bytes(body[:length])]
            try:
                self.router.send_multipart(frames, zmq.NOBLOCK)
            except zmq.Again:
                return PEER_FULL
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH:
                    self.failure = error
                return UNROUTABLE
        return SENT
