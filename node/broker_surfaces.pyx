"""Predictions by surface, learnt from every reply: admission reckons with the mean, hedging with the 99th percentile.

The mean is an exponential average over about twenty requests, winsorised from above (Tukey 1962). The percentile is a
stochastic approximation (Robbins and Monro 1951): a sample above moves the estimate up by .99 of a step, one below
moves it down by .01 of it, so it rests where one in a hundred lies above, follows a drift, and needs no memory. What a
shared pass costs is a line over the number in it, by least squares on moving averages: what a scan reads once, and what
each request adds.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from mixline.node import limits

SERVICE_FIRST_NS = 1_000_000

cdef double PASS_SHARE = limits.pass_share
cdef double BATCH_SHARE = limits.batch_share
cdef double BATCH_NS = limits.batch_us * 1000.0
cdef double LATE_SHARE = 0.5       # of the time left, beyond which all of a pass would end late
cdef double TIMES_MAX = 3.0        # what was expected, that one sample may count for
cdef double FIXED_TIMES = 2.0      # then two thirds of the greatest throughput are reached
cdef double SPREAD_MIN = 0.05      # of the number in a pass, squared: what tells a line from a point


cdef class Surfaces:
    """Numbers for surface names; 0 stands for unknown names and 1 for ECHO."""

    def __cinit__(self):
        memset(self.at, 0, sizeof(self.at))
        self.count = 2
        self.at[OTHER].service_ns = SERVICE_FIRST_NS
        self.at[ECHO].service_ns = 1000.0
        self.draw_line(OTHER)
        self.draw_line(ECHO)

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
        self.draw_line(number)
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
        """What a request costs a worker: ``company`` of them, answered together, took so long until the last was.

        A machine that stood still for 30 ms says nothing of the requests that come next: a sample counts for at most
        TIMES_MAX times what was expected. Where requests did become so much dearer, each sample says so anew.
        """
        cdef Surface* at = &self.at[surface]
        cdef Passes* passes = &at.passes
        cdef double took = <double>took_ns, weight = 1.0
        if passes.company:
            took, weight = min(took, TIMES_MAX * (at.line.fixed + at.line.each * company)), 0.05
        at.service_ns += (took / company - at.service_ns) * min(0.05 * company, 0.5)
        passes.took += (took - passes.took) * weight
        passes.company += (company - passes.company) * weight
        passes.squared += (<double>company * company - passes.squared) * weight
        passes.product += (took * company - passes.product) * weight
        self.draw_line(surface)

    cdef void draw_line(self, int surface) noexcept nogil:
        """What a pass costs. While all were of one size, half is taken for what is read once; nothing is where passes
        are not shared."""
        cdef Surface* at = &self.at[surface]
        cdef Passes* passes = &at.passes
        cdef Line* line = &at.line
        cdef double spread = passes.squared - passes.company * passes.company
        line.fixed, line.each = 0.0, at.service_ns
        if not at.shares or not passes.company:
            return
        line.fixed, line.each = passes.took / 2.0, at.service_ns / 2.0
        if spread > SPREAD_MIN * passes.squared:
            line.each = min(max((passes.product - passes.company * passes.took) / spread, 0.0), at.service_ns)
            line.fixed = max(passes.took - line.each * passes.company, 0.0)

    cdef bint has_room(self, int surface, uint32_t company, int64_t left_ns) noexcept nogil:
        """Whether a pass of ``company`` may take one more, whose first request has so much time left.

        A long pass keeps others waiting and its first members too: what they add to it may be a share of the time left,
        or, where reading once is what costs, twice that. Where nothing is shared but the way to the worker and back,
        only short requests go together, a few at a time.
        """
        cdef const Line* line = &self.at[surface].line
        cdef double added = line.each * (company + 1)
        if not self.at[surface].shares:
            return self.at[surface].samples and added <= min(left_ns * BATCH_SHARE, BATCH_NS)
        if line.fixed + added > left_ns * LATE_SHARE:
            return False
        return added <= max(left_ns * PASS_SHARE, FIXED_TIMES * line.fixed)

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

    def note_pass(self, int surface, int64_t took_ns, uint32_t company) -> None:
        """For tests: a pass of so many."""
        self.reckon(surface, took_ns, company)

    def room_for(self, int surface, int64_t left_ns) -> int:
        """For tests: how many a pass may have, up to a thousand."""
        full = (company for company in range(1, 1000) if not self.has_room(surface, company, left_ns))
        return next(full, 1000)
