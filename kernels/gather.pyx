"""Feature columns by row: what hydration does, one pass per column with the next rows prefetched.

A column is a mapped array by dense row number, so a feature costs one cache miss and no parsing. Columns may be
strided: those that lie interleaved in one matrix share the miss, and all but the first then come from the cache.
"""

import numpy as np

cimport numpy as cnp

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from mixline.kernels.errors import KernelArgumentError

cdef extern from *:
    """
    #define mixline_prefetch(address) __builtin_prefetch(address)
    """
    void mixline_prefetch(const void* address) noexcept nogil

cnp.import_array()

cdef enum:
    AHEAD_ROWS = 16

ctypedef fused cell:
    uint8_t
    uint32_t
    uint64_t


cdef void gather_cells(const char* column, Py_ssize_t stride, const uint32_t* rows, Py_ssize_t count,
                       cell* out) noexcept nogil:
    cdef Py_ssize_t i, ahead = count - AHEAD_ROWS
    for i in range(count):
        if i < ahead:
            mixline_prefetch(column + rows[i + AHEAD_ROWS] * stride)
        out[i] = (<const cell*>(column + rows[i] * stride))[0]


cdef Py_ssize_t row_bound(const uint32_t[::1] rows) noexcept nogil:
    """One more than the greatest row, 0 for none."""
    cdef Py_ssize_t i
    cdef uint32_t greatest = 0
    for i in range(rows.shape[0]):
        if rows[i] > greatest:
            greatest = rows[i]
    return <Py_ssize_t>greatest + 1 if rows.shape[0] else 0


cdef object gather_column(cnp.ndarray column, const uint32_t[::1] rows, Py_ssize_t bound):
    if column.ndim != 1 or not cnp.PyArray_ISBEHAVED_RO(column):
        raise KernelArgumentError(f"a column of shape {np.shape(column)} must be one-dimensional, aligned, native")
    if bound > column.shape[0]:
        raise KernelArgumentError(f"row {bound - 1} lies outside a column of {column.shape[0]} rows")
    cdef cnp.ndarray out = np.empty(rows.shape[0], dtype=column.dtype)
    if rows.shape[0] == 0:
        return out
    cdef Py_ssize_t width = column.itemsize, stride = column.strides[0]
    cdef const char* source = <const char*>cnp.PyArray_DATA(column)
    cdef void* target = cnp.PyArray_DATA(out)
    if width == 4:
        with nogil:
            gather_cells(source, stride, &rows[0], rows.shape[0], <uint32_t*>target)
    elif width == 8:
        with nogil:
            gather_cells(source, stride, &rows[0], rows.shape[0], <uint64_t*>target)
    elif width == 1:
        with nogil:
            gather_cells(source, stride, &rows[0], rows.shape[0], <uint8_t*>target)
    else:
        raise KernelArgumentError(f"a column of dtype {column.dtype} has {width}-byte cells; use 1, 4 or 8")
    return out


def gather(columns, const uint32_t[::1] rows):
    cdef Py_ssize_t bound = row_bound(rows)
    return [gather_column(column, rows, bound) for column in columns]
