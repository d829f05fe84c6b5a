"""Predictions by surface, learnt from every reply: admission reckons with the mean, hedging with the 99th percentile.

The mean is an exponential average over about twenty requests. The percentile is a stochastic approximation (Robbins
and Monro 1951): a sample above moves the estimate up by .99 of a step, one below moves it down by .01 of it, so it
rests where one in a hundred lies above, follows a drift, and needs no memory.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

SERVICE_FIRST_NS = 1_000_000


cdef class Surfaces:
    """Numbers for surface names; 0 stands for unknown names and 1 for ECHO."""

    def __cinit__(self):
        memset(self.at, 0, sizeof(self.at))
        self.count = 2
        self.at[OTHER].service_ns = SERVICE_FIRST_NS
        self.at[ECHO].service_ns = 1000.0

    def announce(self, name: str, double deadline_ms, bint shares=False) -> int:
        """Learn of a surface that workers serve; its number. A full table answers with OTHER."""
        raw = name.encode("ascii").ljust(SURFACE_BYTES, b"\0")
        cdef const uint8_t* text = raw
        cdef int number = self.find(text)
        if number == OTHER:
            if self.count == SURFACES_MAX or not name:
                return OTHER
            number = self.count
            self.count += 1
            memcpy(self.at[number].name, text, SURFACE_BYTES)
            self.at[number].service_ns = SERVICE_FIRST_NS
        self.at[number].deadline_ns, self.at[number].shares = <int64_t>(deadline_ms * 1e6), shares
        return number

    @property
    def names(self) -> list[str]:
        """By number."""
        found = [bytes(self.at[number].name[:SURFACE_BYTES]).rstrip(b"\0").decode() for number in range(self.count)]
        return ["(other)", "(echo)", *found[2:]]

    cdef int find(self, const uint8_t* name) noexcept nogil:
        cdef int number
        for number in range(2, self.count):
            if not memcmp(self.at[number].name, name, SURFACE_BYTES):
                return number
        return OTHER

    cdef void learn(self, int surface, int64_t took_ns) noexcept nogil:
        """How long one request was in a worker."""
        cdef Surface* at = &self.at[surface]
        cdef double sample = <double>took_ns
        cdef double step = at.slow_ns * 0.1
        if not at.samples:
            at.slow_ns = 2 * sample
        elif sample > at.slow_ns:
            at.slow_ns += 0.99 * step
        else:
            at.slow_ns -= 0.01 * step
        at.samples += 1

    cdef void reckon(self, int surface, int64_t took_ns, uint32_t company) noexcept nogil:
        """What a request costs a worker: ``company`` of them, answered together, took so long until the last was."""
        cdef Surface* at = &self.at[surface]
        at.service_ns += (<double>took_ns / company - at.service_ns) * min(0.05 * company, 0.5)

    def record(self, int surface, int64_t service_ns) -> None:
        """For tests: one request, alone."""
        if not 0 <= surface < self.count:
            raise IndexError(f"surface {surface} of {self.count}")
        self.learn(surface, service_ns)
        self.reckon(surface, service_ns, 1)

    def estimates(self, int surface) -> tuple[float, float]:
        """(mean, 99th percentile) of the time in a worker, nanoseconds."""
        if not 0 <= surface < self.count:
            raise IndexError(f"surface {surface} of {self.count}")
        return self.at[surface].service_ns, self.at[surface].slow_ns
