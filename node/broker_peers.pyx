"""Who has requests open, so that one connection cannot take the whole queue, nor replies without reading them.

A peer is here only while it has something open, so the table is bounded by what can be open and needs no time-outs.
Peers are told apart by a digest of their routing id; two that collide would share their credit and nothing else.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

from mixline.ipc.clock cimport mx_digest


cdef class Peers:
    """Room for ``pool_size`` peers at once."""

    def __cinit__(self, uint32_t pool_size):
        cdef uint32_t number
        self.pool_size = pool_size
        self.pool = <Peer*>calloc(pool_size, sizeof(Peer))
        self.buckets = <int32_t*>malloc(BUCKETS * sizeof(int32_t))
        if self.pool == NULL or self.buckets == NULL:
            raise MemoryError()
        for number in range(BUCKETS):
            self.buckets[number] = NOBODY
        for number in range(pool_size):
            self.pool[number].next_in_bucket = <int32_t>number + 1 if number + 1 < pool_size else NOBODY
        self.unused = 0 if pool_size else NOBODY

    def __dealloc__(self):
        free(self.pool)
        free(self.buckets)

    cdef int32_t enter(self, const uint8_t* routing, size_t length) noexcept nogil:
        """The peer's number, new or known; NOBODY when the table is full. :meth:`leave` it when nothing is open."""
        cdef uint64_t digest = mx_digest(routing, length, 0)
        cdef int32_t* bucket = &self.buckets[digest % BUCKETS]
        cdef int32_t number = bucket[0]
        cdef Peer* peer
        while number != NOBODY:
            if self.pool[number].digest == digest:
                return number
            number = self.pool[number].next_in_bucket
        number = self.unused
        if number == NOBODY:
            return NOBODY
        peer = &self.pool[number]
        self.unused = peer.next_in_bucket
        peer.digest, peer.next_in_bucket = digest, bucket[0]
        peer.open_requests = peer.lends = 0
        peer.lent_bytes = 0
        bucket[0] = number
        self.count += 1
        return number

    cdef void leave(self, int32_t number) noexcept nogil:
        """Forget the peer if nothing of it is open."""
        cdef Peer* peer = &self.pool[number]
        cdef int32_t* link = &self.buckets[peer.digest % BUCKETS]
        if peer.open_requests or peer.lends:
            return
        while link[0] != number:
            link = &self.pool[link[0]].next_in_bucket
        link[0] = peer.next_in_bucket
        peer.next_in_bucket = self.unused
        self.unused = number
        self.count -= 1

    def open(self, bytes routing) -> int:
        """For tests: count one request open; the peer's number."""
        cdef int32_t number = self.enter(routing, len(routing))
        if number != NOBODY:
            self.pool[number].open_requests += 1
        return number

    def close(self, int32_t number) -> int:
        """For tests: one request less; how many are left."""
        self.pool[number].open_requests -= 1
        left = self.pool[number].open_requests
        self.leave(number)
        return left
