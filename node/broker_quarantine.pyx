"""What killed two workers is refused at the door for a while, and what killed one waits outside for the verdict.

Requests are told apart by a digest of kind, surface and body, so the same poison from another client counts too. The
table is small and full only under attack; then the case that ends first makes room.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from mixline.ipc.clock cimport mx_digest


cdef uint64_t request_digest(uint8_t kind, const uint8_t* surface, const uint8_t* body, size_t length) noexcept nogil:
    return mx_digest(body, length, mx_digest(surface, 32, kind))


cdef class Quarantine:
    """After a first crash a request waits outside for ``suspect_ms``, after a second for ``condemned_ms``; so long the
    first is remembered, too, so that another copy's crash counts as the second."""

    def __cinit__(self, int64_t suspect_ms, int64_t condemned_ms):
        self.suspect_ns, self.condemned_ns = suspect_ms * 1_000_000, condemned_ms * 1_000_000
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
                return SUSPECT if now_ns < each.last_ns + self.suspect_ns else WATCHED
        return INNOCENT

    cdef void crash(self, uint64_t digest, int64_t now_ns) noexcept nogil:
        """It killed a worker. A full table forgets the case whose last crash is longest ago."""
        cdef int at, chosen = -1
        for at in range(self.count):
            if self.cases[at].digest == digest:
                self.cases[at].crashes += 1
                self.cases[at].last_ns = now_ns
                return
        if self.count < CASES_MAX:
            chosen = self.count
            self.count += 1
        else:
            chosen = 0
            for at in range(self.count):
                if self.cases[at].last_ns < self.cases[chosen].last_ns:
                    chosen = at
        self.cases[chosen].digest, self.cases[chosen].last_ns, self.cases[chosen].crashes = digest, now_ns, 1

    cdef void acquit(self, uint64_t digest) noexcept nogil:
        """Its second attempt ended well."""
        cdef int at
        for at in range(self.count):
            if self.cases[at].digest == digest:
                self.count -= 1
                self.cases[at] = self.cases[self.count]
                return

    def note(self, uint64_t digest, int64_t now_ns) -> None:
        """For tests: :meth:`crash`."""
        self.crash(digest, now_ns)

    def clear(self, uint64_t digest) -> None:
        """For tests: :meth:`acquit`."""
        self.acquit(digest)

    def get(self, uint64_t digest, int64_t now_ns) -> int:
        """For tests: :meth:`look`."""
        return self.look(digest, now_ns)
