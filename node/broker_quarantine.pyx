"""What killed two workers is refused at the door for a while, and what killed one is tried once more, copies waiting
outside for the verdict; what was answered lately is known to kill none.

Requests are told apart by a digest of kind, surface and body, so the same poison from another client counts too. The
table is small and full only under attack; then the case that ends first makes room.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from mixline.ipc.clock cimport mx_digest


cdef uint64_t request_digest(uint8_t kind, const uint8_t* surface, const uint8_t* body, size_t length) noexcept nogil:
    return mx_digest(body, length, mx_digest(surface, 32, kind))


cdef class Quarantine:
    """After a first crash a request is remembered for ``condemned_ms``, and so long copies wait outside while one of
    them is on trial; after a second crash all are refused for ``condemned_ms``.

    ``known`` are the requests that were answered lately, one per place of a table without chains: whoever is told of a
    request that is not known may not conclude anything.
    """

    def __cinit__(self, int64_t condemned_ms):
        self.condemned_ns = condemned_ms * 1_000_000
        self.count = 0

    cdef int look(self, uint64_t digest, int64_t now_ns) noexcept nogil:
        """The verdict on a digest; ended cases are dropped on the way."""
        cdef int at = 0
        cdef Case* each
        while at < self.count:
            each = &self.cases[at]
            if each.last_ns + self.condemned_ns <= now_ns:
                self.count -= 1
                each[0] = self.cases[self.count]
            elif each.digest != digest:
                at += 1
            elif each.crashes > 1:
                return CONDEMNED
            else:
                return SUSPECT if each.on_trial else WATCHED
        return INNOCENT

    cdef Case* find(self, uint64_t digest) noexcept nogil:
        cdef int at
        for at in range(self.count):
            if self.cases[at].digest == digest:
                return &self.cases[at]
        return NULL

    cdef void crash(self, uint64_t digest, int64_t now_ns) noexcept nogil:
        """It killed a worker. A full table forgets the case whose last crash is longest ago."""
        cdef int at, oldest = 0
        cdef Case* case = self.find(digest)
        if self.vouched(digest):
            self.known[digest % KNOWN_MAX] = 0
        if case != NULL:
            case.crashes += 1
            case.last_ns = now_ns
            return
        if self.count < CASES_MAX:
            oldest = self.count
            self.count += 1
        else:
            for at in range(self.count):
                if self.cases[at].last_ns < self.cases[oldest].last_ns:
                    oldest = at
        case = &self.cases[oldest]
        case.digest, case.last_ns, case.crashes, case.on_trial = digest, now_ns, 1, False

    cdef void try_again(self, uint64_t digest, bint on_trial) noexcept nogil:
        """A copy is on trial, or no longer, whatever came of it."""
        cdef Case* case = self.find(digest)
        if case != NULL:
            case.on_trial = on_trial

    cdef void acquit(self, uint64_t digest) noexcept nogil:
        """Its trial ended well."""
        cdef Case* case = self.find(digest)
        if case != NULL:
            self.count -= 1
            case[0] = self.cases[self.count]

    cdef void vouch(self, uint64_t digest) noexcept nogil:
        """A request with these bytes was answered."""
        self.known[digest % KNOWN_MAX] = digest

    cdef bint vouched(self, uint64_t digest) noexcept nogil:
        """Whether one was, lately."""
        return self.known[digest % KNOWN_MAX] == digest

    def known_good(self, uint64_t digest, remember=False) -> bool:
        """For tests: :meth:`vouched`, after :meth:`vouch` when told to ``remember``."""
        if remember:
            self.vouch(digest)
        return self.vouched(digest)

    def put_on_trial(self, uint64_t digest, bint on_trial) -> None:
        """For tests: :meth:`try_again`."""
        self.try_again(digest, on_trial)

    def note(self, uint64_t digest, int64_t now_ns) -> None:
        """For tests: :meth:`crash`."""
        self.crash(digest, now_ns)

    def clear(self, uint64_t digest) -> None:
        """For tests: :meth:`acquit`."""
        self.acquit(digest)

    def get(self, uint64_t digest, int64_t now_ns) -> int:
        """For tests: :meth:`look`."""
        return self.look(digest, now_ns)
