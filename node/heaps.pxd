"""Binary heaps of numbered items whose place is known, so that any item can be taken out; bodies here to be inlined."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport realloc

cdef enum:
    NOWHERE = 0xFFFFFFFF

cdef struct Entry:
    uint64_t major
    uint64_t minor
    uint32_t item

# `place[item]` is where the item lies in `entries`, or NOWHERE; several heaps may share one, if no item is in two.
cdef struct Heap:
    Entry* entries
    uint32_t* place
    uint32_t count
    uint32_t capacity


cdef inline bint entry_before(const Entry* a, const Entry* b) noexcept nogil:
    return a.major < b.major or (a.major == b.major and a.minor < b.minor)


cdef inline void heap_put(Heap* heap, uint32_t at, Entry entry) noexcept nogil:
    heap.entries[at] = entry
    heap.place[entry.item] = at


cdef inline void heap_rise(Heap* heap, uint32_t at, Entry entry) noexcept nogil:
    cdef uint32_t parent
    while at:
        parent = (at - 1) // 2
        if not entry_before(&entry, &heap.entries[parent]):
            break
        heap_put(heap, at, heap.entries[parent])
        at = parent
    heap_put(heap, at, entry)


cdef inline void heap_sink(Heap* heap, uint32_t at, Entry entry) noexcept nogil:
    cdef uint32_t child
    while True:
        child = 2 * at + 1
        if child >= heap.count:
            break
        if child + 1 < heap.count and entry_before(&heap.entries[child + 1], &heap.entries[child]):
            child += 1
        if not entry_before(&heap.entries[child], &entry):
            break
        heap_put(heap, at, heap.entries[child])
        at = child
    heap_put(heap, at, entry)


cdef inline int heap_push(Heap* heap, uint32_t item, uint64_t major, uint64_t minor) noexcept nogil:
    """0, or -1 when memory ran out and nothing was changed. The item must be in no heap."""
    cdef Entry entry
    cdef Entry* grown
    cdef uint32_t capacity
    if heap.count == heap.capacity:
        capacity = 2 * heap.capacity if heap.capacity else 64
        grown = <Entry*>realloc(heap.entries, capacity * sizeof(Entry))
        if grown == NULL:
            return -1
        heap.entries, heap.capacity = grown, capacity
    entry.major, entry.minor, entry.item = major, minor, item
    heap.count += 1
    heap_rise(heap, heap.count - 1, entry)
    return 0


cdef inline bint heap_remove(Heap* heap, uint32_t item) noexcept nogil:
    """Take an item out, wherever it lies; False when it is in no heap."""
    cdef uint32_t at = heap.place[item]
    cdef Entry last
    if at == NOWHERE:
        return False
    heap.place[item] = NOWHERE
    heap.count -= 1
    if at == heap.count:
        return True
    last = heap.entries[heap.count]
    if at and entry_before(&last, &heap.entries[(at - 1) // 2]):
        heap_rise(heap, at, last)
    else:
        heap_sink(heap, at, last)
    return True


cdef class ItemHeap:
    cdef Heap heap
    cdef uint32_t items_max
