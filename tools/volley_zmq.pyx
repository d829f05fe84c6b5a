"""Shots over ZeroMQ: DEALER sockets through libzmq's C interface, the shot's number as the request id.

The id counts up over the whole life of a transport, so that a late reply of an earlier run is a stranger to the next.
"""

import zmq

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from mixline.ipc.libzmq cimport (
    MX_ZMQ_DONTWAIT, MX_ZMQ_FD, MX_ZMQ_SNDMORE, mx_msg, mx_zmq, raw_socket, zmq_table,
)
from mixline.tools.volley cimport FAILED, POLLIN, Record, Transport, now_ns, pollfd, settle

cdef enum:
    HEADER_BYTES = 128
    STATUS_AT = 7
    ID_AT = 8
    ATTEMPT_AT = 62

ctypedef struct Frames:
    const char* header
    const char* body
    size_t body_bytes


cdef class ZmqTransport(Transport):
    """DEALER sockets to one endpoint; ``requests`` are pairs of a 128-byte header and a body."""

    cdef const mx_zmq* api
    cdef void** sockets
    cdef bint* unheard  # sent through, or announced, since its last receive
    cdef Frames* frames
    cdef list requests  # owns the bytes
    cdef list owners
    cdef object context

    def __cinit__(self, str endpoint, requests, int connections=1):
        cdef bytes header, body
        cdef int at
        self.api = zmq_table()
        self.requests = [(bytes(header), bytes(body)) for header, body in requests]
        if not self.requests or connections < 1:
            raise ValueError("at least one request and one connection are needed")
        self.request_count, self.good = len(self.requests), 0
        self.frames = <Frames*>calloc(self.request_count, sizeof(Frames))
        self.sockets = <void**>calloc(connections, sizeof(void*))
        self.unheard = <bint*>calloc(connections, sizeof(bint))
        self.waits = <pollfd*>calloc(connections, sizeof(pollfd))
        if not (self.frames and self.sockets and self.unheard and self.waits):
            raise MemoryError
        for at in range(self.request_count):
            header, body = self.requests[at]
            if len(header) != HEADER_BYTES:
                raise ValueError(f"request {at}: the header has {len(header)} bytes, must be {HEADER_BYTES}")
            self.frames[at].header, self.frames[at].body = header, body
            self.frames[at].body_bytes = len(body)
        self.context, self.owners = zmq.Context(), []
        for at in range(connections):
            socket = self.context.socket(zmq.DEALER)
            self.owners.append(socket)
            for option, value in ((zmq.LINGER, 0), (zmq.SNDHWM, 0), (zmq.RCVHWM, 0)):
                socket.setsockopt(option, value)
            socket.connect(endpoint)
            self.sockets[at] = raw_socket(socket)
            self.waits[at].fd, self.waits[at].events = socket.getsockopt(MX_ZMQ_FD), POLLIN
        self.wait_count = connections

    def __dealloc__(self):
        free(self.frames)
        free(self.sockets)
        free(self.unheard)
        free(self.waits)

    def close(self):
        """Close the sockets; the transport cannot be used again."""
        self.wait_count = 0
        for socket in self.owners:
            socket.close()
        self.context.term()

    cdef int start(self) except -1:
        cdef int at
        if not self.wait_count:
            raise ValueError("the transport is closed")
        for at in range(self.wait_count):
            self.unheard[at] = True
        return 0

    cdef bint send(self, Record* record, int64_t shot) noexcept nogil:
        cdef char header[HEADER_BYTES]
        cdef const Frames* frames = &self.frames[record.which[shot]]
        cdef int at = shot % self.wait_count
        cdef uint64_t number = record.first_id + shot
        memcpy(header, frames.header, HEADER_BYTES)
        memcpy(header + ID_AT, &number, 8)
        memset(header + ID_AT + 8, 0, 8)
        self.unheard[at] = True
        if self.api.send(self.sockets[at], header, HEADER_BYTES, MX_ZMQ_SNDMORE | MX_ZMQ_DONTWAIT) < 0:
            settle(record, number, FAILED, NULL, 0, 0)
        else:
            self.api.send(self.sockets[at], frames.body, frames.body_bytes, MX_ZMQ_DONTWAIT)
        return True

    cdef int receive(self, Record* record, int64_t until_ns) noexcept nogil:
        cdef int at, got, count = 0
        record.more = False
        for at in range(self.wait_count):
            if not self.unheard[at] and not self.waits[at].revents:
                continue
            self.waits[at].revents, self.unheard[at] = 0, False
            got = self.receive_one(record, self.sockets[at])
            while got:
                count += 1
                if now_ns() - record.start_ns >= until_ns:
                    self.unheard[at] = record.more = True
                    break
                got = self.receive_one(record, self.sockets[at])
        return count

    cdef bint receive_one(self, Record* record, void* socket) noexcept nogil:
        """One whole reply; False when none is there."""
        cdef mx_msg head, body
        cdef const uint8_t* header
        cdef uint64_t number, above
        cdef bint more
        self.api.msg_init(&head)
        if self.api.msg_recv(&head, socket, MX_ZMQ_DONTWAIT) < 0:
            self.api.msg_close(&head)
            return False
        self.api.msg_init(&body)
        more = self.api.msg_more(&head)
        if more:
            self.api.msg_recv(&body, socket, MX_ZMQ_DONTWAIT)
            more = self.api.msg_more(&body)
        header = <const uint8_t*>self.api.msg_data(&head)
        if self.api.msg_size(&head) != HEADER_BYTES or more:
            record.malformed += 1
        else:
            memcpy(&number, header + ID_AT, 8)
            memcpy(&above, header + ID_AT + 8, 8)
            settle(record, <int64_t>number if not above else -1, header[STATUS_AT],
                   <const char*>self.api.msg_data(&body), self.api.msg_size(&body),
                   header[ATTEMPT_AT] | header[ATTEMPT_AT + 1] << 8)
        while more:
            if self.api.msg_recv(&body, socket, MX_ZMQ_DONTWAIT) < 0:
                break
            more = self.api.msg_more(&body)
        self.api.msg_close(&body)
        self.api.msg_close(&head)
        return True
