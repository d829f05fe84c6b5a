"""One query on its way over codes: its own codes and bounds, its bar, and the rows that may be among the best.

A row x is stored as scale x codes, a query q is made so here. By Cauchy and Schwarz the true product differs from that
of the codes by at most |q| |x - x'| + |q - q'| |x'|, and a block of rows stores the greatest |x - x'| and |x'| of its
rows. So each row has a lower and an upper bound of the score that the float32 kernel gives, rounding included; the k-th
greatest lower bound seen is a bar, and only rows whose upper bound reaches it are kept.
"""

from libc.math cimport INFINITY, sqrt
from libc.stdint cimport int8_t, int16_t, int32_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from mixline.kernels.bar cimport count_from, find_bar, keep_greatest
from mixline.kernels.codes cimport (
    BLOCK_ROWS,
    COSINE,
    L2,
    MIXLINE_AHEAD_BYTES,
    QUAD,
    CodedRows,
    code_vector,
    mixline_code_query,
    multiply,
    weigh_codes,
)
from mixline.kernels.frame cimport mixline_frame, mixline_place
from mixline.kernels.candidates cimport Short

cdef extern from "codes.h" nogil:
    uint32_t mixline_reaching(const float* values, float bar, bint strays) noexcept
    int mixline_lowest_bit(uint32_t bits) noexcept

cdef enum:
    HALVES = 128          # a query code is this times its high half, and the low one
    SAMPLE_BLOCKS = 64    # looked at beforehand, to guess where the bar will end
    SAMPLE_ROWS = SAMPLE_BLOCKS * BLOCK_ROWS
    SAMPLED_MIN = 4       # times the sample: fewer rows are not worth it

cdef double UNIT = 2.0 ** -24    # the rounding of one float32 operation
cdef double TINY = 2.0 ** -125   # per dimension, where numbers are too small for that
cdef double FAINT = 1e-30        # a query's scale below which float32 does not hold it
cdef double NORMAL = 1e18        # cosines of vectors this long or short have the error that is assumed
cdef double GREAT = 1e37         # beyond it float32 scores may overflow


cdef void encode(Short* short) noexcept nogil:
    """Codes of the placed query (for cosine of its direction), its length, and what codes and their halves leave out.

    It has float64's rounding from being placed, a small part of what the margins have for float32's.
    """
    cdef Py_ssize_t at
    cdef const double* query = short.placed
    cdef double squared = 0.0, left = 0.0, low = 0.0, value, unit = 1.0
    for at in range(short.dim):
        squared += query[at] * query[at]
    short.query_length = sqrt(squared)
    if short.metric == COSINE:
        short.query_length = 1.0 if 1.0 / NORMAL < short.query_length < NORMAL else INFINITY
        unit = 1.0 / sqrt(squared) if squared > 0.0 else 1.0
    short.query_scale = code_vector(query, short.dim, unit, short.query, short.halves, &short.asked.sum)
    for at in range(short.dim):
        value = query[at] * unit - short.query_scale * short.query[at]
        left += value * value
        low += <double>short.asked.low[at] * short.asked.low[at]
    short.query_residual = sqrt(left) * (1.0 + 1e-12)
    short.query_low = short.query_scale * sqrt(low) * (1.0 + 1e-12)
    if 0.0 < short.query_scale < FAINT:
        short.query_length = INFINITY


cdef float margin_of(const Short* short, double residual, double reach) noexcept nogil:
    """By how much a score may differ from its estimate: what the codes leave out, and float32 rounded.

    ``residual`` is the length of what the codes of a row leave out and ``reach`` that of the coded row, or the greatest
    of many rows: it rises with both. Infinite where float32 scores leave the normal numbers, since there nothing is
    known of their error. None at all for whoever wants estimates.
    """
    cdef double length = short.query_length, lost, product = length * reach
    if short.estimates:
        return 0.0
    lost = length * residual + short.query_residual * reach
    if short.metric == COSINE:
        return <float>(lost + short.rounded * max(product, 1.0))
    if short.metric == L2:
        product = (length + reach) * (length + reach)
        lost = 2.0 * lost
    return <float>(lost + short.rounded * product + short.underflow) if product < GREAT else <float>INFINITY


cdef float half_margin_of(const Short* short, double reach) noexcept nogil:
    """By how much an estimate may differ from one of the high halves of query codes."""
    cdef double product = (short.query_length + short.query_low) * reach
    cdef double lost = short.query_low * reach + 16.0 * UNIT * product + short.underflow
    if product >= GREAT:
        return <float>INFINITY
    return <float>(2.0 * lost if short.metric == L2 else lost)


cdef float margin_at(const Short* short, const CodedRows* rows, Py_ssize_t block) noexcept nogil:
    """The margin of the rows of one block."""
    if short.estimates:
        return 0.0
    return margin_of(short, rows.bounds[2 * block], rows.bounds[2 * block + 1])


cdef float scale_of(const Short* short, bint halves) noexcept nogil:
    """What sums are multiplied with, beside the scales of rows."""
    return <float>(short.query_scale * (HALVES if halves else 1))


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
    """Keep the best k estimates exactly, which are their own bounds; of equals those that came first, and no more."""
    short.held = keep_greatest(short.lowers, short.listed, short.held, short.k, &short.bar)
    memcpy(short.uppers, short.lowers, short.held * sizeof(float))


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


cdef int keep(Short* short, const float* estimates, float margin, uint32_t first, uint32_t reaching) noexcept nogil:
    """Keep those of the rows of one block, from ``first`` on, that may reach the bar; -1 without memory."""
    cdef Py_ssize_t at
    if short.held + BLOCK_ROWS > short.capacity:
        if make_room(short) < 0:
            return -1
        if short.wide:
            return 0
    while reaching:
        at = mixline_lowest_bit(reaching)
        reaching &= reaching - 1
        if margin == 0.0 and estimates[at] != estimates[at]:
            continue  # what overflowed tells nothing, and whoever wants estimates does not want it
        short.lowers[short.held] = estimates[at] - margin if margin < INFINITY else -<float>INFINITY
        short.uppers[short.held] = estimates[at] + margin if margin < INFINITY else <float>INFINITY
        short.listed[short.held] = first + <uint32_t>at
        short.held += 1
    return 0


cdef uint32_t weigh(const Short* short, const int32_t* sums, const CodedRows* rows, Py_ssize_t block, float bar,
                    float* estimates) noexcept nogil:
    """Scores as the codes tell them, and as bits which of a block's rows reach the bar."""
    cdef Py_ssize_t at, first = block * BLOCK_ROWS
    cdef const float* norms = rows.norms + first
    cdef double base = short.query_length * short.query_length
    cdef float scale = scale_of(short, rows.nibbles != NULL)
    cdef uint32_t reaching = weigh_codes(sums, rows.scales + first, scale, bar, estimates)
    if short.metric != L2:
        return reaching
    for at in range(min(<Py_ssize_t>BLOCK_ROWS, rows.count - first)):
        estimates[at] = <float>(2.0 * estimates[at] - base - <double>norms[at] * norms[at])
    return mixline_reaching(estimates, bar, True)


cdef uint32_t allowed_rows(const Short* short, const CodedRows* rows, Py_ssize_t block) noexcept nogil:
    """As bits, which rows of a block there are and may be kept."""
    cdef Py_ssize_t size = min(<Py_ssize_t>BLOCK_ROWS, rows.count - block * BLOCK_ROWS)
    cdef uint32_t allowed = (1 << size) - 1
    if short.allowed != NULL:
        allowed &= <uint32_t>(short.allowed[block >> 2] >> ((block & 3) * BLOCK_ROWS))
    return allowed


cdef int offer_block(Short* short, const int32_t* sums, const CodedRows* rows, Py_ssize_t block) noexcept nogil:
    """Keep what may be among the best of one block; -1 without memory. ``sums`` of whole codes, or NULL: make them."""
    cdef float estimates[BLOCK_ROWS]
    cdef int32_t own[BLOCK_ROWS]
    cdef mixline_code_query asked
    cdef Py_ssize_t first = block * BLOCK_ROWS
    cdef float margin = margin_at(short, rows, block)
    cdef uint32_t rest = allowed_rows(short, rows, block)
    if sums == NULL:
        asked, sums = short.asked, own
        asked.out = own
        multiply(rows, block, 1, &asked)
    rest &= weigh(short, sums, rows, block, short.bar - margin, estimates)
    if not rest:
        return 0
    return keep(short, estimates, margin, <uint32_t>first, rest)


cdef void guess_bar(Short* short, const CodedRows* rows) noexcept nogil:
    """If it may, begin with a bar that more than k rows will reach all but surely, told from a sample of all blocks.

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
    cdef uint32_t allowed
    if not short.may_guess or rows.count < SAMPLED_MIN * SAMPLE_ROWS:
        return
    short.may_guess = False
    asked.out = sums
    for at in range(SAMPLE_BLOCKS):
        block = (2 * at + 1) * blocks // (2 * SAMPLE_BLOCKS)
        multiply(rows, block, 1, &asked)
        weigh(short, sums, rows, block, bar, estimates)
        margin = margin_at(short, rows, block)
        allowed = allowed_rows(short, rows, block)
        while allowed:
            row = mixline_lowest_bit(allowed)
            allowed &= allowed - 1
            lowers[seen] = estimates[row] - margin if margin < INFINITY else -<float>INFINITY
            seen += 1
    share += 4.0 * sqrt(share) + 4.0
    if share < seen:
        short.guess = short.bar = find_bar(lowers, seen, -<float>INFINITY, <Py_ssize_t>share)


cdef int open_short(Short* short, Py_ssize_t k, Py_ssize_t dim, int metric, bint estimates) noexcept nogil:
    """Room for a query of ``dim`` and its best ``k``; -1 without memory. ``short`` was zero."""
    short.k, short.metric, short.dim, short.estimates = k, metric, dim, estimates
    short.quads = (dim + QUAD - 1) // QUAD
    short.rounded, short.underflow = (dim / 16.0 + 64.0) * UNIT, dim * TINY
    short.capacity = short.most = 2 * k + 128
    short.query = <int16_t*>malloc(QUAD * short.quads * sizeof(int16_t))
    short.halves = <int8_t*>malloc(2 * QUAD * short.quads)
    short.placed = <double*>malloc(dim * sizeof(double))
    short.lowers = <float*>malloc(short.capacity * sizeof(float))
    short.uppers = <float*>malloc(short.capacity * sizeof(float))
    short.listed = <uint32_t*>malloc(short.capacity * sizeof(uint32_t))
    if not (short.query and short.halves and short.placed and short.lowers and short.uppers and short.listed):
        return -1
    short.asked.query, short.asked.high = short.query, short.halves
    short.asked.low = short.halves + QUAD * short.quads
    short.asked.ahead = MIXLINE_AHEAD_BYTES
    return 0


cdef void begin(Short* short, const float* query, const mixline_frame* frame) noexcept nogil:
    """Empty, for this query, over codes that are of rows in this frame."""
    short.bar = short.guess = <float>-INFINITY
    short.held, short.wide = 0, False
    mixline_place(query, short.dim, frame, short.placed)
    encode(short)


cdef void close_short(Short* short) noexcept nogil:
    free(short.query)
    free(short.halves)
    free(short.placed)
    free(short.lowers)
    free(short.uppers)
    free(short.listed)
