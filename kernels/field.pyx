"""Estimates of many places of which the best few are kept: first all the numbers, then one cut through them.

A bar that is held against each block of numbers as it is made rises late, and many a block passes it, which no branch
can foretell. Where all numbers lie there, a sample tells about where the cut will be; what reaches a value a little
below is listed, and that little list is cut exactly. They are in the nearest caches then: FIELD places at a time, of
which those behind the first count where they beat what was kept.
"""

from libc.math cimport INFINITY, NAN, sqrt
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from mixline.kernels.bar cimport keep_greatest, kth_greatest
from mixline.kernels.candidates cimport Short, scale_of
from mixline.kernels.codes cimport ABSENT, BLOCK_ROWS, L2, LINE_BYTES, CodedRows, dot_codes, mixline_code_query

cdef extern from "codes.h" nogil:
    uint32_t mixline_reaching(const float* values, float bar, bint strays) noexcept
    int mixline_lowest_bit(uint32_t bits) noexcept
    void mixline_fetch_ahead(const void* start, int64_t size) noexcept

cdef enum:
    FIELD = 1 << 15       # places: their numbers fit the second cache
    RUN = 64              # blocks that are multiplied at once
    APART = 17            # of a sample: odd, so that each place of a block comes in turn
    SAMPLE = 2048         # there is room for: FIELD / APART
    AHEAD = 16            # rows whose numbers are fetched
    SAMPLED_MIN = 4       # times what is kept: of fewer all are listed


cdef int fit_field(Field* field, Py_ssize_t keep) except -1:
    """Room to keep the best ``keep``; what was kept before is lost."""
    cdef Py_ssize_t room = FIELD + keep
    if field.room < room:
        close_field(field)
        memset(field, 0, sizeof(Field))
        field.values = <float*>malloc(FIELD * sizeof(float))
        field.blocks = <uint32_t*>malloc(FIELD // BLOCK_ROWS * sizeof(uint32_t))
        field.kept = <float*>malloc(room * sizeof(float))
        field.rows = <uint32_t*>malloc(room * sizeof(uint32_t))
        if not (field.values and field.blocks and field.kept and field.rows):
            close_field(field)
            memset(field, 0, sizeof(Field))
            raise MemoryError(f"no memory for {room} estimates")
        field.room = room
    field.keep = keep
    return 0


cdef void close_field(Field* field) noexcept nogil:
    free(field.values)
    free(field.blocks)
    free(field.kept)
    free(field.rows)


cdef void clear_field(Field* field) noexcept nogil:
    """For another query."""
    field.filled = field.held = 0
    field.bar = <float>-INFINITY


cdef void fill(Field* field, const Short* short, const CodedRows* rows, Py_ssize_t start,
               Py_ssize_t stop) noexcept nogil:
    """Add the estimates of these blocks. Places without a row, which are the last of a list, get no number."""
    cdef int32_t sums[RUN * BLOCK_ROWS]
    cdef mixline_code_query asked = short.asked
    cdef Py_ssize_t run, at, first = start
    asked.out = sums
    while start < stop:
        run = min(<Py_ssize_t>RUN, stop - start)
        if field.filled + run * BLOCK_ROWS > FIELD:
            sift(field, rows)
        dot_codes(rows.codes + start * rows.lines * LINE_BYTES, rows.lines, run, &asked, 1)
        estimate(field, short, rows, start, run, sums)
        for at in range(run):
            field.blocks[field.filled // BLOCK_ROWS + at] = <uint32_t>(start + at)
        field.filled += run * BLOCK_ROWS
        start += run
    if rows.listed != NULL and stop > first:
        at = 1
        while rows.listed[stop * BLOCK_ROWS - at] == ABSENT and at <= BLOCK_ROWS:
            field.values[field.filled - at] = <float>NAN
            at += 1


cdef void estimate(const Field* field, const Short* short, const CodedRows* rows, Py_ssize_t start, Py_ssize_t run,
                   const int32_t* sums) noexcept nogil:
    """Scores as the codes tell them, for l2 less the query's squared length, which all have in common."""
    cdef float* out = field.values + field.filled
    cdef Py_ssize_t first = start * BLOCK_ROWS, at
    cdef Py_ssize_t size = min(run * BLOCK_ROWS, rows.count - first)
    cdef const float* scales = rows.scales + first
    cdef const float* norms = rows.norms + first
    cdef float scale = scale_of(short, False)
    for at in range(size):
        out[at] = <float>sums[at] * (scales[at] * scale)
    if short.metric == L2:
        for at in range(size):
            out[at] = <float>(2.0 * out[at] - <double>norms[at] * norms[at])
    if field.lifts != NULL:
        for at in range(size):
            out[at] += field.lifts[first + at] * field.by
    for at in range(size, run * BLOCK_ROWS):
        out[at] = <float>NAN


cdef void sift(Field* field, const CodedRows* rows) noexcept nogil:
    """Keep the best of what lies there and of what was kept before."""
    cdef float bar = field.bar
    if not field.held:
        bar = guess(field, rows)
    take(field, rows, bar)
    if bar > field.bar and field.held < field.keep:
        field.held = 0
        take(field, rows, field.bar)
    field.filled = 0
    if field.held > field.keep:
        field.held = keep_greatest(field.kept, field.rows, field.held, field.keep, &field.bar)


cdef float guess(const Field* field, const CodedRows* rows) noexcept nogil:
    """A value that ``keep`` of the estimates reach all but surely, and few more; minus infinity where all may stay.

    Of s sampled places of n about s keep / n belong to the best, with a standard deviation of the root of that. Three
    further down too few reach it once in a thousand queries, which is seen.
    """
    cdef float sample[SAMPLE]
    cdef double share = <double>field.keep / APART
    cdef Py_ssize_t at = 0, many = 0
    if field.filled < SAMPLED_MIN * field.keep:
        return <float>-INFINITY
    share += 3.0 * sqrt(share) + 4.0
    while at < field.filled:
        sample[many] = field.values[at]
        many += field.allowed == NULL or is_allowed(field.allowed, row_at(field, rows, at))
        at += APART
    return kth_greatest(sample, many, <Py_ssize_t>share) if share < many else <float>-INFINITY


cdef inline bint is_allowed(const uint64_t* words, uint32_t row) noexcept nogil:
    """Whether a bitmap, NULL for none, has a row."""
    return words == NULL or words[row >> 6] >> (row & 63) & 1


cdef inline uint32_t place_of(const Field* field, Py_ssize_t at) noexcept nogil:
    return field.blocks[at // BLOCK_ROWS] * BLOCK_ROWS + <uint32_t>(at % BLOCK_ROWS)


cdef inline uint32_t row_at(const Field* field, const CodedRows* rows, Py_ssize_t at) noexcept nogil:
    """The row of an estimate; 0 for a place without one, which no bar lets in, since it has no number."""
    cdef uint32_t place = place_of(field, at)
    if rows.listed == NULL:
        return place
    return rows.listed[place] if rows.listed[place] != ABSENT else 0


cdef void take(Field* field, const CodedRows* rows, float bar) noexcept nogil:
    """List what reaches the bar and is allowed. What is no number tells nothing."""
    cdef uint16_t found[FIELD]
    cdef uint32_t bits, row
    cdef Py_ssize_t block, at, many = 0
    for block in range(field.filled // BLOCK_ROWS):
        bits = mixline_reaching(field.values + block * BLOCK_ROWS, bar, False)
        while bits:
            found[many] = <uint16_t>(block * BLOCK_ROWS + mixline_lowest_bit(bits))
            bits &= bits - 1
            many += 1
    for at in range(many):
        if rows.listed != NULL and at + AHEAD < many:
            mixline_fetch_ahead(rows.listed + place_of(field, found[at + AHEAD]), 1)
        row = row_at(field, rows, found[at])
        field.kept[field.held], field.rows[field.held] = field.values[found[at]], row
        field.held += is_allowed(field.allowed, row)
