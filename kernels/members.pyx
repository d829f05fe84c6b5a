"""Which rows belong to a set, and which carry a tag.

A set and the rows asked about both ascend, so each row is looked for from where the one before it was found.
"""

cimport numpy as cnp

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from mixline.kernels.arrays cimport data_of, is_column, length_of

from mixline.kernels.errors import KernelArgumentError

cnp.import_array()


cdef Py_ssize_t first_from(const uint32_t* members, Py_ssize_t size, Py_ssize_t start, uint32_t row) noexcept nogil:
    """The first place from ``start`` on that holds ``row`` or more: strides that double, then halving."""
    cdef Py_ssize_t step = 1, low = start, middle
    while low + step < size and members[low + step] < row:
        low += step
        step *= 2
    cdef Py_ssize_t high = min(low + step, size)
    while low < high:
        middle = (low + high) // 2
        if members[middle] < row:
            low = middle + 1
        else:
            high = middle
    return low


cdef void find_members(const uint32_t* rows, Py_ssize_t count, const uint32_t* members, Py_ssize_t size,
                       uint8_t* out) noexcept nogil:
    cdef Py_ssize_t i, at = 0
    for i in range(count):
        if i and rows[i] < rows[i - 1]:
            at = 0
        at = first_from(members, size, at, rows[i])
        out[i] = at < size and members[at] == rows[i]


def are_members(rows, members):
    cdef cnp.npy_intp[1] shape
    if not is_column(rows, cnp.NPY_UINT32) or not is_column(members, cnp.NPY_UINT32):
        raise KernelArgumentError("rows and members must be contiguous uint32")
    shape[0] = length_of(rows)
    found = cnp.PyArray_SimpleNew(1, shape, cnp.NPY_BOOL)
    cdef uint8_t* out = <uint8_t*>data_of(found)
    cdef const uint32_t* row = <const uint32_t*>data_of(rows)
    cdef const uint32_t* member = <const uint32_t*>data_of(members)
    cdef Py_ssize_t size = length_of(members)
    with nogil:
        find_members(row, shape[0], member, size, out)
    return found


cdef void find_tagged(const uint32_t* rows, Py_ssize_t count, const uint64_t* offsets, const uint32_t* tags,
                      const uint32_t* codes, Py_ssize_t codes_count, uint8_t* out) noexcept nogil:
    cdef Py_ssize_t i, code
    cdef uint64_t at
    for i in range(count):
        out[i] = 0
        for at in range(offsets[rows[i]], offsets[rows[i] + <uint64_t>1]):
            for code in range(codes_count):
                out[i] |= tags[at] == codes[code]


cdef bint lie_within(const uint32_t* rows, Py_ssize_t count, const uint64_t* offsets, Py_ssize_t offsets_count,
                     Py_ssize_t tags_count) noexcept nogil:
    """Whether every row has two offsets, in order and within the tags."""
    cdef Py_ssize_t i
    for i in range(count):
        if <Py_ssize_t>rows[i] + 1 >= offsets_count:
            return False
        if not offsets[rows[i]] <= offsets[rows[i] + <uint64_t>1] <= <uint64_t>tags_count:
            return False
    return True


def are_tagged(rows, offsets, tags, codes):
    cdef cnp.npy_intp[1] shape
    for one in (rows, tags, codes):
        if not is_column(one, cnp.NPY_UINT32):
            raise KernelArgumentError("rows, tags and codes must be contiguous uint32")
    if not is_column(offsets, cnp.NPY_UINT64):
        raise KernelArgumentError("offsets must be contiguous uint64")
    shape[0] = length_of(rows)
    cdef const uint32_t* row = <const uint32_t*>data_of(rows)
    cdef const uint64_t* offset = <const uint64_t*>data_of(offsets)
    if not lie_within(row, shape[0], offset, length_of(offsets), length_of(tags)):
        raise KernelArgumentError(
            f"a row or an offset lies outside {length_of(offsets)} offsets, {length_of(tags)} tags")
    found = cnp.PyArray_SimpleNew(1, shape, cnp.NPY_BOOL)
    cdef uint8_t* out = <uint8_t*>data_of(found)
    cdef const uint32_t* tag = <const uint32_t*>data_of(tags)
    cdef const uint32_t* code = <const uint32_t*>data_of(codes)
    cdef Py_ssize_t codes_count = length_of(codes)
    with nogil:
        find_tagged(row, shape[0], offset, tag, code, codes_count, out)
    return found
