"""Sets of rows as bitmaps of 64-bit words, the form in which a scan takes what it may return."""

import numpy as np

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from mixline.kernels.errors import KernelArgumentError


cdef int check_rows(const uint64_t[::1] words, const uint32_t[::1] rows) except -1:
    cdef Py_ssize_t i
    for i in range(rows.shape[0]):
        if rows[i] >= <uint64_t>words.shape[0] * 64:
            raise KernelArgumentError(f"row {rows[i]} at position {i} lies outside a bitmap of {words.shape[0]} words")
    return 0


def all_rows(Py_ssize_t count):
    if count < 0:
        raise KernelArgumentError(f"a bitmap of {count} rows; the count must be 0 or more")
    words = np.full((count + 63) // 64, 0xFFFFFFFFFFFFFFFF, dtype=np.uint64)
    if count & 63:
        words[count >> 6] = (<uint64_t>1 << (count & 63)) - 1
    return words


def clear_rows(uint64_t[::1] words, const uint32_t[::1] rows):
    cdef Py_ssize_t i
    check_rows(words, rows)
    with nogil:
        for i in range(rows.shape[0]):
            words[rows[i] >> 6] &= ~(<uint64_t>1 << (rows[i] & 63))


def holds_rows(const uint64_t[::1] words, const uint32_t[::1] rows):
    cdef Py_ssize_t i
    check_rows(words, rows)
    out = np.empty(rows.shape[0], dtype=np.bool_)
    cdef uint8_t[::1] bits = out.view(np.uint8)
    with nogil:
        for i in range(rows.shape[0]):
            bits[i] = (words[rows[i] >> 6] >> (rows[i] & 63)) & 1
    return out
