"""Whether what a component returned is what it may return: asked after each, so it must cost next to nothing."""

cimport numpy as cnp

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free

from mixline.kernels.arrays cimport data_of, is_column, length_of

from mixline.kernels.errors import KernelArgumentError

cnp.import_array()


cdef bint all_below(const uint32_t* rows, Py_ssize_t count, Py_ssize_t bound) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint32_t greatest = 0
    for i in range(count):
        greatest = max(greatest, rows[i])
    return count == 0 or greatest < bound


cdef bint are_candidates(object rows, object scores, Py_ssize_t count) noexcept:
    return (
        is_column(rows, cnp.NPY_UINT32)
        and is_column(scores, cnp.NPY_FLOAT32)
        and length_of(rows) == length_of(scores)
        and all_below(<const uint32_t*>data_of(rows), length_of(rows), count)
    )


def fits(rows, scores, Py_ssize_t count):
    return are_candidates(rows, scores, count)


def misfit(dict columns, names, Py_ssize_t count):
    for name in names:
        column = columns.get(name)
        if not cnp.PyArray_Check(column) or cnp.PyArray_NDIM(column) != 1 or length_of(column) != count:
            return name
    return None


cdef bint takes_offered(const int64_t* taken, Py_ssize_t taken_count, const int64_t* offered,
                        Py_ssize_t offered_count, uint8_t* open_places, Py_ssize_t count) noexcept nogil:
    """``open_places`` are ``count`` zeros."""
    cdef Py_ssize_t i
    for i in range(offered_count):
        if 0 <= offered[i] < count:
            open_places[offered[i]] = 1
    for i in range(taken_count):
        if not 0 <= taken[i] < count or not open_places[taken[i]]:
            return False
        open_places[taken[i]] = 0
    return True


def is_choice(taken, offered, Py_ssize_t count):
    cdef bint good
    if not is_column(taken, cnp.NPY_INT64) or not is_column(offered, cnp.NPY_INT64):
        raise KernelArgumentError("taken and offered must be contiguous int64 positions")
    cdef uint8_t* open_places = <uint8_t*>calloc(max(count, 1), 1)
    if open_places == NULL:
        raise MemoryError()
    good = takes_offered(<const int64_t*>data_of(taken), length_of(taken), <const int64_t*>data_of(offered),
                         length_of(offered), open_places, count)
    free(open_places)
    return good
