"""What the broker knows of each surface: its deadline, what a request of it costs, how long a slow one takes."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    SURFACES_MAX = 64
    SURFACE_BYTES = 32
    OTHER = 0  # a name that no worker has announced
    ECHO = 1

cdef struct Passes:
    double took, company, squared, product   # moving averages: of the time, of how many, of their square, of both


cdef struct Line:
    double fixed, each  # nanoseconds of a pass, and of each request in it


cdef struct Surface:
    uint8_t name[SURFACE_BYTES]
    int64_t deadline_ns  # 0: the node's default
    bint shares          # its requests want the same scan
    double service_ns    # moving average of what a request costs a worker
    Passes passes
    Line line            # what its passes cost, drawn anew when one is reckoned
    double slow_ns       # running estimate of the 99th percentile of the time in a worker
    uint64_t samples


cdef class Surfaces:
    cdef Surface at[SURFACES_MAX]
    cdef readonly int count

    cdef int find(self, const uint8_t* name) noexcept nogil
    cdef void learn(self, int surface, int64_t took_ns) noexcept nogil
    cdef void reckon(self, int surface, int64_t took_ns, uint32_t company) noexcept nogil
    cdef void draw_line(self, int surface) noexcept nogil
    cdef bint has_room(self, int surface, uint32_t company, int64_t left_ns) noexcept nogil
