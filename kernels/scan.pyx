"""Exact nearest rows of a float32 matrix: score a block of rows, push what beats the worst of the best k, go on.

The scan is bound by the bytes it reads, so scores live only in a small block on the stack and rows that the bitmap
forbids are never touched. A caller that watches a deadline scans in slices into one heap.
"""

import numpy as np

from libc.math cimport INFINITY, sqrtf
from libc.stdint cimport int64_t, uint32_t, uint64_t

from mixline.kernels.scan cimport (
    MIXLINE_PRODUCT,
    MIXLINE_SQUARED_DIFFERENCE,
    FloatRows,
    mixline_choose_scores,
    score_rows_fn,
)
from mixline.kernels.order cimport Entry, sunk
from mixline.kernels.topk cimport TopK

from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.isa import checked, in_use

cdef extern from *:
    int lowest_bit "__builtin_ctzll" (uint64_t bits) noexcept nogil

cdef enum:
    BLOCK_ROWS = 256

cdef enum Metric:
    DOT = 0
    COSINE = 1
    L2 = 2

METRICS = {"dot": DOT, "cosine": COSINE, "l2": L2}

cdef score_rows_fn score_rows_chosen = NULL
cdef object chosen_name = None


def choose_path(isa):
    global score_rows_chosen, chosen_name
    cdef const char* name = NULL
    cdef bytes encoded = checked(isa).encode()
    score_rows_chosen = mixline_choose_scores(encoded, &name)
    chosen_name = name.decode()
    return chosen_name


def path():
    return chosen_name


choose_path(in_use())


cdef void score_block(const FloatRows* floats, const uint32_t* rows, uint32_t first, Py_ssize_t count,
                      float* scores) noexcept nogil:
    """Scores of some rows, or where ``rows`` is NULL of ``count`` from ``first`` on. Cosine divides raw sums by both
    norms (0 when either is 0), l2 is minus the squared distance."""
    cdef Py_ssize_t i
    cdef float scale
    cdef int form = MIXLINE_SQUARED_DIFFERENCE if floats.metric == L2 else MIXLINE_PRODUCT
    score_rows_chosen(floats.matrix, floats.dim, rows, first, count, floats.query, form, scores)
    if floats.metric == COSINE:
        for i in range(count):
            scale = floats.query_norm * floats.norms[rows[i] if rows != NULL else first + i]
            scores[i] = scores[i] / scale if scale != 0.0 else 0.0
    elif floats.metric == L2:
        for i in range(count):
            scores[i] = -scores[i]


cdef void ask_rows(FloatRows* floats, const float* query) noexcept nogil:
    floats.query = query
    floats.query_norm = norm_of(query, floats.dim) if floats.metric == COSINE else 1.0


cdef void push_block(TopK heap, const uint64_t* keys, const uint32_t* rows, uint32_t first, Py_ssize_t count,
                     const float* scores) noexcept nogil:
    """Push a block; keys are read only for rows that reach the worst score of the best k so far.

    One pass without branches lists them. It may pass over what is not finite only while that worst is finite, since all
    that sinks is equal to a sunken worst.
    """
    cdef uint32_t hits[BLOCK_ROWS]
    cdef Py_ssize_t i, hit_count = 0
    cdef uint32_t row
    cdef float worst
    if not heap.full or heap.worst.score == -INFINITY:
        for i in range(count):
            row = rows[i] if rows != NULL else <uint32_t>(first + i)
            heap.push(scores[i], row, keys[row])
        return
    worst = heap.worst.score
    for i in range(count):
        hits[hit_count] = <uint32_t>i
        hit_count += scores[i] >= worst
    for i in range(hit_count):
        row = rows[hits[i]] if rows != NULL else first + hits[i]
        heap.push(scores[hits[i]], row, keys[row])


cdef Py_ssize_t allowed_rows(const uint64_t* words, int64_t* first, int64_t stop, uint32_t* rows) noexcept nogil:
    """List up to BLOCK_ROWS of the rows ``first .. stop`` whose bit is set; ``first`` moves behind what was looked at.

    As many as there is room for, from however far apart: rows that are scored together are fetched ahead together.
    """
    cdef Py_ssize_t found = 0
    cdef int64_t row = first[0]
    cdef uint64_t word
    while row < stop and found < BLOCK_ROWS:
        word = words[row >> 6] >> (row & 63)
        if word == 0:
            row = (row | 63) + 1
            continue
        row += lowest_bit(word)
        if row < stop:
            rows[found] = <uint32_t>row
            found += 1
        row += 1
    first[0] = row
    return found


cdef void scan_slice(TopK heap, const FloatRows* floats, const uint64_t* words, uint32_t start,
                     uint32_t stop) noexcept nogil:
    cdef float scores[BLOCK_ROWS]
    cdef uint32_t listed[BLOCK_ROWS]
    cdef const uint32_t* rows
    cdef Py_ssize_t count
    cdef int64_t first = start, begun
    while first < stop:
        begun, rows = first, NULL
        if words != NULL:
            count, rows = allowed_rows(words, &first, stop, listed), listed
            if not count:
                break
            if listed[count - 1] - listed[0] == count - 1:  # one run: nothing to gather
                begun, rows = listed[0], NULL
        else:
            count = min(<Py_ssize_t>BLOCK_ROWS, <Py_ssize_t>(stop - first))
            first += count
        score_block(floats, rows, <uint32_t>begun, count, scores)
        push_block(heap, floats.keys, rows, <uint32_t>begun, count, scores)


cdef void scan_rows(TopK heap, const FloatRows* floats, const uint32_t* rows, Py_ssize_t count) noexcept nogil:
    cdef float scores[BLOCK_ROWS]
    cdef Py_ssize_t start = 0, size
    while start < count:
        size = min(<Py_ssize_t>BLOCK_ROWS, count - start)
        score_block(floats, rows + start, 0, size, scores)
        push_block(heap, floats.keys, rows + start, 0, size, scores)
        start += size


cdef void score_entries(Entry* entries, const FloatRows* floats, const uint32_t* rows,
                        Py_ssize_t count) noexcept nogil:
    """The entries of some rows, not yet ranked."""
    cdef float scores[BLOCK_ROWS]
    cdef Py_ssize_t at
    for at in range(count):
        if at % BLOCK_ROWS == 0:
            score_block(floats, rows + at, 0, min(<Py_ssize_t>BLOCK_ROWS, count - at), scores)
        entries[at].score = sunk(scores[at % BLOCK_ROWS])
        entries[at].row, entries[at].key = rows[at], floats.keys[rows[at]]


cdef float norm_of(const float* vector, int64_t dim) noexcept nogil:
    """The L2 norm by the same written order of summation as the scores."""
    cdef float squared
    score_rows_chosen(vector, dim, NULL, 0, 1, vector, MIXLINE_PRODUCT, &squared)
    return sqrtf(squared)


cdef int metric_code(metric) except -1:
    code = METRICS.get(metric)
    if code is None:
        raise KernelArgumentError(f"metric {metric!r} is unknown; use one of {', '.join(METRICS)}")
    return code


cdef int open_rows(FloatRows* floats, const float[:, ::1] matrix, const float[::1] query, metric,
                   const float[::1] norms, const uint64_t[::1] keys) except -1:
    """Check that they fit one another, and point into them. ``keys`` None: nothing is ranked."""
    floats.metric = metric_code(metric)
    if matrix.shape[1] != query.shape[0]:
        raise KernelArgumentError(f"the query has {query.shape[0]} dimensions and the matrix {matrix.shape[1]}")
    if matrix.shape[0] >= 0xFFFFFFFF:
        raise KernelArgumentError(f"the matrix has {matrix.shape[0]} rows; at most 2^32 - 2 fit a uint32 row")
    if floats.metric == COSINE:
        if norms is None:
            raise KernelArgumentError("the cosine metric needs norms=, the L2 norm of each row")
        if norms.shape[0] != matrix.shape[0]:
            raise KernelArgumentError(f"{norms.shape[0]} norms for {matrix.shape[0]} rows")
    if keys is not None and keys.shape[0] != matrix.shape[0]:
        raise KernelArgumentError(f"{keys.shape[0]} order keys for {matrix.shape[0]} rows")
    floats.dim = matrix.shape[1]
    if matrix.shape[0] and floats.dim:
        floats.matrix = &matrix[0, 0]
        floats.norms = &norms[0] if floats.metric == COSINE else NULL
        floats.keys = &keys[0] if keys is not None else NULL
        ask_rows(floats, &query[0])
    return 0


cdef int check_rows(const uint32_t[::1] rows, Py_ssize_t n) except -1:
    cdef Py_ssize_t i
    for i in range(rows.shape[0]):
        if rows[i] >= n:
            raise KernelArgumentError(f"row {rows[i]} at position {i} lies outside a matrix of {n} rows")
    return 0


def scan(const float[:, ::1] matrix, const float[::1] query, TopK heap not None, const uint64_t[::1] keys, *,
         metric="dot", const float[::1] norms=None, const uint64_t[::1] allowed=None, start=0, stop=None):
    cdef FloatRows floats
    cdef Py_ssize_t n = matrix.shape[0]
    cdef Py_ssize_t begin = start, end = n if stop is None else stop
    if not 0 <= begin <= end <= n:
        raise KernelArgumentError(f"rows {begin}..{end} lie outside a matrix of {n} rows")
    open_rows(&floats, matrix, query, metric, norms, keys)
    if allowed is not None and allowed.shape[0] * 64 < n:
        raise KernelArgumentError(f"a bitmap of {allowed.shape[0]} words covers {allowed.shape[0] * 64} of {n} rows")
    if begin == end or heap.k == 0 or matrix.shape[1] == 0:
        return
    cdef const uint64_t* words = &allowed[0] if allowed is not None else NULL
    with nogil:
        scan_slice(heap, &floats, words, <uint32_t>begin, <uint32_t>end)


def scan_listed(const float[:, ::1] matrix, const float[::1] query, TopK heap not None, const uint64_t[::1] keys,
                const uint32_t[::1] rows, *, metric="dot", const float[::1] norms=None):
    cdef FloatRows floats
    open_rows(&floats, matrix, query, metric, norms, keys)
    check_rows(rows, matrix.shape[0])
    if rows.shape[0] == 0 or heap.k == 0 or matrix.shape[1] == 0:
        return
    with nogil:
        scan_rows(heap, &floats, &rows[0], rows.shape[0])


def score_rows(const float[:, ::1] matrix, const float[::1] query, const uint32_t[::1] rows, *, metric="dot",
               const float[::1] norms=None):
    cdef FloatRows floats
    open_rows(&floats, matrix, query, metric, norms, None)
    check_rows(rows, matrix.shape[0])
    out = np.zeros(rows.shape[0], dtype=np.float32)
    cdef float[::1] scores = out
    if scores.shape[0] and matrix.shape[1]:
        with nogil:
            score_block(&floats, &rows[0], 0, scores.shape[0], &scores[0])
    return out
