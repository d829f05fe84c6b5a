"""Feature columns by row: what hydration does, a tile of rows at a time with the next tile prefetched.

A column is a mapped array by dense row number, so a feature costs one cache miss and no parsing. Columns may be
strided: those that lie interleaved in one matrix share the miss, and all but the first then come from the cache.
Results lie side by side in one piece of memory, so that what reads them all (a blend) reads it from end to end.
"""

import numpy as np

cimport numpy as cnp

from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from mixline.kernels.arrays cimport data_of, is_column, length_of

from mixline.kernels.errors import KernelArgumentError

cdef extern from *:
    """
    #define mixline_prefetch(address) __builtin_prefetch(address)
    """
    void mixline_prefetch(const void* address) noexcept nogil

cdef extern from "numpy/arrayobject.h":
    # Steals a reference to the dtype and returns a new one to the array.
    PyObject* PyArray_NewFromDescr(PyTypeObject* kind, cnp.PyArray_Descr* dtype, int dimensions, cnp.npy_intp* shape,
                                   cnp.npy_intp* strides, void* data, int flags, PyObject* like) except NULL

cnp.import_array()

cdef enum:
    TILE_ROWS = 32
    LINE_BYTES = 64

ctypedef fused cell:
    uint8_t
    uint32_t
    uint64_t


cdef void gather_cells(const char* column, Py_ssize_t stride, const uint32_t* rows, Py_ssize_t count,
                       cell* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = (<const cell*>(column + rows[i] * stride))[0]


cdef void fetch(const char* column, Py_ssize_t stride, const uint32_t* rows, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        mixline_prefetch(column + rows[i] * stride)


cdef Py_ssize_t row_bound(const uint32_t* rows, Py_ssize_t count) noexcept nogil:
    """One more than the greatest row, 0 for none."""
    cdef Py_ssize_t i
    cdef uint32_t greatest = 0
    for i in range(count):
        greatest = max(greatest, rows[i])
    return <Py_ssize_t>greatest + 1 if count else 0


cdef struct Column:
    const char* cells           # of row 0
    Py_ssize_t stride
    Py_ssize_t width            # bytes of a cell
    char* out


cdef Py_ssize_t read_columns(list columns, Py_ssize_t bound, Py_ssize_t count, Column* out) except -1:
    """Check the columns and note where each lies; returns the bytes of all results, each from a multiple of 8 on."""
    cdef Py_ssize_t at, size = 0
    cdef cnp.ndarray column
    for at in range(len(columns)):
        column = columns[at]
        if column.ndim != 1 or not cnp.PyArray_ISBEHAVED_RO(column):
            raise KernelArgumentError(f"a column of shape {np.shape(column)} must be one-dimensional, aligned, native")
        if bound > column.shape[0]:
            raise KernelArgumentError(f"row {bound - 1} lies outside a column of {column.shape[0]} rows")
        out[at].width = cnp.PyArray_ITEMSIZE(column)
        if out[at].width not in (1, 4, 8):
            raise KernelArgumentError(f"a column of dtype {column.dtype} has {out[at].width}-byte cells; use 1, 4 or 8")
        out[at].stride = column.strides[0]
        out[at].cells = <const char*>cnp.PyArray_DATA(column)
        size += (out[at].width * count + 7) & ~7
    return size


cdef inline size_t line_of(const char* address) noexcept nogil:
    return <size_t>address // LINE_BYTES


cdef void fetch_rows(const Column* columns, Py_ssize_t width, const uint32_t* rows, Py_ssize_t count) noexcept nogil:
    """Ask for the cells of some rows. A column that begins in the line of the one before it comes with that one."""
    cdef Py_ssize_t at
    for at in range(width):
        if at and columns[at].stride == columns[at - 1].stride:
            if line_of(columns[at].cells) == line_of(columns[at - 1].cells):
                continue
        fetch(columns[at].cells, columns[at].stride, rows, count)


cdef void gather_columns(const Column* columns, Py_ssize_t width, const uint32_t* rows,
                         Py_ssize_t count) noexcept nogil:
    """Tile by tile, so that the lines which columns share stay in the nearest cache until all have read them."""
    cdef Py_ssize_t at, many, start = 0
    cdef const Column* column
    fetch_rows(columns, width, rows, min(count, <Py_ssize_t>TILE_ROWS))
    while start < count:
        many = min(count - start, <Py_ssize_t>TILE_ROWS)
        fetch_rows(columns, width, rows + start + many, min(count - start - many, <Py_ssize_t>TILE_ROWS))
        for at in range(width):
            column = &columns[at]
            if column.width == 4:
                gather_cells(column.cells, column.stride, rows + start, many, <uint32_t*>column.out + start)
            elif column.width == 8:
                gather_cells(column.cells, column.stride, rows + start, many, <uint64_t*>column.out + start)
            else:
                gather_cells(column.cells, column.stride, rows + start, many, <uint8_t*>column.out + start)
        start += many


cdef list cut(object memory, list columns, Py_ssize_t count, Column* out):
    """Results as views of ``memory``, one beside the other, and where each lies."""
    cdef Py_ssize_t at
    cdef cnp.npy_intp[1] shape
    cdef char* free_from = <char*>data_of(memory)
    cdef cnp.PyArray_Descr* dtype
    cdef list views = []
    shape[0] = count
    for at in range(len(columns)):
        out[at].out = free_from
        dtype = cnp.PyArray_DESCR(<cnp.ndarray>columns[at])
        Py_INCREF(<object>dtype)
        view = <object>PyArray_NewFromDescr(<PyTypeObject*>cnp.ndarray, dtype, 1, shape, NULL, free_from,
                                            cnp.NPY_ARRAY_CARRAY, NULL)
        Py_DECREF(view)
        cnp.set_array_base(view, memory)
        views.append(view)
        free_from += (out[at].width * count + 7) & ~7
    return views


def gather(columns, rows):
    cdef list given = list(columns)
    cdef Py_ssize_t count, bound, width = len(given)
    cdef cnp.npy_intp[1] shape
    cdef const uint32_t* row
    if not is_column(rows, cnp.NPY_UINT32):
        raise KernelArgumentError(f"rows must be contiguous uint32, not {rows!r:.80}")
    count = length_of(rows)
    row = <const uint32_t*>data_of(rows)
    cdef Column* places = <Column*>malloc(max(width, 1) * sizeof(Column))
    if places == NULL:
        raise MemoryError()
    try:
        bound = row_bound(row, count)
        shape[0] = read_columns(given, bound, count, places)
        views = cut(cnp.PyArray_SimpleNew(1, shape, cnp.NPY_UINT8), given, count, places)
        with nogil:
            gather_columns(places, width, row, count)
    finally:
        free(places)
    return views
