"""Rows that may be among the exact best k, found on int8 codes: a quarter of the bytes that the float32 rows take.

A row x is stored as scale x codes, a query q is made so here. By Cauchy and Schwarz the true product differs from that
of the codes by at most |q| |x - x'| + |q - q'| |x'|, and a block of rows stores the greatest |x - x'| and |x'| of its
rows. So each row has a lower and an upper bound of the score that the float32 kernel gives, rounding included; the k-th
greatest lower bound seen is a bar, and only rows whose upper bound reaches it are kept. Scoring those on float32 rows
gives the same rows and bits as scanning all of them.
"""

import numpy as np

from libc.math cimport INFINITY, fabs, nearbyint, sqrt
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from mixline.kernels import scan as float_scan
from mixline.kernels.errors import KernelArgumentError

cdef extern from "codes.h" nogil:
    struct mixline_code_query:
        const int16_t* query
        const int8_t* high
        const int8_t* low
    ctypedef void (*dot_codes_fn "mixline_dot_codes_fn")(
        const int8_t* codes, int64_t quads, int64_t blocks, const mixline_code_query* asked, int32_t* out) noexcept
    dot_codes_fn mixline_choose_codes(const char* simd, const char** chosen) noexcept
    uint32_t mixline_reaching(const float* values, float bar) noexcept
    int mixline_lowest_bit(uint32_t bits) noexcept

cdef enum:
    BLOCK_ROWS = 16
    RUN_BLOCKS = 16
    MOST = 127            # the greatest code of a row; -128 is not used
    QUERY_MOST = 16256    # and of a query: 127 x 128
    QUAD = 4
    QUAD_BYTES = 64
    WIDE_ROWS = 1 << 16   # more than this, or a sixteenth of the rows, and the float32 scan is as good
    BINS = 256
    ROUNDS = 4            # of dividing a bin into bins
    DIM_MAX = 1 << 16     # so that a sum fits int32
    SUM_MAX = 0x7FFFFFFF

cdef enum Metric:
    DOT = 0
    COSINE = 1
    L2 = 2

cdef double UNIT = 2.0 ** -24    # the rounding of one float32 operation
cdef double TINY = 2.0 ** -134   # per dimension, where numbers are too small for that
cdef double BELOW = 0.001        # of a bin
cdef double NORMAL = 1e18        # cosines of vectors this long or short have the error that is assumed
cdef double GREAT = 1e37         # beyond it float32 scores may overflow

cdef dot_codes_fn dot_codes = NULL


def choose_path(simd):
    global dot_codes
    cdef const char* name = NULL
    cdef bytes encoded = simd.encode()
    dot_codes = mixline_choose_codes(encoded, &name)
    return name.decode()


choose_path(float_scan.instruction_set())


cdef inline int32_t bin_of(float value, float low, float high, double to_bin) noexcept nogil:
    """Which of the bins from ``low`` to ``high``; BINS for a value outside."""
    return <int32_t>((<double>value - low) * to_bin) if low <= value <= high else BINS


cdef bint any_allowed(const uint64_t* words, Py_ssize_t block, Py_ssize_t run, Py_ssize_t count) noexcept nogil:
    """Whether the bitmap has a bit in the words of these blocks; neighbours in the same word count too."""
    cdef Py_ssize_t word
    for word in range(block >> 2, min((block + run + 3) >> 2, (count + 63) >> 6)):
        if words[word]:
            return True
    return False


cdef Py_ssize_t count_from(const float* values, Py_ssize_t count, float bar) noexcept nogil:
    """How many reach the bar."""
    cdef Py_ssize_t at
    cdef int32_t found = 0
    for at in range(count):
        found += values[at] >= bar
    return found


cdef float find_bar(const float* lowers, Py_ssize_t count, float bar, Py_ssize_t k) noexcept nogil:
    """A value from ``bar`` upwards that at least ``k`` lower bounds reach, and hardly more; ``bar`` if there is none.

    Counts into bins, and divides the bin with the k-th greatest again while it holds many. No comparison decides a
    branch, which is what makes it quicker than selection.
    """
    cdef int32_t counts[BINS + 1]
    cdef float low = bar, high = -INFINITY, edge
    cdef double to_bin
    cdef Py_ssize_t at, found
    cdef int32_t place
    cdef int _rounds
    for at in range(count):
        high = lowers[at] if lowers[at] > high else high
    if low == -INFINITY:
        low = high
        for at in range(count):
            low = lowers[at] if -INFINITY < lowers[at] < low else low
        if count_from(lowers, count, low) < k:
            return bar
    for _rounds in range(ROUNDS):
        if not low < high:
            break
        to_bin = (BINS - 1) / (<double>high - low)
        memset(counts, 0, sizeof(counts))
        for at in range(count):
            counts[bin_of(lowers[at], low, high, to_bin)] += 1
        place, found = BINS, counts[BINS] - (count - count_from(lowers, count, low))
        while place > 0 and found < k:
            place -= 1
            found += counts[place]
        edge = <float>(low + (place - BELOW) / to_bin)  # a little below the bin, since all this is rounded
        found = count_from(lowers, count, edge)
        if found < k or not low < edge:
            break
        high = min(high, <float>(low + (place + 1) / to_bin))
        low = edge
        if found - k <= k // 8:
            break
    return low


cdef class Shortlist:
    cdef readonly Py_ssize_t k
    cdef readonly bint wide
    cdef Py_ssize_t dim, quads, held, capacity, most
    cdef int metric
    cdef int16_t* query
    cdef int8_t* halves
    cdef mixline_code_query asked
    cdef float* lowers
    cdef float* uppers
    cdef uint32_t* listed
    cdef double query_scale, query_length, query_residual, rounded, underflow
    cdef float bar

    def __cinit__(self, const float[::1] query, Py_ssize_t k, *, metric="dot"):
        code = float_scan.METRICS.get(metric)
        if code is None:
            raise KernelArgumentError(f"metric {metric!r} is unknown; use one of {', '.join(float_scan.METRICS)}")
        if k < 1 or not 1 <= query.shape[0] <= DIM_MAX:
            raise KernelArgumentError(f"k is {k}, the query has {query.shape[0]} of 1 to {DIM_MAX} dimensions")
        self.k, self.metric, self.dim = k, code, query.shape[0]
        self.quads = (self.dim + QUAD - 1) // QUAD
        self.bar = -INFINITY
        self.rounded, self.underflow = (self.dim / 16.0 + 64.0) * UNIT, self.dim * TINY
        self.capacity = self.most = 4 * k + 256
        self.query = <int16_t*>malloc(QUAD * self.quads * sizeof(int16_t))
        self.halves = <int8_t*>malloc(2 * QUAD * self.quads)
        self.lowers = <float*>malloc(self.capacity * sizeof(float))
        self.uppers = <float*>malloc(self.capacity * sizeof(float))
        self.listed = <uint32_t*>malloc(self.capacity * sizeof(uint32_t))
        if not (self.query and self.halves and self.lowers and self.uppers and self.listed):
            raise MemoryError(f"no memory for a shortlist of {self.capacity} rows")
        self.asked.query, self.asked.high, self.asked.low = self.query, self.halves, self.halves + QUAD * self.quads
        self.encode(&query[0])

    def __dealloc__(self):
        free(self.query)
        free(self.halves)
        free(self.lowers)
        free(self.uppers)
        free(self.listed)

    cdef void encode(self, const float* query) noexcept nogil:
        """Codes of the query (for cosine of its direction), its length, and what the codes leave out of it."""
        cdef Py_ssize_t at
        cdef double squared = 0.0, left = 0.0, greatest = 0.0, value, unit = 1.0
        for at in range(self.dim):
            squared += <double>query[at] * query[at]
            greatest = max(greatest, fabs(query[at]))
        self.query_length = sqrt(squared)
        if self.metric == COSINE:
            self.query_length = 1.0 if 1.0 / NORMAL < self.query_length < NORMAL else INFINITY
            unit = 1.0 / sqrt(squared) if squared > 0.0 else 1.0
        self.query_scale = greatest * unit / min(QUERY_MOST, SUM_MAX // (MOST * QUAD * self.quads))
        for at in range(QUAD * self.quads):
            value = query[at] * unit if at < self.dim else 0.0
            self.query[at] = <int16_t>nearbyint(value / self.query_scale) if self.query_scale > 0.0 else 0
            self.halves[at] = <int8_t>((self.query[at] + 64) >> 7)
            self.halves[QUAD * self.quads + at] = <int8_t>(self.query[at] - 128 * self.halves[at])
            value -= self.query_scale * self.query[at]
            left += value * value
        self.query_residual = sqrt(left) * (1.0 + 1e-12)

    cdef float margin(self, const float* bounds) noexcept nogil:
        """By how much a score of this block may differ from its estimate: codes left out, and float32 rounded.

        Infinite where float32 scores leave the normal numbers, since there nothing is known of their error.
        """
        cdef double reach = self.query_length * bounds[1]
        cdef double lost = self.query_length * bounds[0] + self.query_residual * bounds[1]
        if self.metric == COSINE:
            return <float>(lost + self.rounded * max(reach, 1.0))
        if self.metric == L2:
            reach = (self.query_length + bounds[1]) * (self.query_length + bounds[1])
            lost = 2.0 * lost
        return <float>(lost + self.rounded * reach + self.underflow) if reach < GREAT else <float>INFINITY

    cdef void raise_bar(self) noexcept nogil:
        """The bar becomes the k-th greatest lower bound, or hardly less; let go of what cannot reach it."""
        cdef Py_ssize_t at, kept = 0
        if self.held < self.k:
            return
        self.bar = find_bar(self.lowers, self.held, self.bar, self.k)
        for at in range(self.held):
            self.lowers[kept], self.uppers[kept], self.listed[kept] = self.lowers[at], self.uppers[at], self.listed[at]
            kept += self.uppers[at] >= self.bar
        self.held = kept

    cdef int make_room(self) noexcept nogil:
        """Room for one more block, or ``wide``; -1 without memory."""
        cdef Py_ssize_t capacity = 2 * self.capacity
        cdef void* grown[3]
        self.raise_bar()
        if self.held <= self.capacity - self.capacity // 4:
            return 0
        if self.held >= self.most:
            self.wide = True
            return 0
        grown[0] = realloc(self.lowers, capacity * sizeof(float))
        self.lowers = <float*>grown[0] if grown[0] != NULL else self.lowers
        grown[1] = realloc(self.uppers, capacity * sizeof(float))
        self.uppers = <float*>grown[1] if grown[1] != NULL else self.uppers
        grown[2] = realloc(self.listed, capacity * sizeof(uint32_t))
        self.listed = <uint32_t*>grown[2] if grown[2] != NULL else self.listed
        if grown[0] == NULL or grown[1] == NULL or grown[2] == NULL:
            return -1
        self.capacity = capacity
        return 0

    cdef int offer_block(self, const float* estimates, float margin, uint32_t first, uint32_t allowed) noexcept nogil:
        """Keep those of one block's allowed rows that may reach the bar; -1 without memory."""
        cdef uint32_t reaching = allowed
        cdef Py_ssize_t at
        if margin < INFINITY:
            reaching &= mixline_reaching(estimates, self.bar - margin)
        if not reaching:
            return 0
        if self.held + BLOCK_ROWS > self.capacity:
            if self.make_room() < 0:
                return -1
            if self.wide:
                return 0
        while reaching:
            at = mixline_lowest_bit(reaching)
            reaching &= reaching - 1
            self.lowers[self.held] = estimates[at] - margin if margin < INFINITY else -<float>INFINITY
            self.uppers[self.held] = estimates[at] + margin if margin < INFINITY else <float>INFINITY
            self.listed[self.held] = first + <uint32_t>at
            self.held += 1
        return 0

    cdef void estimate(self, const int32_t* sums, const float* scales, const float* norms, Py_ssize_t rows,
                       float* out) noexcept nogil:
        """Scores of one block as its codes tell them."""
        cdef Py_ssize_t at
        cdef float scale = <float>self.query_scale
        cdef double base = self.query_length * self.query_length
        for at in range(BLOCK_ROWS):
            out[at] = <float>sums[at] * (scales[at] * scale)
        if self.metric == L2:
            for at in range(rows):
                out[at] = <float>(2.0 * out[at] - base - <double>norms[at] * norms[at])

    cdef int scan_blocks(self, const int8_t* codes, const float* scales, const float* bounds, const float* norms,
                         Py_ssize_t count, const uint64_t* words, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
        cdef int32_t sums[RUN_BLOCKS * BLOCK_ROWS]
        cdef float estimates[BLOCK_ROWS]
        cdef Py_ssize_t block = start, run, at, first, rows
        cdef uint32_t allowed
        while block < stop:
            run = min(<Py_ssize_t>RUN_BLOCKS, stop - block)
            if words != NULL and not any_allowed(words, block, run, count):
                block += run
                continue
            dot_codes(codes + block * self.quads * QUAD_BYTES, self.quads, run, &self.asked, sums)
            for at in range(run):
                first = block * BLOCK_ROWS
                rows = min(<Py_ssize_t>BLOCK_ROWS, count - first)
                allowed = (1 << rows) - 1
                if words != NULL:
                    allowed &= <uint32_t>(words[block >> 2] >> ((block & 3) * BLOCK_ROWS))
                self.estimate(sums + at * BLOCK_ROWS, scales + first, norms + first if norms != NULL else NULL, rows,
                              estimates)
                if self.offer_block(estimates, self.margin(bounds + 2 * block), <uint32_t>first, allowed) < 0:
                    return -1
                if self.wide:
                    return 0
                block += 1
        return 0

    def scan(self, const int8_t[:, :, :, ::1] codes, const float[::1] scales, const float[:, ::1] bounds,
             Py_ssize_t count, *, const float[::1] norms=None, const uint64_t[::1] allowed=None, start=0, stop=None):
        cdef Py_ssize_t blocks = codes.shape[0], first = start, last = blocks if stop is None else stop
        if codes.shape[1] != self.quads or codes.shape[2] != BLOCK_ROWS or codes.shape[3] != 4:
            raise KernelArgumentError(
                f"codes of {tuple(codes.shape)[:4]} do not fit a query of {self.dim}: (blocks, {self.quads}, 16, 4)")
        if not 0 <= first <= last <= blocks or (count + BLOCK_ROWS - 1) // BLOCK_ROWS != blocks:
            raise KernelArgumentError(f"blocks {first}..{last} of {blocks}, which hold {count} rows")
        if scales.shape[0] != blocks * BLOCK_ROWS or bounds.shape[0] != blocks or bounds.shape[1] != 2:
            raise KernelArgumentError(f"{scales.shape[0]} scales and {bounds.shape[0]} bounds for {blocks} blocks")
        if self.metric == L2 and (norms is None or norms.shape[0] != count):
            raise KernelArgumentError(f"the l2 metric needs norms=, the L2 norm of each of {count} rows")
        if allowed is not None and allowed.shape[0] * 64 < count:
            raise KernelArgumentError(f"a bitmap of {allowed.shape[0]} words for {count} rows")
        if first == last or self.wide:
            return
        cdef const float* norms_at = &norms[0] if self.metric == L2 else NULL
        cdef const uint64_t* words = &allowed[0] if allowed is not None else NULL
        cdef int failed
        with nogil:
            self.most = max(<Py_ssize_t>WIDE_ROWS, count // 16, self.most)
            failed = self.scan_blocks(&codes[0, 0, 0, 0], &scales[0], &bounds[0, 0], norms_at, count, words, first,
                                      last)
        if failed:
            raise MemoryError(f"no memory for a shortlist of {2 * self.capacity} rows")

    def rows(self):
        cdef Py_ssize_t at
        with nogil:
            self.raise_bar()
        found = np.empty(self.held, dtype=np.uint32)
        cdef uint32_t[::1] out = found
        for at in range(self.held):
            out[at] = self.listed[at]
        return found
