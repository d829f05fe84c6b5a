"""Many queries over the same codes in one pass: each byte comes from memory once.

Most rows are far below every bar, so a stretch of blocks is tested as a whole: with the margin of its widest block, and
where that is quicker with the high halves of query codes, and a margin for the low ones. Only blocks that such an
estimate does not rule out are looked at one by one, with bounds of their own. What is kept is the same either way.
"""

from libc.math cimport INFINITY, fabs
from libc.stdint cimport int8_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from mixline.kernels.candidates cimport Short, half_margin_of, margin_of, offer_block, scale_of
from mixline.kernels.codes cimport (
    BLOCK_ROWS,
    L2,
    LINE_BYTES,
    MIXLINE_CODE_QUERIES,
    MIXLINE_RUN_BLOCKS,
    MIXLINE_RUN_BYTES,
    MIXLINE_RUN_SUMS,
    MIXLINE_UNTILED,
    CodedRows,
    begin_pass,
    dot_codes,
    dot_halves,
    dot_nibbles,
    end_pass,
    mixline_code_query,
    mixline_halves,
    mixline_quad_room,
    mixline_run_room,
    reach_codes,
    unpack_nibbles,
)

cdef extern from "<stdlib.h>" nogil:
    void* aligned_alloc(size_t alignment, size_t size) noexcept

cdef extern from "codes.h" nogil:
    int mixline_lowest_bit(uint32_t bits) noexcept

cdef enum:
    GROUPS = 16           # of MIXLINE_CODE_QUERIES: TOGETHER
    STRETCH_BLOCKS = 64   # that have their bars in common

cdef double ROUNDED = 2.0 ** -21   # of float32 numbers added up, more than what is lost
cdef double TINY = 2.0 ** -140     # and of those too small for that
cdef double FAINT = 1e-30          # a query's scale below which float32 does not hold it


cdef struct Group:
    int many
    Short* shorts[MIXLINE_CODE_QUERIES]
    float scales[MIXLINE_CODE_QUERIES]   # of the queries, for sums such as are made
    float bars[MIXLINE_CODE_QUERIES]     # what must be reached, see bar_of
    mixline_code_query asked[MIXLINE_CODE_QUERIES]
    mixline_halves halves


cdef struct Plan:
    Py_ssize_t most     # blocks in a run
    bint halves         # sums are of the high halves of query codes
    bint whole          # sums are of all that estimates are made of
    bint squared        # estimates need the rows' squared lengths
    bint unpacked       # int4 codes become int8 ones first


cdef struct Run:
    Py_ssize_t start, blocks
    const uint8_t* codes
    const float* squares


cdef struct Stretch:
    Py_ssize_t start, blocks
    double residual, reach          # the greatest bounds of its blocks
    double longest                  # and squared length of its rows


cdef bint any_allowed(const uint64_t* words, Py_ssize_t start, Py_ssize_t run, Py_ssize_t count) noexcept nogil:
    """Whether the bitmap has a bit in the words of these blocks; neighbours in the same word count too."""
    cdef Py_ssize_t word
    for word in range(start >> 2, min((start + run + 3) >> 2, (count + 63) >> 6)):
        if words[word]:
            return True
    return False


cdef inline bint wants(const Short* short, const CodedRows* rows, Py_ssize_t start, Py_ssize_t run) noexcept nogil:
    """Whether any row of the run can be kept for this query."""
    if short.wide:
        return False
    return short.allowed == NULL or any_allowed(short.allowed, start, run, rows.count)


cdef void look_at(Stretch* stretch, const CodedRows* rows, bint squares) noexcept nogil:
    """What all queries need to know of the stretch, found once."""
    cdef Py_ssize_t at, first = stretch.start * BLOCK_ROWS
    cdef float residual = 0.0, reach = 0.0, longest = 0.0
    if rows.bounds != NULL:
        for at in range(stretch.start, stretch.start + stretch.blocks):
            residual = max(residual, rows.bounds[2 * at])
            reach = max(reach, rows.bounds[2 * at + 1])
    if squares:
        for at in range(first, min(first + stretch.blocks * BLOCK_ROWS, rows.count)):
            longest = max(longest, rows.norms[at])
    stretch.residual, stretch.reach, stretch.longest = residual, reach, <double>longest * longest


cdef float bar_of(const Short* short, const Stretch* stretch, double scale, bint whole) noexcept nogil:
    """What a sum times its row's scale reaches when the row may be kept, whichever of the stretch it is; of l2, what
    the estimate reaches without the query's length. Minus infinity: nothing is known. The bar only rises.
    """
    cdef double bar = short.bar - margin_of(short, stretch.residual, stretch.reach)
    cdef double base = short.query_length * short.query_length
    if not whole:
        bar -= half_margin_of(short, stretch.reach)
    if short.metric == L2:
        bar += base - ROUNDED * (fabs(bar) + base + stretch.longest)
    elif scale >= FAINT:
        bar /= scale
    else:
        return <float>-INFINITY
    bar -= ROUNDED * fabs(bar) + TINY
    return <float>bar if bar == bar else <float>-INFINITY


cdef void square(const CodedRows* rows, Py_ssize_t start, Py_ssize_t run, float* out) noexcept nogil:
    """The squared lengths of a run's rows, zeros behind the last."""
    cdef const float* norms = rows.norms + start * BLOCK_ROWS
    cdef Py_ssize_t at, here = min(run * BLOCK_ROWS, rows.count - start * BLOCK_ROWS)
    for at in range(here):
        out[at] = norms[at] * norms[at]
    for at in range(here, run * BLOCK_ROWS):
        out[at] = 0.0


cdef inline void multiply_group(Group* group, const Run* run, const CodedRows* rows, const Plan* plan) noexcept nogil:
    """The sums of all queries."""
    if plan.unpacked:
        dot_halves(run.codes, 2 * rows.lines, run.blocks, &group.halves)
    elif rows.nibbles != NULL:
        dot_nibbles(run.codes, rows.lines, run.blocks, &group.halves)
    elif plan.halves:
        dot_halves(run.codes, rows.lines, run.blocks, &group.halves)
    else:
        dot_codes(<const int8_t*>run.codes, rows.lines, run.blocks, group.asked, group.many)


cdef int scan_run(Group* group, const Run* run, const CodedRows* rows, const Plan* plan) noexcept nogil:
    """The queries of a group over a run; -1 without memory."""
    cdef mixline_run_room room
    cdef const float* scales = rows.scales + run.start * BLOCK_ROWS
    cdef Short* short
    cdef uint32_t blocks, wanted = 0
    cdef Py_ssize_t place
    cdef int at
    for at in range(group.many):
        group.asked[at].out = room.sums[at]
        wanted |= <uint32_t>wants(group.shorts[at], rows, run.start, run.blocks) << at
    if not wanted:
        return 0
    group.halves.sums = room.sums[0]
    multiply_group(group, run, rows, plan)
    for at in range(group.many):
        if not wanted >> at & 1:
            continue
        short = group.shorts[at]
        blocks = reach_codes(room.sums[at], scales, group.scales[at], run.squares if short.metric == L2 else NULL,
                             group.bars[at], run.blocks)
        while blocks and not short.wide:
            place = mixline_lowest_bit(blocks)
            blocks &= blocks - 1
            if offer_block(short, room.sums[at] + place * BLOCK_ROWS if plan.whole else NULL, rows,
                           run.start + place) < 0:
                return -1
    return 0


cdef int scan_stretch(Group* groups, Py_ssize_t count, const CodedRows* rows, const Stretch* stretch,
                      const Plan* plan) noexcept nogil:
    """All groups over a stretch, run by run; -1 without memory."""
    cdef mixline_quad_room room
    cdef float squares[MIXLINE_RUN_SUMS]
    cdef Run run
    cdef Py_ssize_t stop = stretch.start + stretch.blocks, at, line_bytes = rows.lines * LINE_BYTES
    cdef const uint8_t* codes = rows.nibbles if rows.nibbles != NULL else <const uint8_t*>rows.codes
    cdef int one
    for at in range(count):
        for one in range(groups[at].many):
            groups[at].bars[one] = bar_of(groups[at].shorts[one], stretch, groups[at].scales[one], plan.whole)
    run.start, run.squares = stretch.start, squares
    while run.start < stop:
        run.blocks = min(plan.most, stop - run.start)
        run.codes = codes + run.start * line_bytes
        if plan.unpacked:
            unpack_nibbles(run.codes, run.blocks * rows.lines, room.quads)
            run.codes = room.quads
        if plan.squared:
            square(rows, run.start, run.blocks, squares)
        for at in range(count):
            if scan_run(&groups[at], &run, rows, plan) < 0:
                return -1
        run.start += run.blocks
    return 0


cdef void lay_out(Group* group, Short** shorts, int many, bint halves, int8_t* highs,
                  Py_ssize_t stride) noexcept nogil:
    """Up to MIXLINE_CODE_QUERIES queries, their high codes one under the other; one alone has them so."""
    cdef int at
    group.many = group.halves.many = many
    for at in range(many):
        group.shorts[at], group.asked[at] = shorts[at], shorts[at].asked
        group.scales[at] = scale_of(shorts[at], halves)
    group.halves.highs, group.halves.stride = shorts[0].asked.high, stride
    if highs == NULL:
        return
    memset(highs, 0, MIXLINE_CODE_QUERIES * stride)
    for at in range(many):
        memcpy(highs + at * stride, shorts[at].asked.high, 4 * shorts[at].quads)
    group.halves.highs = highs


cdef Plan plan_for(Short** shorts, Py_ssize_t many, const CodedRows* rows) noexcept nogil:
    """How to go over these rows for these queries."""
    cdef Plan plan
    cdef Py_ssize_t at, block_bytes = rows.lines * LINE_BYTES
    plan.most, plan.squared = MIXLINE_RUN_BLOCKS, False
    plan.halves = rows.nibbles != NULL or (dot_halves != NULL and rows.bounds != NULL)
    plan.whole = rows.nibbles != NULL or not plan.halves
    plan.unpacked = rows.nibbles != NULL and unpack_nibbles != NULL and many > MIXLINE_UNTILED
    if plan.unpacked:
        block_bytes *= 2
        plan.unpacked = block_bytes <= MIXLINE_RUN_BYTES
    if many > 1:
        plan.most = max(<Py_ssize_t>1, min(plan.most, MIXLINE_RUN_BYTES // block_bytes))
    for at in range(many):
        plan.squared |= shorts[at].metric == L2
    return plan


cdef int scan_blocks(Short** shorts, Py_ssize_t many, const CodedRows* rows, Py_ssize_t start,
                     Py_ssize_t stop) noexcept nogil:
    """All queries, at most TOGETHER, over the blocks; -1 without memory."""
    cdef Group groups[GROUPS]
    cdef Plan plan = plan_for(shorts, many, rows)
    cdef Stretch stretch
    cdef Py_ssize_t at, first, stride = (4 * shorts[0].quads + 63) // 64 * 64
    cdef Py_ssize_t count = (many + MIXLINE_CODE_QUERIES - 1) // MIXLINE_CODE_QUERIES
    cdef int8_t* highs = NULL
    cdef int failed = 0
    if many > 1:
        highs = <int8_t*>aligned_alloc(64, count * MIXLINE_CODE_QUERIES * stride)
        if highs == NULL:
            return -1
    for at in range(count):
        first = at * MIXLINE_CODE_QUERIES
        lay_out(&groups[at], shorts + first, <int>min(<Py_ssize_t>MIXLINE_CODE_QUERIES, many - first), plan.halves,
                highs + first * stride if highs != NULL else NULL, stride)
    stretch.start = start
    if many > MIXLINE_UNTILED:
        begin_pass()
    while stretch.start < stop and not failed:
        stretch.blocks = min(<Py_ssize_t>STRETCH_BLOCKS, stop - stretch.start)
        look_at(&stretch, rows, plan.squared)
        failed = scan_stretch(groups, count, rows, &stretch, &plan)
        stretch.start += stretch.blocks
    if many > MIXLINE_UNTILED:
        end_pass()
    free(highs)
    return failed
