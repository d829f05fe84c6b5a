"""A value that about k of many scores reach, with its body here so that every kernel inlines it."""

from libc.math cimport INFINITY, nextafterf
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcpy, memset


cdef enum:
    BINS = 256
    ROUNDS = 4            # of dividing a bin into bins


cdef inline int32_t bin_of(float value, float low, float high, double to_bin) noexcept nogil:
    """Which of the bins from ``low`` to ``high``; BINS for a value outside."""
    return <int32_t>((<double>value - low) * to_bin) if low <= value <= high else BINS


cdef inline Py_ssize_t count_from(const float* values, Py_ssize_t count, float bar) noexcept nogil:
    """How many reach the bar."""
    cdef Py_ssize_t at
    cdef int32_t found = 0
    for at in range(count):
        found += values[at] >= bar
    return found


cdef inline float value_at(uint32_t place) noexcept nogil:
    """The float32 that stands at ``place`` in their order, from the least on."""
    cdef float value
    place ^= <uint32_t>0x80000000 if place >> 31 else <uint32_t>0xFFFFFFFF
    memcpy(&value, &place, sizeof(value))
    return value


cdef inline float kth_greatest(const float* values, Py_ssize_t count, Py_ssize_t k) noexcept nogil:
    """The k-th greatest exactly, of at least k values and no NaN: by halving all float32 there are."""
    cdef uint32_t low = 0x007FFFFF, step = 0x80000000   # minus infinity, which all reach
    while step:
        if step <= <uint32_t>0xFF800000 - low and count_from(values, count, value_at(low + step)) >= k:
            low += step
        step >>= 1
    return value_at(low)


cdef inline Py_ssize_t keep_greatest(float* values, uint32_t* rows, Py_ssize_t count, Py_ssize_t k,
                                     float* above) noexcept nogil:
    """Bring the k greatest of more values, and their rows, to the front; how many. Of equal ones those that came first
    stay, and ``above`` is what a later one must reach to be better than the least of them."""
    cdef float bar = kth_greatest(values, count, k)
    cdef Py_ssize_t at, kept = 0, equals
    cdef bint better
    above[0] = nextafterf(bar, <float>INFINITY)
    equals = k - (count_from(values, count, above[0]) if above[0] > bar else 0)
    for at in range(count):
        better = values[at] > bar
        if better or (values[at] == bar and equals > 0):
            values[kept], rows[kept] = values[at], rows[at]
            kept += 1
            equals -= not better
    return kept


cdef inline float find_bar(const float* lowers, Py_ssize_t count, float bar, Py_ssize_t k) noexcept nogil:
    """A value from ``bar`` upwards that at least ``k`` lower bounds reach, and hardly more; ``bar`` if there is none.

    Counts into bins, and divides the bin with the k-th greatest again while it holds many. No comparison decides a
    branch, which is what makes it quicker than selection.
    """
    cdef int32_t counts[BINS + 1]
    cdef float low = bar, high = -INFINITY, edge
    cdef double to_bin
    cdef Py_ssize_t at, found
    cdef int32_t place
    cdef int _rounds
    for at in range(count):
        high = lowers[at] if lowers[at] > high else high
    if high == INFINITY:
        return bar  # such values fit no bin
    if low == -INFINITY:
        low = high
        for at in range(count):
            low = lowers[at] if -INFINITY < lowers[at] < low else low
        if count_from(lowers, count, low) < k:
            return bar
    for _rounds in range(ROUNDS):
        if not low < high:
            break
        to_bin = (BINS - 1) / (<double>high - low)
        memset(counts, 0, sizeof(counts))
        for at in range(count):
            counts[bin_of(lowers[at], low, high, to_bin)] += 1
        place, found = BINS, counts[BINS] - (count - count_from(lowers, count, low))
        while place > 0 and found < k:
            place -= 1
            found += counts[place]
        edge = <float>(low + (place - 0.001) / to_bin)  # a little below the bin, since all this is rounded
        found = count_from(lowers, count, edge)
        if found < k or not low < edge:
            break
        high = min(high, <float>(low + (place + 1) / to_bin))
        low = edge
        if found - k <= k // 8:
            break
    return low
