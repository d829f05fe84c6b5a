"""What a scorer and a selector need per request: a weighted sum over columns, and whether a choice is one.

Both are a few microseconds of work that dozens of small NumPy calls would make a hundred.
"""

import numpy as np

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport calloc, free

from mixline.kernels.errors import KernelArgumentError

ctypedef fused number:
    float
    double


cdef void add_column(double* total, const number* column, Py_ssize_t count, double weight) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        total[i] += weight * <double>column[i] if column[i] == column[i] else 0.0


def blend(columns, const double[::1] weights):
    cdef Py_ssize_t at, count
    cdef const float[::1] single
    cdef const double[::1] exact
    cdef double[::1] total
    if len(columns) != weights.shape[0] or not len(columns):
        raise KernelArgumentError(f"{len(columns)} columns and {weights.shape[0]} weights; give one or more of each")
    count = len(columns[0])
    sums = np.zeros(count, dtype=np.float64)
    if count == 0:
        return sums
    total = sums
    for at, column in enumerate(columns):
        if len(column) != count:
            raise KernelArgumentError(f"column {at} has {len(column)} entries, the first {count}")
        if column.dtype == np.float32:
            single = column
            with nogil:
                add_column(&total[0], &single[0], count, weights[at])
        else:
            exact = column
            with nogil:
                add_column(&total[0], &exact[0], count, weights[at])
    return sums


def is_choice(const int64_t[::1] taken, const int64_t[::1] offered, Py_ssize_t count):
    cdef Py_ssize_t i
    cdef bint good = True
    cdef uint8_t* open_places = <uint8_t*>calloc(max(count, 1), 1)
    if open_places == NULL:
        raise MemoryError()
    with nogil:
        for i in range(offered.shape[0]):
            if 0 <= offered[i] < count:
                open_places[offered[i]] = 1
        for i in range(taken.shape[0]):
            if not 0 <= taken[i] < count or not open_places[taken[i]]:
                good = False
                break
            open_places[taken[i]] = 0
        free(open_places)
    return good
