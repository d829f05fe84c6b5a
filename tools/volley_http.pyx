"""Shots over HTTP/1.1: keep-alive connections, one request out on each, the rest waiting in their order.

The wait for a free connection counts in the latency, as it would for a user. Servers that share a port badly among
their processes can be given several addresses; connections are dealt out in turn. Replies need a Content-Length.
"""

import socket as sockets

from libc.errno cimport EAGAIN, EINPROGRESS, EINTR, errno
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc, realloc, strtol
from libc.string cimport memchr, memset

from mixline.tools.volley cimport FAILED, POLLIN, Record, Transport, now_ns, pollfd, settle


cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <string.h>
    #include <strings.h>
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <unistd.h>
    """
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        unsigned short sa_family
    cdef struct sockaddr_storage:
        unsigned short ss_family
    ctypedef union epoll_data_t:
        int fd
        unsigned int u32
    cdef struct epoll_event:
        unsigned int events
        epoll_data_t data
    int socket(int family, int kind, int protocol) noexcept nogil
    int connect(int fd, const sockaddr* address, socklen_t length) noexcept nogil
    int getpeername(int fd, sockaddr* address, socklen_t* length) noexcept nogil
    int getsockopt(int fd, int level, int option, void* value, socklen_t* length) noexcept nogil
    int setsockopt(int fd, int level, int option, const void* value, socklen_t length) noexcept nogil
    ssize_t send(int fd, const void* data, size_t size, int flags) noexcept nogil
    ssize_t recv(int fd, void* data, size_t size, int flags) noexcept nogil
    int close(int fd) noexcept nogil
    int epoll_create1(int flags) noexcept nogil
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event) noexcept nogil
    int epoll_wait(int epfd, epoll_event* events, int count, int timeout) noexcept nogil
    void* memmem(const void* hay, size_t hay_size, const void* needle, size_t needle_size) noexcept nogil
    int strncasecmp(const char* one, const char* two, size_t size) noexcept nogil
    const int AF_UNIX, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC, SOL_SOCKET, SO_ERROR, IPPROTO_TCP, TCP_NODELAY
    const int MSG_NOSIGNAL, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT

cdef enum:
    DOWN, CONNECTING, IDLE, BUSY

cdef enum:
    BUFFER_BYTES = 64 * 1024
    HEAD_BYTES_MAX = 16 * 1024
    READY_MAX = 64
    RETRY_NS = 50_000_000

ctypedef struct Line:
    int fd
    int state
    unsigned int watched  # the events epoll was told of
    int64_t shot
    const char* unsent
    size_t unsent_bytes
    char* buffer
    size_t capacity, filled
    size_t head  # bytes of the reply's head, 0 while it is not whole
    size_t need  # bytes of head and body
    int status
    bint last  # the server closes after this reply
    int64_t retry_ns
    sockaddr_storage address
    socklen_t address_bytes


cdef class HttpTransport(Transport):
    """``connections`` to ``addresses`` in turn ("host:port" or "unix:/path"); ``requests`` are whole, as bytes."""

    cdef Line* lines
    cdef int* idle  # a ring of free connections, longest idle first
    cdef int idle_first, idle_count, count, epoll
    cdef const char** data
    cdef size_t* sizes
    cdef list requests

    def __cinit__(self, addresses, requests, int connections=16):
        cdef bytes one
        cdef int at
        self.epoll = -1
        self.requests = [bytes(each) for each in requests]
        addresses = [addresses] if isinstance(addresses, str) else list(addresses)
        if not self.requests or not addresses or connections < 1:
            raise ValueError("at least one request, one address and one connection are needed")
        self.request_count, self.good, self.count = len(self.requests), 200, connections
        self.lines = <Line*>calloc(connections, sizeof(Line))
        self.idle = <int*>calloc(connections, sizeof(int))
        self.data = <const char**>calloc(self.request_count, sizeof(char*))
        self.sizes = <size_t*>calloc(self.request_count, sizeof(size_t))
        self.waits = <pollfd*>calloc(1, sizeof(pollfd))
        if not (self.lines and self.idle and self.data and self.sizes and self.waits):
            raise MemoryError
        for at in range(self.count):
            self.lines[at].fd = -1
        for at in range(self.request_count):
            one = self.requests[at]
            self.data[at], self.sizes[at] = one, len(one)
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        self.waits[0].fd, self.waits[0].events, self.wait_count = self.epoll, POLLIN, 1
        for at in range(connections):
            self.open_line(at, addresses[at % len(addresses)])

    cdef int open_line(self, int at, str address) except -1:
        """The first connection of a line; ConnectionError says who does not listen."""
        cdef Line* line = &self.lines[at]
        line.buffer, line.capacity = <char*>malloc(BUFFER_BYTES), BUFFER_BYTES
        if line.buffer == NULL:
            raise MemoryError
        try:
            if address.startswith("unix:"):
                opened = sockets.socket(sockets.AF_UNIX)
                opened.connect(address[5:])
            else:
                host, _, port = address.rpartition(":")
                opened = sockets.create_connection((host, int(port)), 5)
                opened.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        except OSError as error:
            raise ConnectionError(f"{address}: {error}") from None
        opened.setblocking(False)
        line.fd = opened.detach()
        line.address_bytes = sizeof(sockaddr_storage)
        getpeername(line.fd, <sockaddr*>&line.address, &line.address_bytes)
        self.watch(at, EPOLL_CTL_ADD, EPOLLIN)
        self.rest(at)
        return 0

    def __dealloc__(self):
        self.close()
        if self.lines != NULL:
            for at in range(self.count):
                free(self.lines[at].buffer)
        free(self.lines)
        free(self.idle)
        free(self.data)
        free(self.sizes)
        free(self.waits)

    def close(self):
        """Close all connections; the transport cannot be used again."""
        if self.lines != NULL:
            for at in range(self.count):
                if self.lines[at].fd >= 0:
                    close(self.lines[at].fd)
                    self.lines[at].fd = -1
        if self.epoll >= 0:
            close(self.epoll)
            self.epoll = -1

    cdef int start(self) except -1:
        if self.epoll < 0:
            raise ValueError("the transport is closed")
        return 0

    cdef int finish(self) except -1:
        """A reply that comes after its run must not be taken for the next one's: such connections are replaced."""
        cdef int at
        for at in range(self.count):
            if self.lines[at].state == BUSY:
                self.drop(at, NULL)
        return 0

    cdef void watch(self, int at, int operation, unsigned int events) noexcept nogil:
        cdef epoll_event event
        memset(&event, 0, sizeof(event))
        event.events, event.data.u32 = events, at
        self.lines[at].watched = events
        epoll_ctl(self.epoll, operation, self.lines[at].fd, &event)

    cdef void rest(self, int at) noexcept nogil:
        """The line is free: to the end of the ring, so that load spreads over all connections."""
        cdef Line* line = &self.lines[at]
        line.state, line.filled, line.head, line.need, line.last = IDLE, 0, 0, 0, False
        self.idle[(self.idle_first + self.idle_count) % self.count] = at
        self.idle_count += 1

    cdef void drop(self, int at, Record* record) noexcept nogil:
        """Close the connection; what was out on it has failed, what was not is unharmed. It is opened again later."""
        cdef Line* line = &self.lines[at]
        cdef int state = line.state, other, _seen
        if line.fd >= 0:
            close(line.fd)
        line.fd, line.state, line.retry_ns = -1, DOWN, 0
        if state == IDLE:
            for _seen in range(self.idle_count):  # take it out of the ring, the others in order
                other = self.idle[self.idle_first]
                self.idle_first, self.idle_count = (self.idle_first + 1) % self.count, self.idle_count - 1
                if other != at:
                    self.idle[(self.idle_first + self.idle_count) % self.count] = other
                    self.idle_count += 1
        if record != NULL:
            record.reconnects += 1
            if state == BUSY:
                settle(record, record.first_id + line.shot, FAILED, NULL, 0, 0)

    cdef void reopen(self, int at) noexcept nogil:
        cdef Line* line = &self.lines[at]
        cdef int one = 1
        cdef int family = line.address.ss_family
        line.retry_ns = now_ns() + RETRY_NS
        line.fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        if line.fd < 0:
            return
        if family != AF_UNIX:
            setsockopt(line.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        if connect(line.fd, <sockaddr*>&line.address, line.address_bytes) < 0 and errno != EINPROGRESS:
            close(line.fd)
            line.fd = -1
            return
        line.state = CONNECTING
        self.watch(at, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT)

    cdef bint send(self, Record* record, int64_t shot) noexcept nogil:
        cdef Line* line
        cdef int at
        if self.idle_count == 0:
            return False
        at = self.idle[self.idle_first]
        self.idle_first, self.idle_count = (self.idle_first + 1) % self.count, self.idle_count - 1
        line = &self.lines[at]
        line.state, line.shot = BUSY, shot
        line.unsent, line.unsent_bytes = self.data[record.which[shot]], self.sizes[record.which[shot]]
        self.push(at, record)
        return True

    cdef void push(self, int at, Record* record) noexcept nogil:
        """Send what is left of a request; epoll tells when the rest fits."""
        cdef Line* line = &self.lines[at]
        cdef ssize_t sent
        cdef unsigned int wanted = EPOLLIN
        while line.unsent_bytes:
            sent = send(line.fd, line.unsent, line.unsent_bytes, MSG_NOSIGNAL)
            if sent < 0:
                if errno == EINTR:
                    continue
                if errno != EAGAIN:
                    self.drop(at, record)
                    return
                wanted = EPOLLIN | EPOLLOUT
                break
            line.unsent += sent
            line.unsent_bytes -= sent
        if wanted != line.watched:
            self.watch(at, EPOLL_CTL_MOD, wanted)

    cdef int receive(self, Record* record, int64_t until_ns) noexcept nogil:
        cdef epoll_event events[READY_MAX]
        cdef int ready, i, at, count = 0
        record.more = False
        for at in range(self.count):
            if self.lines[at].state == DOWN and now_ns() >= self.lines[at].retry_ns:
                self.reopen(at)
        ready = epoll_wait(self.epoll, events, READY_MAX, 0)
        for i in range(ready):
            at = events[i].data.u32
            if self.lines[at].state == CONNECTING:
                self.connected(at)
            elif self.lines[at].state != DOWN:
                if events[i].events & EPOLLOUT:
                    self.push(at, record)
                count += self.pull(at, record)
        return count

    cdef void connected(self, int at) noexcept nogil:
        cdef Line* line = &self.lines[at]
        cdef int error = 0
        cdef socklen_t size = sizeof(error)
        getsockopt(line.fd, SOL_SOCKET, SO_ERROR, &error, &size)
        if error:
            close(line.fd)
            line.fd, line.state, line.retry_ns = -1, DOWN, now_ns() + RETRY_NS
            return
        self.watch(at, EPOLL_CTL_MOD, EPOLLIN)
        self.rest(at)

    cdef int pull(self, int at, Record* record) noexcept nogil:
        """Read what is there; 1 when that ended a reply or the connection."""
        cdef Line* line = &self.lines[at]
        cdef ssize_t got
        cdef char* larger
        while line.state == BUSY or line.state == IDLE:
            if line.filled == line.capacity:
                larger = <char*>realloc(line.buffer, line.capacity * 2)
                if larger == NULL:
                    self.drop(at, record)
                    return 1
                line.buffer, line.capacity = larger, line.capacity * 2
            got = recv(line.fd, line.buffer + line.filled, line.capacity - line.filled, 0)
            if got < 0:
                if errno == EINTR:
                    continue
                if errno != EAGAIN:
                    self.drop(at, record)
                    return 1
                return 0
            if got == 0:
                self.drop(at, record)
                return 1
            if line.state == IDLE:  # bytes that nobody asked for
                record.strangers += 1
                self.drop(at, record)
                return 1
            line.filled += got
            if self.parse(at, record):
                return 1
        return 0

    cdef bint parse(self, int at, Record* record) noexcept nogil:
        """Whether the reply is whole or beyond hope; both leave the line settled."""
        cdef Line* line = &self.lines[at]
        cdef size_t over
        if line.head == 0 and not self.parse_head(line):
            if line.filled < HEAD_BYTES_MAX and line.need == 0:
                return False
            record.malformed += 1
            self.drop(at, record)
            return True
        if line.filled < line.need:
            return False
        over = line.filled - line.need
        settle(record, record.first_id + line.shot, line.status, line.buffer + line.head, line.need - line.head, 0)
        line.state = DOWN  # settled: nothing is out on it
        if over:
            record.doubled += 1
        if over or line.last:
            self.drop(at, record)
        else:
            self.rest(at)
        return True

    cdef bint parse_head(self, Line* line) noexcept nogil:
        """Status and length; False when the head is not whole (need 0), or is none that we understand (need 1)."""
        cdef const char* end = <const char*>memmem(line.buffer, line.filled, b"\r\n\r\n", 4)
        cdef const char* at = line.buffer
        cdef long length = -1
        if end == NULL:
            return False
        line.need = 1
        if strncasecmp(at, b"HTTP/1.", 7):
            return False
        line.status = <int>strtol(at + 9, NULL, 10)
        while at < end:
            at = <const char*>memchr(at, 10, end + 2 - at) + 1
            if not strncasecmp(at, b"content-length:", 15):
                length = strtol(at + 15, NULL, 10)
            elif not strncasecmp(at, b"connection: close", 17):
                line.last = True
        if length < 0:
            return False
        line.head = end + 4 - line.buffer
        line.need = line.head + length
        return True
