"""Codes of queries, and their products with coded rows on the instructions that this machine has.

What the codes of rows look like is said in ``codes.h`` and ``nibbles.h``, where the instruction paths are; who writes
them, in ``storage/codes.py`` and ``storage/nibbles.py``.
"""

import numpy as np

from libc.math cimport fabs, lrint
from libc.stdint cimport int8_t, int16_t, int32_t, uint8_t

from mixline.kernels.codes cimport (
    BLOCK_ROWS,
    LINE_BYTES,
    OCTET,
    QUAD,
    CodedRows,
    dot_codes_fn,
    dot_halves_fn,
    mixline_code_query,
    mixline_halves,
    pass_fn,
    reach_fn,
    real,
    unpack_fn,
    weigh_fn,
)

from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.isa import checked, in_use

cdef extern from "codes.h" nogil:
    dot_codes_fn mixline_choose_codes(const char* isa, const char** chosen) noexcept
    weigh_fn mixline_choose_weigh(const char* chosen) noexcept

cdef extern from "halves.h" nogil:
    dot_halves_fn mixline_choose_halves(const char* isa, const char** chosen) noexcept
    void mixline_choose_pass(const char* chosen, pass_fn* begin, pass_fn* end) noexcept

cdef extern from "nibbles.h" nogil:
    dot_halves_fn mixline_choose_nibbles(const char* chosen) noexcept
    unpack_fn mixline_choose_unpack(const char* chosen) noexcept

cdef extern from "reach.h" nogil:
    reach_fn mixline_choose_reach(const char* chosen) noexcept

cdef enum:
    MOST = 127            # the greatest code of a row; -128 is not used
    QUERY_MOST = 16256    # and of a query: 127 x 128
    SUM_MAX = 0x7FFFFFFF

cdef object chosen_name = None


def choose_path(isa):
    global begin_pass, chosen_name, dot_codes, dot_halves, dot_nibbles, end_pass
    global reach_codes, unpack_nibbles, weigh_codes
    cdef const char* name = NULL
    cdef bytes encoded = checked(isa).encode()
    dot_codes = mixline_choose_codes(encoded, &name)
    weigh_codes = mixline_choose_weigh(name)
    dot_halves = mixline_choose_halves(encoded, &name)
    mixline_choose_pass(name, &begin_pass, &end_pass)
    dot_nibbles = mixline_choose_nibbles(name)
    unpack_nibbles = mixline_choose_unpack(name)
    reach_codes = mixline_choose_reach(name)
    chosen_name = name.decode()
    return chosen_name


def path():
    return chosen_name


choose_path(in_use())


cdef double code_vector(const real* values, Py_ssize_t dim, double unit, int16_t* codes,
                        int8_t* halves, int32_t* sum) noexcept nogil:
    """15-bit codes of unit x values, whole and in halves, zeros up to whole quads, and their sum; what to multiply them
    with."""
    cdef Py_ssize_t at, width = QUAD * ((dim + QUAD - 1) // QUAD)
    cdef double scale, to_code
    cdef double greatest = 0.0
    for at in range(dim):
        greatest = max(greatest, fabs(values[at]))
    scale = greatest * unit / min(QUERY_MOST, SUM_MAX // (MOST * width))
    to_code = unit / scale if scale > 0.0 else 0.0
    for at in range(dim):
        codes[at] = <int16_t>lrint(values[at] * to_code)
    for at in range(dim, width):
        codes[at] = 0
    sum[0] = 0
    for at in range(width):
        sum[0] += codes[at]
        halves[at] = <int8_t>((codes[at] + 64) >> 7)
        halves[width + at] = <int8_t>(codes[at] - 128 * halves[at])
    return scale


cdef void multiply(const CodedRows* rows, Py_ssize_t start, Py_ssize_t run,
                   const mixline_code_query* asked) noexcept nogil:
    """Products of some blocks with one query: of its whole codes with int8, of their halves with int4."""
    cdef mixline_halves half
    if rows.nibbles != NULL:
        half.highs, half.stride, half.many, half.sums = asked.high, 0, 1, asked.out
        dot_nibbles(rows.nibbles + start * rows.lines * LINE_BYTES, rows.lines, run, &half)
    else:
        dot_codes(rows.codes + start * rows.lines * LINE_BYTES, rows.lines, run, asked, 1)


cdef int look_at_codes(CodedRows* rows, codes, Py_ssize_t dim) except -1:
    """int8 or, as uint8, int4 codes for rows of so many dimensions."""
    cdef const int8_t[:, :, :, ::1] whole
    cdef const uint8_t[:, :, :, ::1] halves
    cdef int width = OCTET if codes.dtype == np.uint8 else QUAD
    rows.lines = (dim + width - 1) // width
    if codes.shape[1:] != (rows.lines, BLOCK_ROWS, QUAD):
        raise KernelArgumentError(f"codes of {codes.shape} do not fit a query of {dim}: "
                                  f"(blocks, {rows.lines}, {BLOCK_ROWS}, {QUAD})")
    rows.codes = rows.nibbles = NULL
    if width == OCTET:
        halves = codes
        rows.nibbles = &halves[0, 0, 0, 0] if len(codes) else NULL
    else:
        whole = codes
        rows.codes = &whole[0, 0, 0, 0] if len(codes) else NULL
    return width
