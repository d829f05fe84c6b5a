"""How many rows of a set have which code: the counts of facets."""

import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from mixline.kernels.errors import KernelArgumentError

cdef extern from * nogil:
    int __builtin_clzll(unsigned long long) noexcept
    int __builtin_ctzll(unsigned long long) noexcept
    int __builtin_popcountll(unsigned long long) noexcept

ctypedef fused Code:
    uint8_t
    uint32_t

ctypedef fused Offset:
    uint32_t
    uint64_t


cdef int check_reach(const uint64_t[::1] words, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t rows) except -1:
    """Whether the greatest row of words start .. stop lies below ``rows``."""
    cdef Py_ssize_t word = stop - 1
    if not 0 <= start <= stop <= words.shape[0]:
        raise KernelArgumentError(f"words {start} .. {stop} of {words.shape[0]}")
    while word >= start and not words[word]:
        word -= 1
    if word >= start and word * 64 + 63 - __builtin_clzll(words[word]) >= rows:
        raise KernelArgumentError(f"a bitmap with a row in word {word}, of {rows} rows")
    return 0


def rows_of(const uint64_t[::1] words, Py_ssize_t start, Py_ssize_t stop):
    cdef Py_ssize_t word, many = 0
    cdef uint64_t left
    check_reach(words, start, stop, 1 << 32)
    for word in range(start, stop):
        many += __builtin_popcountll(words[word])
    rows = np.empty(many, dtype=np.uint32)
    cdef uint32_t[::1] out = rows
    many = 0
    with nogil:
        for word in range(start, stop):
            left = words[word]
            while left:
                out[many] = <uint32_t>(word * 64 + __builtin_ctzll(left))
                left &= left - 1
                many += 1
    return rows


def count_codes(const uint64_t[::1] words, Py_ssize_t start, Py_ssize_t stop, const Code[::1] codes,
                int64_t[::1] counts):
    cdef Py_ssize_t word
    cdef uint64_t left
    cdef size_t code, most = counts.shape[0]
    check_reach(words, start, stop, codes.shape[0])
    with nogil:
        for word in range(start, stop):
            left = words[word]
            while left:
                code = codes[word * 64 + __builtin_ctzll(left)]
                left &= left - 1
                if code < most:
                    counts[code] += 1


def count_tags(const uint64_t[::1] words, Py_ssize_t start, Py_ssize_t stop, const Offset[::1] offsets,
               const uint32_t[::1] codes, int64_t[::1] counts):
    cdef Py_ssize_t word, row
    cdef uint64_t left
    cdef size_t at, code, end, room = codes.shape[0], most = counts.shape[0]
    check_reach(words, start, stop, offsets.shape[0] - 1)
    with nogil:
        for word in range(start, stop):
            left = words[word]
            while left:
                row = word * 64 + __builtin_ctzll(left)
                left &= left - 1
                end = min(<size_t>offsets[row + 1], room)
                for at in range(<size_t>offsets[row], end):
                    code = codes[at]
                    if code < most:
                        counts[code] += 1
