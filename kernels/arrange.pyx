"""Order with wishes: places that want a kind of candidate, and flagged candidates that keep a distance.

Each place takes the first candidate left that does what is asked; where none does, the kind is given up before the
distance, and the door says how often each was.
"""

import numpy as np

cimport numpy as cnp

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free

from mixline.kernels.arrays cimport data_of, is_column, length_of

from mixline.kernels.errors import KernelArgumentError

cnp.import_array()


cdef int64_t first_left(const uint8_t* taken, const uint64_t* kinds, const uint8_t* flagged, int64_t begin,
                        int64_t count, uint64_t want, bint distant) noexcept nogil:
    """The first that is not taken, of a wanted kind (0: any), and not flagged where that would be too near; or -1."""
    cdef int64_t i
    for i in range(begin, count):
        if not taken[i] and (want == 0 or kinds[i] & want) and not (distant and flagged[i]):
            return i
    return -1


cdef void place_all(const uint64_t* kinds, const uint8_t* flagged, int64_t count, const uint64_t* wants, int64_t places,
                    int64_t gap, uint8_t* taken, int64_t* order, int64_t* given_up) noexcept nogil:
    cdef int64_t at, i, begin = 0, last = -gap
    cdef bint distant
    for at in range(places):
        distant = at - last < gap
        i = first_left(taken, kinds, flagged, begin, count, wants[at], distant)
        if i < 0 and wants[at]:
            i = first_left(taken, kinds, flagged, begin, count, 0, distant)
        if i < 0 and wants[at]:
            i = first_left(taken, kinds, flagged, begin, count, wants[at], False)
        if i < 0:
            i = first_left(taken, kinds, flagged, begin, count, 0, False)
        if wants[at] and not kinds[i] & wants[at]:
            given_up[0] += 1
        if distant and flagged[i]:
            given_up[1] += 1
        if flagged[i]:
            last = at
        taken[i] = 1
        order[at] = i
        while begin < count and taken[begin]:
            begin += 1


def arrange(kinds, flagged, wants, Py_ssize_t gap):
    cdef int64_t given_up[2]
    cdef uint8_t* taken
    if not is_column(kinds, cnp.NPY_UINT64) or not is_column(wants, cnp.NPY_UINT64):
        raise KernelArgumentError("kinds and wants must be contiguous uint64, a bit for each kind")
    if not is_column(flagged, cnp.NPY_BOOL) or length_of(flagged) != length_of(kinds):
        raise KernelArgumentError(f"flagged must be contiguous bool, one for each of {length_of(kinds)} candidates")
    cdef Py_ssize_t count = length_of(kinds), places = min(length_of(wants), length_of(kinds))
    order = np.empty(places, dtype=np.int64)
    given_up[0] = given_up[1] = 0
    taken = <uint8_t*>calloc(max(count, 1), 1)
    if taken == NULL:
        raise MemoryError(f"no memory for {count} candidates")
    cdef const uint64_t* kind = <const uint64_t*>data_of(kinds)
    cdef const uint64_t* want = <const uint64_t*>data_of(wants)
    cdef const uint8_t* flags = <const uint8_t*>data_of(flagged)
    cdef int64_t* out = <int64_t*>data_of(order)
    with nogil:
        place_all(kind, flags, count, want, places, gap, taken, out, given_up)
        free(taken)
    return order, given_up[0], given_up[1]
