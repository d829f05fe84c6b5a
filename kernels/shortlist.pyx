"""Rows that may be among the exact best k, found on int8 codes: a quarter of the bytes that the float32 rows take.

A row x is stored as scale x codes, a query q is made so here. By Cauchy and Schwarz the true product differs from that
of the codes by at most |q| |x - x'| + |q - q'| |x'|, and a block of rows stores the greatest |x - x'| and |x'| of its
rows. So each row has a lower and an upper bound of the score that the float32 kernel gives, rounding included; the k-th
greatest lower bound seen is a bar, and only rows whose upper bound reaches it are kept. Scoring those on float32 rows
gives the same rows and bits as scanning all of them.
"""

import numpy as np

from libc.math cimport INFINITY, nextafterf, sqrt
from libc.stdint cimport int8_t, int16_t, int32_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc

from mixline.kernels.bar cimport count_from, find_bar, kth_greatest
from mixline.kernels.codes cimport (
    ABSENT,
    BLOCK_ROWS,
    COSINE,
    DIM_MAX,
    L2,
    LINE_BYTES,
    MIXLINE_CODE_QUERIES,
    OCTET,
    QUAD,
    CodedRows,
    code_vector,
    codes_together,
    look_at_codes,
    mixline_code_query,
    multiply,
    weigh_codes,
)
from mixline.kernels.shortlist cimport RUN_BLOCKS, Short

from mixline.kernels import scan as float_scan
from mixline.kernels.errors import KernelArgumentError

cdef extern from "codes.h" nogil:
    uint32_t mixline_reaching(const float* values, float bar) noexcept
    int mixline_lowest_bit(uint32_t bits) noexcept

cdef enum:
    RUN_BYTES = 16384     # of codes that several queries go over while they are in the nearest cache
    WIDE_ROWS = 1 << 16   # more than this, or a sixteenth of the rows, and the float32 scan is as good
    HALVES = 128          # a query code is this times its high half, and the low one
    TOGETHER = 256        # queries in one pass
    SAMPLE_BLOCKS = 64    # looked at beforehand, to guess where the bar will end
    SAMPLE_ROWS = SAMPLE_BLOCKS * BLOCK_ROWS
    SAMPLED_MIN = 4       # times the sample: fewer rows are not worth it

cdef double UNIT = 2.0 ** -24    # the rounding of one float32 operation
cdef double TINY = 2.0 ** -125   # per dimension, where numbers are too small for that
cdef double FAINT = 1e-30        # a query's scale below which float32 does not hold it
cdef double NORMAL = 1e18        # cosines of vectors this long or short have the error that is assumed
cdef double GREAT = 1e37         # beyond it float32 scores may overflow

TOGETHER_MAX = TOGETHER


cdef inline bint is_allowed(const uint64_t* words, uint32_t row) noexcept nogil:
    return words == NULL or words[row >> 6] >> (row & 63) & 1


cdef bint any_allowed(const uint64_t* words, Py_ssize_t block, Py_ssize_t run, Py_ssize_t count) noexcept nogil:
    """Whether the bitmap has a bit in the words of these blocks; neighbours in the same word count too."""
    cdef Py_ssize_t word
    for word in range(block >> 2, min((block + run + 3) >> 2, (count + 63) >> 6)):
        if words[word]:
            return True
    return False


cdef void encode(Short* short, const float* query) noexcept nogil:
    """Codes of the query (for cosine of its direction), its length, and what the codes leave out of it."""
    cdef Py_ssize_t at
    cdef double squared = 0.0, left = 0.0, value, unit = 1.0
    for at in range(short.dim):
        squared += <double>query[at] * query[at]
    short.query_length = sqrt(squared)
    if short.metric == COSINE:
        short.query_length = 1.0 if 1.0 / NORMAL < short.query_length < NORMAL else INFINITY
        unit = 1.0 / sqrt(squared) if squared > 0.0 else 1.0
    short.query_scale = code_vector(query, short.dim, unit, short.query, short.halves)
    for at in range(short.dim):
        value = query[at] * unit - short.query_scale * short.query[at]
        left += value * value
    short.query_residual = sqrt(left) * (1.0 + 1e-12)
    if 0.0 < short.query_scale < FAINT:
        short.query_length = INFINITY


cdef void find_margins(const Short* short, const CodedRows* rows, Py_ssize_t start, Py_ssize_t run,
                       float* out) noexcept nogil:
    """By how much scores of these blocks may differ from their estimates: codes left out, and float32 rounded.

    Infinite where float32 scores leave the normal numbers, since there nothing is known of their error. None at all
    for whoever wants estimates.
    """
    cdef const float* bounds
    cdef double length = short.query_length, residual = short.query_residual
    cdef double rounded = short.rounded, underflow = short.underflow, reach, lost
    cdef Py_ssize_t at
    if short.estimates:
        for at in range(run):
            out[at] = 0.0
        return
    bounds = rows.bounds + 2 * start
    for at in range(run):
        reach = length * bounds[2 * at + 1]
        lost = length * bounds[2 * at] + residual * bounds[2 * at + 1]
        if short.metric == COSINE:
            out[at] = <float>(lost + rounded * max(reach, 1.0))
            continue
        if short.metric == L2:
            reach = (length + bounds[2 * at + 1]) * (length + bounds[2 * at + 1])
            lost = 2.0 * lost
        out[at] = <float>(lost + rounded * reach + underflow) if reach < GREAT else <float>INFINITY


cdef void raise_bar(Short* short) noexcept nogil:
    """The bar becomes the k-th greatest lower bound, or hardly less; let go of what cannot reach it."""
    cdef Py_ssize_t at, kept = 0
    if short.held < short.k or (short.estimates and count_from(short.lowers, short.held, short.bar) < short.k):
        return
    short.bar = find_bar(short.lowers, short.held, short.bar, short.k)
    for at in range(short.held):
        short.lowers[kept], short.uppers[kept] = short.lowers[at], short.uppers[at]
        short.listed[kept] = short.listed[at]
        kept += short.uppers[at] >= short.bar
    short.held = kept


cdef void drop_equals(Short* short) noexcept nogil:
    """Keep the best k exactly; of rows whose estimates are equal those that came first, and let no more of them in."""
    cdef Py_ssize_t at, kept = 0, better
    cdef float bar = kth_greatest(short.lowers, short.held, short.k)
    cdef float above = nextafterf(bar, <float>INFINITY)
    cdef Py_ssize_t equals = short.k - (count_from(short.lowers, short.held, above) if above > bar else 0)
    for at in range(short.held):
        better = short.lowers[at] > bar
        if better or (short.lowers[at] == bar and equals > 0):
            short.lowers[kept] = short.uppers[kept] = short.lowers[at]
            short.listed[kept] = short.listed[at]
            kept += 1
            equals -= not better
    short.held, short.bar = kept, above


cdef int make_room(Short* short) noexcept nogil:
    """Room for one more block, or ``wide``; -1 without memory."""
    cdef Py_ssize_t capacity = 2 * short.capacity
    cdef void* grown[3]
    raise_bar(short)
    if short.held <= short.capacity - short.capacity // 4:
        return 0
    if short.estimates:
        drop_equals(short)
        return 0
    if short.held >= short.most:
        short.wide = True
        return 0
    grown[0] = realloc(short.lowers, capacity * sizeof(float))
    short.lowers = <float*>grown[0] if grown[0] != NULL else short.lowers
    grown[1] = realloc(short.uppers, capacity * sizeof(float))
    short.uppers = <float*>grown[1] if grown[1] != NULL else short.uppers
    grown[2] = realloc(short.listed, capacity * sizeof(uint32_t))
    short.listed = <uint32_t*>grown[2] if grown[2] != NULL else short.listed
    if grown[0] == NULL or grown[1] == NULL or grown[2] == NULL:
        return -1
    short.capacity = capacity
    return 0


cdef int keep(Short* short, const float* estimates, float margin, const uint32_t* listed, uint32_t first,
              uint32_t reaching) noexcept nogil:
    """Keep those of one block's rows that may reach the bar; -1 without memory.

    The rows are ``listed``, or ``first`` and what follows. Of listed ones the bitmap is asked here, since they lie
    anywhere in it and few get so far.
    """
    cdef uint32_t row
    cdef Py_ssize_t at
    if short.held + BLOCK_ROWS > short.capacity:
        if make_room(short) < 0:
            return -1
        if short.wide:
            return 0
    while reaching:
        at = mixline_lowest_bit(reaching)
        reaching &= reaching - 1
        row = first + <uint32_t>at if listed == NULL else listed[at]
        if margin == 0.0 and estimates[at] != estimates[at]:
            continue  # what overflowed tells nothing, and whoever wants estimates does not want it
        if listed != NULL and (row == ABSENT or not is_allowed(short.allowed, row)):
            continue
        short.lowers[short.held] = estimates[at] - margin if margin < INFINITY else -<float>INFINITY
        short.uppers[short.held] = estimates[at] + margin if margin < INFINITY else <float>INFINITY
        short.listed[short.held] = row
        short.held += 1
    return 0


cdef uint32_t weigh(const Short* short, const int32_t* sums, const CodedRows* rows, Py_ssize_t start, Py_ssize_t run,
                    const float* bars, float* estimates, uint32_t* reaching) noexcept nogil:
    """Scores as the codes tell them, and as bits which rows of each block reach its bar; as bits, which blocks."""
    cdef Py_ssize_t at, block, first = start * BLOCK_ROWS
    cdef const float* norms = rows.norms + first
    cdef double base = short.query_length * short.query_length
    cdef float scale = <float>(short.query_scale * (HALVES if rows.nibbles != NULL else 1))
    cdef uint32_t found = weigh_codes(sums, rows.scales + first, scale, bars, run, estimates, reaching)
    if short.metric != L2:
        return found
    found = 0
    for at in range(min(run * BLOCK_ROWS, rows.count - first)):
        estimates[at] = <float>(2.0 * estimates[at] - base - <double>norms[at] * norms[at])
    for block in range(run):
        reaching[block] = mixline_reaching(estimates + block * BLOCK_ROWS, bars[block])
        found |= <uint32_t>(reaching[block] != 0) << block
    return found


cdef uint32_t allowed_rows(const Short* short, const CodedRows* rows, Py_ssize_t block) noexcept nogil:
    """As bits, which rows of a block there are and may be kept. Of listed ones it is asked later."""
    cdef Py_ssize_t size = min(<Py_ssize_t>BLOCK_ROWS, rows.count - block * BLOCK_ROWS)
    cdef uint32_t allowed = (1 << size) - 1
    if short.allowed != NULL and rows.listed == NULL:
        allowed &= <uint32_t>(short.allowed[block >> 2] >> ((block & 3) * BLOCK_ROWS))
    return allowed


cdef int offer_run(Short* short, const int32_t* sums, const CodedRows* rows, Py_ssize_t start,
                   Py_ssize_t run) noexcept nogil:
    """What the sums of some blocks mean for one query; -1 without memory."""
    cdef float margins[RUN_BLOCKS]
    cdef float bars[RUN_BLOCKS]
    cdef float estimates[RUN_BLOCKS * BLOCK_ROWS]
    cdef uint32_t reaching[RUN_BLOCKS]
    cdef Py_ssize_t at, first
    cdef uint32_t blocks, rest
    cdef float began = short.bar
    find_margins(short, rows, start, run, margins)
    for at in range(run):
        bars[at] = short.bar - margins[at]
    blocks = weigh(short, sums, rows, start, run, bars, estimates, reaching)
    while blocks:
        at = mixline_lowest_bit(blocks)
        blocks &= blocks - 1
        first = (start + at) * BLOCK_ROWS
        rest = reaching[at] & allowed_rows(short, rows, start + at)
        if short.bar > began:
            rest &= mixline_reaching(estimates + at * BLOCK_ROWS, short.bar - margins[at])
        if rest and keep(short, estimates + at * BLOCK_ROWS, margins[at],
                         rows.listed + first if rows.listed != NULL else NULL, <uint32_t>first, rest) < 0:
            return -1
        if short.wide:
            break
    return 0


cdef int scan_group(Short** group, int many, const CodedRows* rows, Py_ssize_t start, Py_ssize_t run) noexcept nogil:
    """Up to MIXLINE_CODE_QUERIES queries over up to RUN_BLOCKS blocks; -1 without memory."""
    cdef int32_t sums[MIXLINE_CODE_QUERIES][RUN_BLOCKS * BLOCK_ROWS]
    cdef mixline_code_query asked[MIXLINE_CODE_QUERIES]
    cdef int at
    for at in range(many):
        asked[at] = group[at].asked
        asked[at].out = sums[at]
    multiply(rows, start, run, asked, many)
    for at in range(many):
        if offer_run(group[at], sums[at], rows, start, run) < 0:
            return -1
    return 0


cdef void guess_bar(Short* short, const CodedRows* rows) noexcept nogil:
    """Begin with a bar that more than k rows will reach all but surely, told from a sample of all blocks.

    Of s sampled rows about s k / n belong to the best k, with a standard deviation of the root of that. Four deviations
    further down in the sample too few rows reach the bar once in many thousand queries; more often where neighbouring
    rows are alike. Then the list comes out short, which is seen (``missed``).
    """
    cdef int32_t sums[BLOCK_ROWS]
    cdef float estimates[BLOCK_ROWS]
    cdef float lowers[SAMPLE_ROWS]
    cdef mixline_code_query asked = short.asked
    cdef Py_ssize_t at, block, row, seen = 0, blocks = (rows.count + BLOCK_ROWS - 1) // BLOCK_ROWS
    cdef double share = <double>short.k * SAMPLE_ROWS / rows.count
    cdef float margin, bar = -INFINITY
    cdef uint32_t allowed, reaching
    short.may_guess = False
    asked.out = sums
    for at in range(SAMPLE_BLOCKS):
        block = (2 * at + 1) * blocks // (2 * SAMPLE_BLOCKS)
        multiply(rows, block, 1, &asked, 1)
        weigh(short, sums, rows, block, 1, &bar, estimates, &reaching)
        find_margins(short, rows, block, 1, &margin)
        allowed = allowed_rows(short, rows, block)
        while allowed:
            row = mixline_lowest_bit(allowed)
            allowed &= allowed - 1
            lowers[seen] = estimates[row] - margin if margin < INFINITY else -<float>INFINITY
            seen += 1
    share += 4.0 * sqrt(share) + 4.0
    if share < seen:
        short.guess = short.bar = find_bar(lowers, seen, -<float>INFINITY, <Py_ssize_t>share)


cdef int scan_blocks(Short** shorts, Py_ssize_t many, const CodedRows* rows, Py_ssize_t start,
                     Py_ssize_t stop) noexcept nogil:
    """All queries over the blocks, a run at a time, so that each byte comes from memory once; -1 without memory."""
    cdef Short* group[MIXLINE_CODE_QUERIES]
    cdef Py_ssize_t block = start, run, most = RUN_BLOCKS, at
    cdef int size
    if many > 1:
        most = max(<Py_ssize_t>1, min(most, RUN_BYTES // (rows.lines * LINE_BYTES)))
    while block < stop:
        run = min(most, stop - block)
        size = 0
        for at in range(many):
            if shorts[at].wide:
                continue
            if shorts[at].allowed != NULL and rows.listed == NULL:
                if not any_allowed(shorts[at].allowed, block, run, rows.count):
                    continue
            group[size] = shorts[at]
            size += 1
            if size == codes_together:
                if scan_group(group, size, rows, block, run) < 0:
                    return -1
                size = 0
        if size and scan_group(group, size, rows, block, run) < 0:
            return -1
        block += run
    return 0


cdef int open_short(Short* short, Py_ssize_t k, Py_ssize_t dim, int metric, bint estimates) noexcept nogil:
    """Room for a query of ``dim`` and its best ``k``; -1 without memory. ``short`` was zero."""
    short.k, short.metric, short.dim, short.estimates = k, metric, dim, estimates
    short.quads = (dim + QUAD - 1) // QUAD
    short.rounded, short.underflow = (dim / 16.0 + 64.0) * UNIT, dim * TINY
    short.capacity = short.most = 4 * k + 256
    short.query = <int16_t*>malloc(QUAD * short.quads * sizeof(int16_t))
    short.halves = <int8_t*>malloc(2 * QUAD * short.quads)
    short.lowers = <float*>malloc(short.capacity * sizeof(float))
    short.uppers = <float*>malloc(short.capacity * sizeof(float))
    short.listed = <uint32_t*>malloc(short.capacity * sizeof(uint32_t))
    if not (short.query and short.halves and short.lowers and short.uppers and short.listed):
        return -1
    short.asked.query, short.asked.high = short.query, short.halves
    short.asked.low = short.halves + QUAD * short.quads
    return 0


cdef void begin(Short* short, const float* query) noexcept nogil:
    """Empty, for this query."""
    short.bar = short.guess = <float>-INFINITY
    short.held, short.wide = 0, False
    encode(short, query)


cdef void begin_alike(Short* short, const Short* other) noexcept nogil:
    """Empty, for the query of ``other``, which must outlive it."""
    short.bar = short.guess = <float>-INFINITY
    short.held, short.wide, short.asked = 0, False, other.asked
    short.query_scale, short.query_length = other.query_scale, other.query_length
    short.query_residual = other.query_residual


cdef void close_short(Short* short) noexcept nogil:
    free(short.query)
    free(short.halves)
    free(short.lowers)
    free(short.uppers)
    free(short.listed)


cdef class Shortlist:
    cdef Short short
    cdef readonly Py_ssize_t k

    def __cinit__(self, const float[::1] query, Py_ssize_t k, *, metric="dot", bint guess=True, keep=None):
        cdef Py_ssize_t kept = k if keep is None else keep
        code = float_scan.METRICS.get(metric)
        if code is None:
            raise KernelArgumentError(f"metric {metric!r} is unknown; use one of {', '.join(float_scan.METRICS)}")
        if k < 1 or not 1 <= query.shape[0] <= DIM_MAX:
            raise KernelArgumentError(f"k is {k}, the query has {query.shape[0]} of 1 to {DIM_MAX} dimensions")
        if kept < k:
            raise KernelArgumentError(f"keep is {kept}, which is less than k, {k}")
        self.k = k
        if open_short(&self.short, kept, query.shape[0], code, keep is not None) < 0:
            raise MemoryError(f"no memory for a shortlist of {4 * kept + 256} rows")
        self.short.may_guess = guess
        begin(&self.short, &query[0])

    def __dealloc__(self):
        close_short(&self.short)

    @property
    def wide(self):
        return self.short.wide

    @property
    def certified(self):
        return not (self.short.estimates or self.short.wide or self.missed)

    @property
    def widening(self):
        return <double>self.short.held / self.k

    @property
    def missed(self):
        cdef Short* short = &self.short
        return short.guess > -INFINITY and count_from(short.lowers, short.held, short.guess) < short.k

    def scan(self, codes, scales, bounds, count, *, norms=None, allowed=None, start=0, stop=None):
        scan_together([self], codes, scales, bounds, count, norms=norms, allowed=[allowed], start=start, stop=stop)

    def rows(self):
        cdef Py_ssize_t at
        with nogil:
            raise_bar(&self.short)
            if self.short.estimates and self.short.held > self.short.k + self.short.k // 8:
                drop_equals(&self.short)
        found = np.empty(self.short.held, dtype=np.uint32)
        cdef uint32_t[::1] out = found
        for at in range(self.short.held):
            out[at] = self.short.listed[at]
        return found


def scan_together(shortlists, codes, const float[::1] scales, const float[:, ::1] bounds, Py_ssize_t count, *,
                  const float[::1] norms=None, allowed=None, start=0, stop=None):
    cdef Py_ssize_t blocks = len(codes), first = start, last = blocks if stop is None else stop
    cdef Py_ssize_t at, many = len(shortlists), failed
    cdef Short* shorts[TOGETHER]
    cdef CodedRows rows
    cdef Shortlist one
    cdef const uint64_t[::1] words
    cdef int width
    if many > TOGETHER:
        raise KernelArgumentError(f"{many} shortlists; at most {TOGETHER} are scanned together")
    if not 0 <= first <= last <= blocks or (count + BLOCK_ROWS - 1) // BLOCK_ROWS != blocks:
        raise KernelArgumentError(f"blocks {first}..{last} of {blocks}, which hold {count} rows")
    if scales.shape[0] != blocks * BLOCK_ROWS:
        raise KernelArgumentError(f"{scales.shape[0]} scales for {blocks} blocks")
    if bounds is not None and (bounds.shape[0] != blocks or bounds.shape[1] != 2):
        raise KernelArgumentError(f"bounds of {bounds.shape[0]} x {bounds.shape[1]} for {blocks} blocks")
    if allowed is not None and len(allowed) != many:
        raise KernelArgumentError(f"{len(allowed)} bitmaps for {many} shortlists")
    for at in range(many):
        one = shortlists[at]
        shorts[at] = &one.short
        if not at or one.short.dim != shorts[at - 1].dim:
            width = look_at_codes(&rows, codes, one.short.dim)
        if not one.short.estimates and (bounds is None or width == OCTET):
            raise KernelArgumentError("codes without bounds, as int4 ones are, prove nothing: a shortlist needs keep=")
        if one.short.metric == L2 and (norms is None or norms.shape[0] != count):
            raise KernelArgumentError(f"the l2 metric needs norms=, the L2 norm of each of {count} rows")
        one.short.allowed = NULL
        words = None if allowed is None else allowed[at]
        if words is not None:
            if words.shape[0] * 64 < count:
                raise KernelArgumentError(f"a bitmap of {words.shape[0]} words for {count} rows")
            one.short.allowed = &words[0] if count else NULL
        one.short.most = max(<Py_ssize_t>WIDE_ROWS, count // 16, one.short.most)
    if first == last or not many:
        return
    rows.scales, rows.count, rows.listed = &scales[0], count, NULL
    rows.bounds = &bounds[0, 0] if bounds is not None else NULL
    rows.norms = &norms[0] if norms is not None else NULL
    with nogil:
        for at in range(many):
            if shorts[at].may_guess and count >= SAMPLED_MIN * SAMPLE_ROWS:
                guess_bar(shorts[at], &rows)
        failed = scan_blocks(shorts, many, &rows, first, last)
    if failed:
        raise MemoryError("no memory for a longer shortlist")
