"""The total order of results, with its body here so that every kernel inlines it.

Score descending, then order key ascending, then row ascending (only rows of equal key, which a store never has).
A non-finite score counts as lower than every finite one, so NaN can neither win nor poison a heap.
"""

from libc.math cimport INFINITY
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset


cdef enum:
    RADIX = 256
    RADIX_MAX = 1 << 14   # entries that a sort by digits keeps in the caches


cdef struct Entry:
    float score
    uint32_t row
    uint64_t key


cdef inline float sunk(float score) noexcept nogil:
    """Map NaN and both infinities to -infinity, the bottom of the order."""
    if score - score != 0.0:
        return <float>-INFINITY
    return score


cdef inline bint ranks_before(Entry* a, Entry* b) noexcept nogil:
    """Whether ``a`` stands before ``b``. Scores must have passed :func:`sunk`."""
    # Without branches: which way a comparison goes cannot be foretold.
    return (a.score > b.score) | (
        (a.score == b.score) & ((a.key < b.key) | ((a.key == b.key) & (a.row < b.row))))


cdef inline void sift_down(Entry* heap, Py_ssize_t size, Py_ssize_t hole) noexcept nogil:
    """Restore the heap property below ``hole``; the root is the entry that ranks last."""
    cdef Py_ssize_t child
    cdef Entry moving = heap[hole]
    while True:
        child = 2 * hole + 1
        if child >= size:
            break
        if child + 1 < size and ranks_before(&heap[child], &heap[child + 1]):
            child += 1
        if not ranks_before(&moving, &heap[child]):
            break
        heap[hole] = heap[child]
        hole = child
    heap[hole] = moving


cdef inline void heap_sort(Entry* heap, Py_ssize_t size) noexcept nogil:
    """Put entries into rank order, best first, in place; in any case in n log n steps."""
    cdef Entry last
    cdef Py_ssize_t hole = size // 2
    while hole > 0:
        hole -= 1
        sift_down(heap, size, hole)
    while size > 1:
        size -= 1
        last = heap[size]
        heap[size] = heap[0]
        heap[0] = last
        sift_down(heap, size, 0)


cdef inline void insertion_sort(Entry* entries, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t at, hole
    cdef Entry moving
    for at in range(1, size):
        moving = entries[at]
        hole = at
        while hole > 0 and ranks_before(&moving, &entries[hole - 1]):
            entries[hole] = entries[hole - 1]
            hole -= 1
        entries[hole] = moving


cdef inline Py_ssize_t split(Entry* entries, Py_ssize_t size) noexcept nogil:
    """Part entries around the median of three of them; its place, with all before it ranking before it."""
    cdef Py_ssize_t low = 0, high = size - 1, middle = size // 2
    cdef Entry pivot, swapped
    if ranks_before(&entries[high], &entries[0]):
        swapped = entries[0]
        entries[0] = entries[high]
        entries[high] = swapped
    if ranks_before(&entries[middle], &entries[0]):
        middle = 0
    elif ranks_before(&entries[high], &entries[middle]):
        middle = high
    pivot = entries[middle]
    entries[middle] = entries[high]
    for middle in range(high):
        swapped = entries[middle]
        entries[middle] = entries[low]
        entries[low] = swapped
        low += ranks_before(&swapped, &pivot)
    entries[high] = entries[low]
    entries[low] = pivot
    return low


cdef inline void select_first(Entry* entries, Py_ssize_t size, Py_ssize_t k) noexcept nogil:
    """Bring the best ``k`` (0 < k <= size) to the front in any order, the last of them at ``k - 1`` (Hoare 1961).

    Parts that shrink too slowly are sorted instead, so no order of input costs more than n log n.
    """
    cdef Py_ssize_t at, patience = 64
    while size > 16 and patience:
        patience -= 1
        at = split(entries, size)
        if at == k - 1:
            return
        if at >= k:
            size = at
        else:
            entries += at + 1
            size -= at + 1
            k -= at + 1
    if size > 16:
        heap_sort(entries, size)
    else:
        insertion_sort(entries, size)


cdef inline void sort_entries(Entry* entries, Py_ssize_t size) noexcept nogil:
    """Rank order, best first, in place: quicksort, and heap sort where it goes too deep."""
    cdef Entry* starts[64]
    cdef Py_ssize_t sizes[64]
    cdef Py_ssize_t at
    cdef int depth = 0
    while True:
        while size > 16:
            if depth == 64:
                heap_sort(entries, size)
                size = 0
                break
            at = split(entries, size)
            starts[depth], sizes[depth] = entries + at + 1, size - at - 1
            depth += 1
            size = at
        insertion_sort(entries, size)
        if not depth:
            return
        depth -= 1
        entries, size = starts[depth], sizes[depth]


cdef inline uint32_t descending(float score) noexcept nogil:
    """Bits that ascend as scores descend; -0.0 counts as 0.0."""
    cdef uint32_t bits
    score += 0.0
    memcpy(&bits, &score, sizeof(bits))
    return bits if bits >> 31 else bits ^ 0x7FFFFFFF


cdef inline void rank_entries(Entry* entries, Entry* spare, Py_ssize_t size) noexcept nogil:
    """Rank order, best first, in place: by the digits of the score, then by key where scores are equal.

    ``spare`` has room for ``size`` entries. Sorting by comparison mispredicts at each step; long arrays, whose digits
    leave the caches, and short ones are sorted so nevertheless.
    """
    cdef uint32_t counts[4][RADIX]
    cdef Entry* here = entries
    cdef Entry* there = spare
    cdef Entry* swapped
    cdef Py_ssize_t at, start
    cdef uint32_t digit, before, many, bits
    cdef int level
    if size < 64 or size > RADIX_MAX:
        sort_entries(entries, size)
        return
    memset(counts, 0, sizeof(counts))
    for at in range(size):
        bits = descending(entries[at].score)
        for level in range(4):
            counts[level][bits >> 8 * level & 0xFF] += 1
    for level in range(4):
        before = 0
        for digit in range(RADIX):
            many = counts[level][digit]
            counts[level][digit] = before
            before += many
        for at in range(size):
            digit = descending(here[at].score) >> 8 * level & 0xFF
            there[counts[level][digit]] = here[at]
            counts[level][digit] += 1
        swapped = here
        here = there
        there = swapped
    start = 0
    for at in range(1, size + 1):
        if at == size or entries[at].score != entries[start].score:
            if at - start > 1:
                sort_entries(entries + start, at - start)
            start = at
