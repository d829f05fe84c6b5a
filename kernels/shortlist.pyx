"""Rows that may be among the exact best k, found on int8 codes: a quarter of the bytes that the float32 rows take.

Scoring those on float32 rows gives the same rows and bits as scanning all of them; why, says ``candidates.pyx``.
"""

import numpy as np

from libc.math cimport INFINITY
from libc.stdint cimport int8_t, uint32_t, uint64_t

from mixline.kernels.bar cimport count_from
from mixline.kernels.candidates cimport Short, begin, close_short, drop_equals, guess_bar, open_short, raise_bar
from mixline.kernels.codes cimport BLOCK_ROWS, DIM_MAX, L2, OCTET, CodedRows, look_at_codes
from mixline.kernels.frame cimport look_at_frame, mixline_frame
from mixline.kernels.sweep cimport TOGETHER, scan_blocks

from mixline.kernels import scan as float_scan
from mixline.kernels.errors import KernelArgumentError

cdef enum:
    WIDE_ROWS = 1 << 16   # more than this, or a sixteenth of the rows, and the float32 scan is as good

TOGETHER_MAX = TOGETHER


cdef class Shortlist:
    cdef Short short
    cdef readonly Py_ssize_t k

    def __cinit__(self, const float[::1] query, Py_ssize_t k, *, metric="dot", bint guess=True, keep=None,
                  const float[::1] center=None, const int8_t[:, ::1] signs=None):
        cdef Py_ssize_t kept = k if keep is None else keep
        cdef mixline_frame frame
        code = float_scan.METRICS.get(metric)
        if code is None:
            raise KernelArgumentError(f"metric {metric!r} is unknown; use one of {', '.join(float_scan.METRICS)}")
        if k < 1 or not 1 <= query.shape[0] <= DIM_MAX:
            raise KernelArgumentError(f"k is {k}, the query has {query.shape[0]} of 1 to {DIM_MAX} dimensions")
        if kept < k:
            raise KernelArgumentError(f"keep is {kept}, which is less than k, {k}")
        if center is not None and center.shape[0] and code != L2:
            raise KernelArgumentError(f"a center with the metric {metric!r}: only distances stay as they are")
        frame = look_at_frame(center, signs, query.shape[0])
        self.k = k
        if open_short(&self.short, kept, query.shape[0], code, keep is not None) < 0:
            raise MemoryError(f"no memory for a shortlist of {2 * kept + 128} rows")
        self.short.may_guess = guess
        begin(&self.short, &query[0], &frame)

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
            guess_bar(shorts[at], &rows)
        failed = scan_blocks(shorts, many, &rows, first, last)
    if failed:
        raise MemoryError("no memory for a longer shortlist")
