"""What a scorer needs per request: a weighted sum over columns, and whole numbers as floating point.

Both are a few microseconds of work that dozens of small NumPy calls would make a hundred.
"""

import numpy as np

cimport numpy as cnp

from libc.math cimport NAN
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from mixline.kernels.arrays cimport data_of, is_column, length_of

from mixline.kernels.errors import KernelArgumentError

cnp.import_array()

cdef enum:
    TILE = 512                  # sums at work at once: 4 KiB of float64, which stay in the nearest cache

ctypedef fused real:
    float
    double

ctypedef fused whole:
    uint8_t
    uint32_t
    int64_t

cdef struct Term:
    const float* single         # one of the two is NULL
    const double* exact
    double weight


cdef void add_column(double* total, const real* column, Py_ssize_t count, double weight) noexcept nogil:
    """Without branches, so that the compiler takes several entries at once."""
    cdef Py_ssize_t i
    cdef double value, product
    for i in range(count):
        value = <double>column[i]
        product = weight * value
        total[i] += product if value == value else 0.0


cdef void blend_terms(const Term* terms, Py_ssize_t width, Py_ssize_t count, float* out) noexcept nogil:
    cdef double total[TILE]
    cdef Py_ssize_t at, i, many, start = 0
    while start < count:
        many = min(count - start, <Py_ssize_t>TILE)
        memset(total, 0, many * sizeof(double))
        for at in range(width):
            if terms[at].single != NULL:
                add_column(total, terms[at].single + start, many, terms[at].weight)
            else:
                add_column(total, terms[at].exact + start, many, terms[at].weight)
        for i in range(many):
            out[start + i] = <float>total[i]
        start += many


def floats(dict columns, names):
    cdef list found = []
    for name in names:
        column = columns.get(name)
        if not is_column(column, cnp.NPY_FLOAT32) and not is_column(column, cnp.NPY_FLOAT64):
            return None
        found.append(column)
    return found


cdef Py_ssize_t read_terms(list columns, const double* weights, Term* terms) except -1:
    """Note where each column lies, after conversion where it must be; returns the entries that all of them have."""
    cdef Py_ssize_t at, count = len(columns[0])
    for at in range(len(columns)):
        column = columns[at]
        if not is_column(column, cnp.NPY_FLOAT32) and not is_column(column, cnp.NPY_FLOAT64):
            column = columns[at] = np.ascontiguousarray(column, dtype=np.float64)
        terms[at].single = NULL
        terms[at].exact = NULL
        terms[at].weight = weights[at]
        if is_column(column, cnp.NPY_FLOAT32):
            terms[at].single = <const float*>data_of(column)
        else:
            terms[at].exact = <const double*>data_of(column)
        if cnp.PyArray_NDIM(column) != 1 or length_of(column) != count:
            raise KernelArgumentError(f"column {at} has shape {np.shape(column)}, the first {count} entries")
    return count


def blend(columns, weights):
    cdef list given = list(columns)     # which keeps what is converted
    cdef Py_ssize_t count, width = len(given)
    cdef cnp.npy_intp[1] shape
    cdef float* out
    if not is_column(weights, cnp.NPY_FLOAT64) or length_of(weights) != width or not width:
        raise KernelArgumentError(f"{width} columns and weights {weights!r:.80}; give one or more, a float64 for each")
    cdef Term* terms = <Term*>malloc(width * sizeof(Term))
    if terms == NULL:
        raise MemoryError()
    try:
        count = read_terms(given, <const double*>data_of(weights), terms)
        shape[0] = count
        sums = cnp.PyArray_SimpleNew(1, shape, cnp.NPY_FLOAT32)
        out = <float*>data_of(sums)
        with nogil:
            blend_terms(terms, width, count, out)
    finally:
        free(terms)
    return sums


cdef void widen(const whole* values, Py_ssize_t count, whole missing, double* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = <double>NAN if values[i] == missing else <double>values[i]


def numbers(values, missing):
    cdef cnp.npy_intp[1] shape
    cdef double* out
    cdef int kind = cnp.PyArray_TYPE(values) if cnp.PyArray_Check(values) else -1
    if kind not in (cnp.NPY_INT64, cnp.NPY_UINT32, cnp.NPY_UINT8) or not is_column(values, kind):
        raise KernelArgumentError(f"values must be contiguous int64, uint32 or uint8, not {values!r:.80}")
    shape[0] = length_of(values)
    wide = cnp.PyArray_SimpleNew(1, shape, cnp.NPY_FLOAT64)
    out = <double*>data_of(wide)
    if kind == cnp.NPY_INT64:
        widen[int64_t](<const int64_t*>data_of(values), shape[0], missing, out)
    elif kind == cnp.NPY_UINT32:
        widen[uint32_t](<const uint32_t*>data_of(values), shape[0], missing, out)
    else:
        widen[uint8_t](<const uint8_t*>data_of(values), shape[0], missing, out)
    return wide
