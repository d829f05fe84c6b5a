"""What happens to positions of a candidate block: drop, list the living, order, settle.

Each is a microsecond or less of work that a handful of small NumPy calls would make ten. All but the ordering keep the
GIL: to let go of it and to take it back would cost as much as the work.
"""

import numpy as np

cimport numpy as cnp

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from mixline.kernels.arrays cimport data_of, is_column, length_of
from mixline.kernels.order cimport Entry, descending, select_first, sort_entries, sunk

from mixline.kernels.errors import KernelArgumentError

cnp.import_array()


cdef object new_positions(Py_ssize_t count):
    cdef cnp.npy_intp[1] shape
    shape[0] = count
    return cnp.PyArray_SimpleNew(1, shape, cnp.NPY_INT64)


cdef Py_ssize_t need(object column, int kind, str name) except -1:
    """The length of ``column``; refuses what is no such column."""
    if not is_column(column, kind):
        raise KernelArgumentError(f"{name} must be one contiguous, native column of its type, not {column!r:.80}")
    return length_of(column)


cdef Py_ssize_t stray(const int64_t* positions, Py_ssize_t count, Py_ssize_t entries) noexcept nogil:
    """The first of ``positions`` that lies outside 0 .. ``entries``, by its place; -1 when all lie within."""
    cdef Py_ssize_t i
    for i in range(count):
        if not 0 <= positions[i] < entries:
            return i
    return -1


cdef object as_positions(object positions, Py_ssize_t entries):
    """``positions`` as contiguous int64, all of them within 0 .. ``entries``."""
    cdef Py_ssize_t at
    if not is_column(positions, cnp.NPY_INT64):
        positions = np.ascontiguousarray(positions, dtype=np.int64)
        need(positions, cnp.NPY_INT64, "positions")
    at = stray(<const int64_t*>data_of(positions), length_of(positions), entries)
    if at >= 0:
        raise KernelArgumentError(f"position {positions[at]} lies outside a block of {entries} candidates")
    return positions


cdef Py_ssize_t count_fate(const uint8_t* fates, Py_ssize_t count, uint8_t fate) noexcept nogil:
    cdef Py_ssize_t i, many = 0
    for i in range(count):
        many += fates[i] == fate
    return many


cdef void list_fate(const uint8_t* fates, Py_ssize_t count, uint8_t fate, int64_t* out) noexcept nogil:
    cdef Py_ssize_t i, many = 0
    for i in range(count):
        if fates[i] == fate:
            out[many] = i
            many += 1


def live_positions(fate, uint8_t live):
    cdef Py_ssize_t count = need(fate, cnp.NPY_UINT8, "fate")
    cdef const uint8_t* fates = <const uint8_t*>data_of(fate)
    found = new_positions(count_fate(fates, count, live))
    list_fate(fates, count, live, <int64_t*>data_of(found))
    return found


cdef Py_ssize_t drop_live(uint8_t* fates, const uint8_t* falls, Py_ssize_t count, uint8_t live,
                          uint8_t reason) noexcept nogil:
    """Returns how many fell."""
    cdef Py_ssize_t i, removed = 0
    for i in range(count):
        if fates[i] == live and falls[i]:
            fates[i] = reason
            removed += 1
    return removed


def drop(fate, dropped, uint8_t live, uint8_t reason):
    cdef Py_ssize_t lived, removed, count = need(fate, cnp.NPY_UINT8, "fate")
    cdef uint8_t* fates = <uint8_t*>data_of(fate)
    if need(dropped, cnp.NPY_BOOL, "dropped") != count:
        raise KernelArgumentError(f"dropped has {len(dropped)} entries, fate {count}")
    lived = count_fate(fates, count, live)
    removed = drop_live(fates, <const uint8_t*>data_of(dropped), count, live, reason)
    return lived - removed, removed


cdef void settle_fates(uint8_t* fates, Py_ssize_t count, const int64_t* places, Py_ssize_t places_count, uint8_t live,
                       uint8_t reserve, uint8_t served) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        if fates[i] == live:
            fates[i] = reserve
    for i in range(places_count):
        fates[places[i]] = served


def settle(fate, slate, uint8_t live, uint8_t reserve, uint8_t served):
    cdef Py_ssize_t count = need(fate, cnp.NPY_UINT8, "fate")
    slate = as_positions(slate, count)
    cdef const int64_t* places = <const int64_t*>data_of(slate)
    settle_fates(<uint8_t*>data_of(fate), count, places, length_of(slate), live, reserve, served)


cdef void read_entries(const float* single, const double* exact, const uint64_t* keys, const int64_t* places,
                       Py_ssize_t count, Entry* entries) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        entries[i].score = sunk(single[places[i]] if single != NULL else <float>exact[places[i]])
        entries[i].key = keys[places[i]]
        entries[i].row = <uint32_t>i


cdef uint32_t bound_of(uint32_t* bits, Py_ssize_t size, Py_ssize_t k) noexcept nogil:
    """A bound that the ``k`` least of ``bits`` do not exceed, and a few others at most; puts ``bits`` in another order.

    Quickselect without branches that depend on the numbers, given up where it shrinks too slowly or hardly matters.
    """
    cdef Py_ssize_t i, less, equal
    cdef uint32_t first, last, pivot, moving, greatest = 0
    cdef int patience = 32
    while size > 16 and patience:
        patience -= 1
        first, pivot, last = bits[0], bits[size // 2], bits[size - 1]
        pivot = max(min(first, pivot), min(max(first, pivot), last))
        less = 0
        for i in range(size):
            moving = bits[i]
            bits[i] = bits[less]
            bits[less] = moving
            less += moving < pivot
        if k <= less:
            size = less
            continue
        equal = less
        for i in range(less, size):
            moving = bits[i]
            bits[i] = bits[equal]
            bits[equal] = moving
            equal += moving == pivot
        if k <= equal:
            return pivot
        bits += equal
        size -= equal
        k -= equal
    for i in range(size):
        greatest = max(greatest, bits[i])
    return greatest


cdef Py_ssize_t keep_best(Entry* entries, Py_ssize_t count, Py_ssize_t k, uint32_t* bits) noexcept nogil:
    """Leave at the front the entries that can be among the best ``k`` by their score, and say how many they are."""
    cdef Py_ssize_t i, kept = 0
    cdef uint32_t bound
    for i in range(count):
        bits[i] = descending(entries[i].score)
    bound = bound_of(bits, count, k)
    for i in range(count):
        entries[kept] = entries[i]
        kept += descending(entries[i].score) <= bound
    return kept


def best_positions(scores, keys, positions, Py_ssize_t k):
    cdef Py_ssize_t i, count, entries_count = need(keys, cnp.NPY_UINT64, "keys")
    cdef const float* single = NULL
    cdef const double* exact = NULL
    cdef const int64_t* places
    cdef int64_t* out
    if is_column(scores, cnp.NPY_FLOAT32):
        single = <const float*>data_of(scores)
    else:
        if not is_column(scores, cnp.NPY_FLOAT64):
            scores = np.ascontiguousarray(scores, dtype=np.float64)
        need(scores, cnp.NPY_FLOAT64, "scores")
        exact = <const double*>data_of(scores)
    if length_of(scores) != entries_count:
        raise KernelArgumentError(f"{length_of(scores)} scores and {entries_count} keys; give one of each")
    positions = as_positions(positions, entries_count)
    count = length_of(positions)
    if k < 0 or count >= 0xFFFFFFFF:
        raise KernelArgumentError(f"the best {k} of {count}: k is 0 or more, and at most 2^32 - 2 can be ranked")
    k = min(k, count)
    best = new_positions(k)
    if k == 0:
        return best
    places = <const int64_t*>data_of(positions)
    out = <int64_t*>data_of(best)
    cdef const uint64_t* key = <const uint64_t*>data_of(keys)
    cdef Entry* ranked = <Entry*>malloc(count * (sizeof(Entry) + sizeof(uint32_t)))
    if ranked == NULL:
        raise MemoryError(f"no memory to rank {count} entries")
    with nogil:
        read_entries(single, exact, key, places, count, ranked)
        if k < count:
            count = keep_best(ranked, count, k, <uint32_t*>(ranked + count))
        if k < count:
            select_first(ranked, count, k)
        sort_entries(ranked, k)
        for i in range(k):
            out[i] = places[ranked[i].row]
        free(ranked)
    return best
