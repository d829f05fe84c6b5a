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


cdef void finish(float* scores, Py_ssize_t count, int metric, float query_norm, const float* norms,
                 const uint32_t* rows, uint32_t first) noexcept nogil:
    """Raw sums become scores: cosine divides by both norms (0 when either is 0), l2 is minus the squared distance."""
    cdef Py_ssize_t i
    cdef float scale
    if metric == COSINE:
        for i in range(count):
            scale = query_norm * norms[rows[i] if rows != NULL else first + i]
            scores[i] = scores[i] / scale if scale != 0.0 else 0.0
    elif metric == L2:
        for i in range(count):
            scores[i] = -scores[i]


cdef void push_block(TopK heap, const float* scores, Py_ssize_t count, const uint32_t* rows, uint32_t first,
                     const uint64_t* keys) noexcept nogil:
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


cdef void scan_slice(TopK heap, const float* matrix, int64_t dim, const float* query, float query_norm,
                     const float* norms, int metric, const uint64_t* keys, const uint64_t* words,
                     uint32_t start, uint32_t stop) noexcept nogil:
    cdef float scores[BLOCK_ROWS]
    cdef uint32_t listed[BLOCK_ROWS]
    cdef const uint32_t* rows
    cdef Py_ssize_t count
    cdef int64_t first = start, begun
    cdef int form = MIXLINE_SQUARED_DIFFERENCE if metric == L2 else MIXLINE_PRODUCT
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
        score_rows_chosen(matrix, dim, rows, begun, count, query, form, scores)
        finish(scores, count, metric, query_norm, norms, rows, <uint32_t>begun)
        push_block(heap, scores, count, rows, <uint32_t>begun, keys)


cdef void scan_rows(TopK heap, const float* matrix, int64_t dim, const float* query, float query_norm,
                    const float* norms, int metric, const uint64_t* keys, const uint32_t* rows,
                    Py_ssize_t count) noexcept nogil:
    cdef float scores[BLOCK_ROWS]
    cdef Py_ssize_t start = 0, size
    cdef int form = MIXLINE_SQUARED_DIFFERENCE if metric == L2 else MIXLINE_PRODUCT
    while start < count:
        size = min(<Py_ssize_t>BLOCK_ROWS, count - start)
        score_rows_chosen(matrix, dim, rows + start, 0, size, query, form, scores)
        finish(scores, size, metric, query_norm, norms, rows + start, 0)
        push_block(heap, scores, size, rows + start, 0, keys)
        start += size


cdef void score_entries(Entry* entries, const float* matrix, int64_t dim, const float* query, float query_norm,
                        const float* norms, int metric, const uint64_t* keys, const uint32_t* rows,
                        Py_ssize_t count) noexcept nogil:
    """The entries of some rows, not yet ranked."""
    cdef float scores[BLOCK_ROWS]
    cdef Py_ssize_t start = 0, size, at
    cdef int form = MIXLINE_SQUARED_DIFFERENCE if metric == L2 else MIXLINE_PRODUCT
    while start < count:
        size = min(<Py_ssize_t>BLOCK_ROWS, count - start)
        score_rows_chosen(matrix, dim, rows + start, 0, size, query, form, scores)
        finish(scores, size, metric, query_norm, norms, rows + start, 0)
        for at in range(size):
            entries[start + at].score = sunk(scores[at])
            entries[start + at].row = rows[start + at]
            entries[start + at].key = keys[rows[start + at]]
        start += size


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


cdef int check_fit(const float[:, ::1] matrix, const float[::1] query, int metric, const float[::1] norms) except -1:
    if matrix.shape[1] != query.shape[0]:
        raise KernelArgumentError(f"the query has {query.shape[0]} dimensions and the matrix {matrix.shape[1]}")
    if matrix.shape[0] >= 0xFFFFFFFF:
        raise KernelArgumentError(f"the matrix has {matrix.shape[0]} rows; at most 2^32 - 2 fit a uint32 row")
    if metric == COSINE:
        if norms is None:
            raise KernelArgumentError("the cosine metric needs norms=, the L2 norm of each row")
        if norms.shape[0] != matrix.shape[0]:
            raise KernelArgumentError(f"{norms.shape[0]} norms for {matrix.shape[0]} rows")
    return 0


cdef int check_rows(const uint32_t[::1] rows, Py_ssize_t n) except -1:
    cdef Py_ssize_t i
    for i in range(rows.shape[0]):
        if rows[i] >= n:
            raise KernelArgumentError(f"row {rows[i]} at position {i} lies outside a matrix of {n} rows")
    return 0


def scan(const float[:, ::1] matrix, const float[::1] query, TopK heap not None, const uint64_t[::1] keys, *,
         metric="dot", const float[::1] norms=None, const uint64_t[::1] allowed=None, start=0, stop=None):
    cdef int code = metric_code(metric)
    check_fit(matrix, query, code, norms)
    cdef Py_ssize_t n = matrix.shape[0]
    cdef Py_ssize_t begin = start, end = n if stop is None else stop
    if not 0 <= begin <= end <= n:
        raise KernelArgumentError(f"rows {begin}..{end} lie outside a matrix of {n} rows")
    if keys.shape[0] != n:
        raise KernelArgumentError(f"{keys.shape[0]} order keys for {n} rows")
    if allowed is not None and allowed.shape[0] * 64 < n:
        raise KernelArgumentError(f"a bitmap of {allowed.shape[0]} words covers {allowed.shape[0] * 64} of {n} rows")
    if begin == end or heap.k == 0 or matrix.shape[1] == 0:
        return
    cdef const float* norms_at = &norms[0] if code == COSINE else NULL
    cdef const uint64_t* words = &allowed[0] if allowed is not None else NULL
    cdef float query_norm
    with nogil:
        query_norm = norm_of(&query[0], query.shape[0]) if code == COSINE else 1.0
        scan_slice(heap, &matrix[0, 0], matrix.shape[1], &query[0], query_norm, norms_at, code, &keys[0], words,
                   <uint32_t>begin, <uint32_t>end)


def scan_listed(const float[:, ::1] matrix, const float[::1] query, TopK heap not None, const uint64_t[::1] keys,
                const uint32_t[::1] rows, *, metric="dot", const float[::1] norms=None):
    cdef int code = metric_code(metric)
    check_fit(matrix, query, code, norms)
    check_rows(rows, matrix.shape[0])
    if keys.shape[0] != matrix.shape[0]:
        raise KernelArgumentError(f"{keys.shape[0]} order keys for {matrix.shape[0]} rows")
    if rows.shape[0] == 0 or heap.k == 0 or matrix.shape[1] == 0:
        return
    cdef const float* norms_at = &norms[0] if code == COSINE else NULL
    cdef float query_norm
    with nogil:
        query_norm = norm_of(&query[0], query.shape[0]) if code == COSINE else 1.0
        scan_rows(heap, &matrix[0, 0], matrix.shape[1], &query[0], query_norm, norms_at, code, &keys[0], &rows[0],
                  rows.shape[0])


def score_rows(const float[:, ::1] matrix, const float[::1] query, const uint32_t[::1] rows, *, metric="dot",
               const float[::1] norms=None):
    cdef int code = metric_code(metric)
    check_fit(matrix, query, code, norms)
    cdef Py_ssize_t count = rows.shape[0]
    check_rows(rows, matrix.shape[0])
    out = np.zeros(count, dtype=np.float32)
    if count == 0 or matrix.shape[1] == 0:
        return out
    cdef float[::1] scores = out
    cdef const float* norms_at = &norms[0] if code == COSINE else NULL
    cdef int form = MIXLINE_SQUARED_DIFFERENCE if code == L2 else MIXLINE_PRODUCT
    cdef float query_norm
    with nogil:
        query_norm = norm_of(&query[0], query.shape[0]) if code == COSINE else 1.0
        score_rows_chosen(&matrix[0, 0], matrix.shape[1], &rows[0], 0, count, &query[0], form, &scores[0])
        finish(&scores[0], count, code, query_norm, norms_at, &rows[0], 0)
    return out
