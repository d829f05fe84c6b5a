"""Approximate nearest rows by walking a proximity graph: best first, on int8 codes that lie row by row.

A walk reads one line of neighbours and some twenty rows of codes a hop, each a miss of the caches, so all that a hop
needs is fetched at once and scored in one call. What it finds are candidates: estimates rank them, and whoever asked
scores the best few on the float32 rows (``scan_listed``).
"""

import numpy as np

from libc.math cimport fabs, nearbyint
from libc.stdint cimport int8_t, int16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc

from mixline.kernels.beam cimport (
    Asked,
    BATCH,
    Beam,
    Graph,
    MIXLINE_ROWCODE_STEP,
    ROWS_MAX,
    begin,
    counts,
    dot_rows_fn,
    hop,
    mixline_choose_rows,
    row_of,
)
from mixline.kernels.frame cimport look_at_frame, mixline_frame, mixline_place

from mixline.kernels import scan as float_scan
from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.isa import checked, in_use

cdef enum:
    MOST = 127              # the greatest code of a row
    QUERY_MOST = 16256      # and of a query: 127 x 128
    SUM_MAX = 0x7FFFFFFF
    FORBIDDEN_TIMES = 64    # a beam holds so many times its width when rows are forbidden

cdef enum Metric:
    DOT = 0
    COSINE = 1
    L2 = 2

cdef dot_rows_fn dot_rows = NULL


def choose_path(isa):
    global dot_rows
    cdef const char* name = NULL
    cdef bytes encoded = checked(isa).encode()
    dot_rows = mixline_choose_rows(encoded, &name)
    return name.decode()


choose_path(in_use())


def rerank_count(Py_ssize_t k):
    return k + k // 2


cdef void encode(Asked* asked, const double* query, Py_ssize_t dim, double unit, bint centered,
                 Py_ssize_t width) noexcept nogil:
    """Codes of the placed query, with 15 bits where sums allow, and what makes distances of their sums.

    Products rank alike whatever the query's length, so it is divided out; a distance needs both terms, and the greater
    factor of the two is 1, so that none overflows.
    """
    cdef double greatest = 0.0, value, scale
    cdef Py_ssize_t at
    for at in range(dim):
        greatest = max(greatest, fabs(query[at]))
    scale = greatest / min(QUERY_MOST, SUM_MAX // (MOST * width))
    for at in range(width):
        value = query[at] if at < dim else 0.0
        asked.query[at] = <int16_t>nearbyint(value / scale) if scale > 0.0 else 0
    asked.scale, asked.bias, asked.extra = 1.0, 0.0, 0.0
    if centered:
        scale /= unit
        asked.scale = <float>min(scale, 1.0)
        asked.bias = <float>(1.0 / max(scale, 1.0))


cdef class GraphSearch:
    cdef Graph graph
    cdef Asked asked
    cdef Beam beam
    cdef Py_ssize_t dim, room
    cdef bint centered
    cdef const uint32_t[:, ::1] neighbours
    cdef const int8_t[:, ::1] codes
    cdef const float[:, ::1] factors
    cdef const uint32_t[::1] entries
    cdef const float[::1] center
    cdef const int8_t[:, ::1] signs
    cdef mixline_frame frame
    cdef double* placed
    cdef const uint64_t[::1] allowed

    def __cinit__(self, const uint32_t[:, ::1] neighbours, const int8_t[:, ::1] codes, const float[:, ::1] factors,
                  const uint32_t[::1] entries, const float[::1] center, const int8_t[:, ::1] signs=None, *,
                  metric="dot"):
        cdef Py_ssize_t count = codes.shape[0], width = codes.shape[1]
        code = float_scan.METRICS.get(metric)
        if code is None:
            raise KernelArgumentError(f"metric {metric!r} is unknown; use one of {', '.join(float_scan.METRICS)}")
        if neighbours.shape[0] != count or factors.shape[0] != count or factors.shape[1] != 2 or count >= ROWS_MAX:
            raise KernelArgumentError(f"{neighbours.shape[0]} lists of neighbours and {factors.shape[0]} pairs of "
                                      f"factors for {count} rows, of which there may be 2^31 - 1")
        if not 1 <= neighbours.shape[1] <= BATCH:
            raise KernelArgumentError(f"a degree of {neighbours.shape[1]}; it must be from 1 to {BATCH}")
        self.dim = center.shape[0] - 1
        if self.dim < 1 or width % MIXLINE_ROWCODE_STEP or not 0 <= width - self.dim < MIXLINE_ROWCODE_STEP:
            raise KernelArgumentError(f"codes of {width} bytes a row do not fit {self.dim} dimensions")
        self.neighbours, self.codes, self.factors = neighbours, codes, factors
        self.entries, self.center, self.signs, self.centered = entries, center, signs, code == L2
        if self.centered:
            self.frame = look_at_frame(center[:self.dim], signs, self.dim)
        else:
            self.frame = look_at_frame(None, signs, self.dim)
        self.graph.dot_rows = dot_rows
        self.graph.count, self.graph.width = count, width
        self.graph.degree, self.graph.parts = neighbours.shape[1], 2
        if count:
            self.graph.codes, self.graph.factors = &codes[0, 0], &factors[0, 0]
            self.graph.neighbours = &neighbours[0, 0]
        self.asked.query = <int16_t*>malloc(width * sizeof(int16_t))
        self.placed = <double*>malloc(self.dim * sizeof(double))
        self.beam.seen = <uint64_t*>malloc(((count + 63) >> 6) * sizeof(uint64_t) + 1)
        if self.asked.query == NULL or self.placed == NULL or self.beam.seen == NULL:
            raise MemoryError(f"no memory to search {count} rows")

    def __dealloc__(self):
        free(self.asked.query)
        free(self.placed)
        free(self.beam.seen)
        free(self.beam.entries)

    cdef int prepare(self, const float[::1] query, Py_ssize_t width, const uint64_t[::1] allowed) except -1:
        cdef Py_ssize_t limit = min(width, max(self.graph.count, <Py_ssize_t>1))
        cdef void* grown
        if query.shape[0] != self.dim or width < 1:
            raise KernelArgumentError(f"a query of {query.shape[0]} dimensions and a width of {width}; the graph has "
                                      f"{self.dim}, and a width is at least 1")
        if allowed is not None and allowed.shape[0] * 64 < self.graph.count:
            raise KernelArgumentError(f"a bitmap of {allowed.shape[0]} words for {self.graph.count} rows")
        self.allowed = allowed
        self.beam.allowed = &allowed[0] if allowed is not None and self.graph.count else NULL
        self.beam.width = limit
        if self.beam.allowed != NULL:
            limit = min(FORBIDDEN_TIMES * limit, self.graph.count)
        self.beam.limit = limit
        if limit > self.room:
            grown = realloc(self.beam.entries, (limit + BATCH) * sizeof(uint64_t))
            if grown == NULL:
                raise MemoryError(f"no memory for a beam of {limit}")
            self.beam.entries, self.room = <uint64_t*>grown, limit
        with nogil:
            mixline_place(&query[0], self.dim, &self.frame, self.placed)
            encode(&self.asked, self.placed, self.dim, self.center[self.dim], self.centered, self.graph.width)
            begin(&self.graph, &self.asked, &self.beam, &self.entries[0] if self.entries.shape[0] else NULL,
                  self.entries.shape[0] if self.graph.count else 0)
        return 0

    def start(self, const float[::1] query, Py_ssize_t width, *, const uint64_t[::1] allowed=None):
        self.prepare(query, width, allowed)

    def run(self, Py_ssize_t hops):
        with nogil:
            while hops > 0:
                if not hop(&self.graph, &self.asked, &self.beam):
                    break
                hops -= 1
        return hops > 0

    def rows(self, Py_ssize_t most):
        cdef Py_ssize_t at, found = 0, size = max(<Py_ssize_t>0, min(most, self.beam.kept))
        listed = np.empty(size, dtype=np.uint32)
        cdef uint32_t[::1] out = listed
        for at in range(self.beam.held):
            if found == size:
                break
            if counts(&self.beam, self.beam.entries[at]):
                out[found] = row_of(self.beam.entries[at])
                found += 1
        return listed

    def search(self, const float[::1] query, Py_ssize_t width, Py_ssize_t most, *, const uint64_t[::1] allowed=None):
        self.prepare(query, width, allowed)
        with nogil:
            while hop(&self.graph, &self.asked, &self.beam):
                pass
        return self.rows(most)

    @property
    def hops(self):
        return self.beam.hops

    @property
    def scored(self):
        return self.beam.scored
