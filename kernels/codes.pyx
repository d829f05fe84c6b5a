"""Codes of queries, and their products with coded rows on the instructions that this machine has.

What the codes of rows look like is said in ``codes.h`` and ``nibbles.h``, where the instruction paths are; who writes
them, in ``storage/codes.py`` and ``storage/nibbles.py``.
"""

import numpy as np

from libc.math cimport fabsf, lrint
from libc.stdint cimport int8_t, int16_t, int64_t, uint8_t

from mixline.kernels.codes cimport (
    BLOCK_ROWS,
    LINE_BYTES,
    OCTET,
    QUAD,
    CodedRows,
    dot_codes_fn,
    mixline_code_query,
    weigh_fn,
)

from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.isa import checked, in_use

cdef extern from "codes.h" nogil:
    dot_codes_fn mixline_choose_codes(const char* isa, const char** chosen) noexcept
    weigh_fn mixline_choose_weigh(const char* chosen) noexcept
    int mixline_codes_together(const char* chosen) noexcept

cdef extern from "nibbles.h" nogil:
    ctypedef void (*dot_nibbles_fn "mixline_dot_nibbles_fn")(
        const uint8_t* nibbles, int64_t octets, int64_t blocks, const mixline_code_query* asked, int many) noexcept
    dot_nibbles_fn mixline_choose_nibbles(const char* chosen) noexcept

cdef enum:
    MOST = 127            # the greatest code of a row; -128 is not used
    QUERY_MOST = 16256    # and of a query: 127 x 128
    SUM_MAX = 0x7FFFFFFF

cdef dot_nibbles_fn dot_nibbles = NULL
cdef object chosen_name = None


def choose_path(isa):
    global chosen_name, codes_together, dot_codes, dot_nibbles, weigh_codes
    cdef const char* name = NULL
    cdef bytes encoded = checked(isa).encode()
    dot_codes = mixline_choose_codes(encoded, &name)
    weigh_codes = mixline_choose_weigh(name)
    dot_nibbles = mixline_choose_nibbles(name)
    codes_together = mixline_codes_together(name)
    chosen_name = name.decode()
    return chosen_name


def path():
    return chosen_name


choose_path(in_use())


cdef double code_vector(const float* values, Py_ssize_t dim, double unit, int16_t* codes,
                        int8_t* halves) noexcept nogil:
    """15-bit codes of unit x values, whole and in halves, zeros up to whole quads; what to multiply them with."""
    cdef Py_ssize_t at, width = QUAD * ((dim + QUAD - 1) // QUAD)
    cdef double scale, to_code
    cdef float greatest = 0.0
    for at in range(dim):
        greatest = max(greatest, fabsf(values[at]))
    scale = greatest * unit / min(QUERY_MOST, SUM_MAX // (MOST * width))
    to_code = unit / scale if scale > 0.0 else 0.0
    for at in range(dim):
        codes[at] = <int16_t>lrint(values[at] * to_code)
    for at in range(dim, width):
        codes[at] = 0
    for at in range(width):
        halves[at] = <int8_t>((codes[at] + 64) >> 7)
        halves[width + at] = <int8_t>(codes[at] - 128 * halves[at])
    return scale


cdef void multiply(const CodedRows* rows, Py_ssize_t start, Py_ssize_t run, const mixline_code_query* asked,
                   int many) noexcept nogil:
    """Products of some blocks with up to MIXLINE_CODE_QUERIES queries."""
    if rows.nibbles != NULL:
        dot_nibbles(rows.nibbles + start * rows.lines * LINE_BYTES, rows.lines, run, asked, many)
    else:
        dot_codes(rows.codes + start * rows.lines * LINE_BYTES, rows.lines, run, asked, many)


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
