"""What killed two workers is refused at the door for a while, and what killed one waits outside for the verdict.

Requests are told apart by a digest of kind, surface and body, so the same poison from another client counts too. The
table is small and full only under attack; then the case that ends first makes room.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from mixline.ipc.clock cimport mx_digest


cdef uint64_t request_digest(uint8_t kind, const uint8_t* surface, const uint8_t* body, size_t length) noexcept nogil:
    return mx_digest(body, length, mx_digest(surface, 32, kind))


cdef class Quarantine:
    """``condemned_ms`` after its second death, or ``suspect_ms`` after its first, a request is let in again."""

    def __cinit__(self, int64_t suspect_ms, int64_t condemned_ms):
        self.suspect_ns, self.condemned_ns = suspect_ms * 1_000_000, condemned_ms * 1_000_000
        self.count = 0

    cdef int look(self, uint64_t digest, int64_t now_ns) noexcept nogil:
        """The verdict on a digest; ended cases are dropped on the way."""
        cdef int at = 0
        while at < self.count:
            if self.cases[at].until_ns <= now_ns:
                self.count -= 1
                self.cases[at] = self.cases[self.count]
            elif self.cases[at].digest == digest:
                return self.cases[at].verdict
            else:
                at += 1
        return INNOCENT

    cdef void note(self, uint64_t digest, int verdict, int64_t now_ns) noexcept nogil:
        """Record a verdict; INNOCENT acquits."""
        cdef int at, chosen = -1
        cdef Case* each
        for at in range(self.count):
            if self.cases[at].digest == digest:
                chosen = at
                break
        if verdict == INNOCENT:
            if chosen >= 0:
                self.count -= 1
                self.cases[chosen] = self.cases[self.count]
            return
        if chosen < 0 and self.count < CASES_MAX:
            chosen = self.count
            self.count += 1
        elif chosen < 0:
            chosen = 0
            for at in range(self.count):
                if self.cases[at].until_ns < self.cases[chosen].until_ns:
                    chosen = at
        each = &self.cases[chosen]
        each.digest, each.verdict = digest, verdict
        each.until_ns = now_ns + (self.condemned_ns if verdict == CONDEMNED else self.suspect_ns)

    def set(self, uint64_t digest, int verdict, int64_t now_ns) -> None:
        """For tests: :meth:`note`."""
        self.note(digest, verdict, now_ns)

    def get(self, uint64_t digest, int64_t now_ns) -> int:
        """For tests: :meth:`look`."""
        return self.look(digest, now_ns)
