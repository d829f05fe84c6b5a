"""The total order of results, with its body here so that every kernel inlines it.

Score descending, then order key ascending, then row ascending (only rows of equal key, which a store never has).
A non-finite score counts as lower than every finite one, so NaN can neither win nor poison a heap.
"""

from libc.math cimport INFINITY
from libc.stdint cimport uint32_t, uint64_t


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
    if a.score != b.score:
        return a.score > b.score
    if a.key != b.key:
        return a.key < b.key
    return a.row < b.row


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


cdef inline Py_ssize_t heap_offer(Entry* heap, Py_ssize_t size, Py_ssize_t k, Entry entry) noexcept nogil:
    """Offer ``entry`` to a heap of at most ``k``; return the new size."""
    cdef Py_ssize_t at, parent
    if size < k:
        at = size
        while at > 0:
            parent = (at - 1) // 2
            if not ranks_before(&heap[parent], &entry):
                break
            heap[at] = heap[parent]
            at = parent
        heap[at] = entry
        return size + 1
    if k > 0 and ranks_before(&entry, &heap[0]):
        heap[0] = entry
        sift_down(heap, k, 0)
    return size


cdef inline void heap_sort(Entry* heap, Py_ssize_t size) noexcept nogil:
    """Turn the heap into rank order, best first, in place."""
    cdef Entry last
    while size > 1:
        size -= 1
        last = heap[size]
        heap[size] = heap[0]
        heap[0] = last
        sift_down(heap, size, 0)
