"""A door to the inlined heap for its tests: the broker's queues and deadlines use the struct itself."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset


cdef class ItemHeap:
    """Items ``0 .. items_max - 1`` by two 64-bit keys, smallest first."""

    def __cinit__(self, uint32_t items_max):
        self.items_max = items_max
        self.heap.place = <uint32_t*>malloc(max(items_max, 1) * sizeof(uint32_t))
        if self.heap.place == NULL:
            raise MemoryError()
        memset(self.heap.place, 0xFF, items_max * sizeof(uint32_t))

    def __dealloc__(self):
        free(self.heap.place)
        free(self.heap.entries)

    def __len__(self) -> int:
        return self.heap.count

    def push(self, uint32_t item, uint64_t major, uint64_t minor) -> None:
        """Add an item that is not in the heap."""
        if item >= self.items_max or self.heap.place[item] != NOWHERE:
            raise ValueError(f"item {item}: out of range, or in the heap")
        if heap_push(&self.heap, item, major, minor):
            raise MemoryError()

    def remove(self, uint32_t item) -> bool:
        """Take an item out; False when it is not in."""
        return item < self.items_max and heap_remove(&self.heap, item)

    def pop(self) -> int:
        """Take the first item out, or -1."""
        if not self.heap.count:
            return -1
        cdef uint32_t item = self.heap.entries[0].item
        heap_remove(&self.heap, item)
        return item
