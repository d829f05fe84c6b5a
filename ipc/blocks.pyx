"""An allocator of fixed blocks in size classes, kept in the private memory of the one process that owns the segment.

A request of 200 bytes takes a block of 512 and one of a mebibyte still fits. Free blocks form a stack per class, so the
pages used last, which are warm, are used next, and pages never needed are never touched. What a burst has touched the
owner gives back when it is calm, but for the blocks that will be used next.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from mixline.ipc.errors import Corrupt, IpcError

from mixline.ipc.checks cimport MX_DEBUG, mx_check, mx_live, mx_live_add

cdef extern from "<sys/mman.h>" nogil:
    int madvise(void* start, size_t length, int advice) noexcept
    int MADV_REMOVE

cdef enum:
    PAGE = 4096
    WARM_BYTES = 1 << 18   # of blocks on top of each stack keep their pages

CLASS_LIMIT = CLASSES_MAX
PAGE_BYTES = PAGE


def live() -> int:
    """Blocks taken and not given back, in this process: the debug build's leak counter, 0 in any other."""
    return mx_live()


cdef class Blocks:
    """Blocks by ``plan``, a sequence of (block_bytes, count) with growing block_bytes, laid out from offset 0."""

    def __cinit__(self, plan):
        cdef uint64_t at = 0
        cdef uint32_t block = 0
        cdef SizeClass* size
        self.stack = NULL
        self.generations = NULL
        self.in_use = self.pages = NULL
        plan = [(int(block_bytes), int(count)) for block_bytes, count in plan]
        if not 1 <= len(plan) <= CLASSES_MAX:
            raise IpcError(f"blocks: {len(plan)} size classes, must be 1..{CLASSES_MAX}")
        if any(b % 64 or b <= 0 or c <= 0 for b, c in plan) or sorted({b for b, _ in plan}) != [b for b, _ in plan]:
            raise IpcError(f"blocks: {plan}: block sizes must grow and be multiples of 64, counts positive")
        for block_bytes, count in plan:
            size = &self.classes[self.class_count]
            size.block_bytes, size.start, size.first, size.count = block_bytes, at, block, count
            at = (at + size.block_bytes * size.count + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES
            block += size.count
            self.class_count += 1
        self.block_count = block
        self.total_bytes = at
        self.stack = <uint32_t*>malloc(block * sizeof(uint32_t))
        self.generations = <uint32_t*>calloc(block, sizeof(uint32_t))
        self.in_use = <uint8_t*>calloc(block, 1)
        self.pages = <uint8_t*>calloc(block, 1)
        if self.stack == NULL or self.generations == NULL or self.in_use == NULL or self.pages == NULL:
            raise MemoryError()
        memset(self.pages, 1, block)  # an owner before us may have touched any
        self.touched = block
        self.reset()

    def __dealloc__(self):
        mx_live_add(-<int64_t>self.taken)
        free(self.stack)
        free(self.generations)
        free(self.in_use)
        free(self.pages)

    def reset(self) -> None:
        """Every block is free again. Only when nobody reads any of them."""
        self.clear()

    cdef void clear(self) noexcept nogil:
        cdef uint32_t i, block
        cdef int c
        for c in range(self.class_count):
            self.classes[c].free = self.classes[c].count
            for i in range(self.classes[c].count):  # the lowest block on top
                block = self.classes[c].first + self.classes[c].count - 1 - i
                self.stack[self.classes[c].first + i] = block
        for block in range(self.block_count):
            self.in_use[block] = 0
        mx_live_add(-<int64_t>self.taken)
        self.taken = 0

    cdef int class_of(self, uint32_t block) noexcept nogil:
        cdef int c = self.class_count - 1
        while block < self.classes[c].first:
            c -= 1
        return c

    cdef int64_t take_block(self, uint64_t length) noexcept nogil:
        cdef int c, chosen = -1
        cdef uint32_t block
        for c in range(self.class_count):
            if self.classes[c].block_bytes >= length:
                # A class that is used up may borrow from the next, not from all: small ones must not eat the large.
                if self.classes[c].free:
                    chosen = c
                elif c + 1 < self.class_count and self.classes[c + 1].free:
                    chosen = c + 1
                break
        if chosen < 0:
            return -1
        self.classes[chosen].free -= 1
        block = self.stack[self.classes[chosen].first + self.classes[chosen].free]
        self.generations[block] += 1
        if self.generations[block] == 0:
            self.generations[block] = 1
        mx_check(not self.in_use[block], "blocks: a block on the free stack is in use")
        self.in_use[block] = 1
        self.touched += not self.pages[block]
        self.pages[block] = 1
        self.taken += 1
        mx_live_add(1)
        return block

    cdef int give_block(self, uint32_t block) noexcept nogil:
        cdef SizeClass* size
        if block >= self.block_count or not self.in_use[block]:
            return -1
        size = &self.classes[self.class_of(block)]
        mx_check(size.free < size.count and self.taken > 0, "blocks: more given back than taken")
        self.in_use[block] = 0
        self.stack[size.first + size.free] = block
        size.free += 1
        self.taken -= 1
        mx_live_add(-1)
        if MX_DEBUG:
            self.audit(size)
        return 0

    cdef int reserve_block(self, uint32_t block) noexcept nogil:
        cdef SizeClass* size
        cdef uint32_t i
        if block >= self.block_count or self.in_use[block]:
            return -1
        size = &self.classes[self.class_of(block)]
        for i in range(size.free):
            if self.stack[size.first + i] == block:
                size.free -= 1
                self.stack[size.first + i] = self.stack[size.first + size.free]
                break
        self.in_use[block] = 1
        self.taken += 1
        mx_live_add(1)
        return 0

    cdef uint64_t start_of(self, uint32_t block) noexcept nogil:
        cdef SizeClass* size = &self.classes[self.class_of(block)]
        return size.start + (block - size.first) * size.block_bytes

    cdef uint64_t room_of(self, uint32_t block) noexcept nogil:
        return self.classes[self.class_of(block)].block_bytes

    cdef int64_t find_block(self, uint64_t offset) noexcept nogil:
        cdef int c
        cdef SizeClass* size
        for c in range(self.class_count):
            size = &self.classes[c]
            if size.start <= offset < size.start + size.block_bytes * size.count:
                if (offset - size.start) % size.block_bytes:
                    return -1
                return size.first + (offset - size.start) // size.block_bytes
        return -1

    cdef uint64_t give_back_pages(self, unsigned char* memory) noexcept nogil:
        """Give the pages on which only free blocks lie back to the system; how many bytes. ``memory``: the segment,
        writable. Nobody else may take blocks meanwhile. Blocks that lie there read as zeros when they are next taken.
        """
        cdef const SizeClass* size
        cdef uint32_t block, first, top
        cdef uint64_t given = 0
        cdef int c
        for c in range(self.class_count):
            size = &self.classes[c]
            top = min(<uint32_t>(WARM_BYTES // size.block_bytes), size.free)
            for block in range(size.free - top, size.free):
                self.pages[self.stack[size.first + block]] |= 2
            first = size.first
            for block in range(size.first, size.first + size.count + 1):
                if block < size.first + size.count and not self.in_use[block] and not self.pages[block] & 2:
                    continue
                given += self.punch(memory, size, first, block)
                first = block + 1
            for block in range(size.first, size.first + size.count):
                self.pages[block] &= 1
        return given

    cdef uint64_t punch(self, unsigned char* memory, const SizeClass* size, uint32_t first,
                        uint32_t stop) noexcept nogil:
        """Give the whole pages of blocks ``first .. stop`` back, if one of them has been touched."""
        cdef uint64_t begin = size.start + (first - size.first) * size.block_bytes
        cdef uint64_t end = size.start + (stop - size.first) * size.block_bytes
        cdef uint64_t whole = (begin + PAGE - 1) // PAGE * PAGE
        cdef uint32_t block, held = 0
        for block in range(first, stop):
            held += self.pages[block]
        end = end // PAGE * PAGE
        if not held or end <= whole or madvise(memory + whole, end - whole, MADV_REMOVE):
            return 0
        for block in range(first, stop):
            self.pages[block] = 0
        self.touched -= held
        return end - whole

    cdef void audit(self, const SizeClass* size) noexcept nogil:
        """Debug build: the free stack of a class holds exactly its blocks that are not in use."""
        cdef uint32_t i, block, unused = 0
        for i in range(size.count):
            unused += not self.in_use[size.first + i]
        mx_check(unused == size.free, "blocks: the free stack and the marks differ")
        for i in range(size.free):
            block = self.stack[size.first + i]
            mx_check(size.first <= block < size.first + size.count, "blocks: a block of another class on the stack")
            mx_check(not self.in_use[block], "blocks: a block on the free stack is in use")

    def take(self, uint64_t length) -> int:
        """A free block of at least ``length`` bytes, or -1 when none of its class or the next is free."""
        return self.take_block(length)

    def reserve(self, uint32_t block) -> None:
        """Take this very block: somebody of an earlier life may still read it. Linear in its class; at start only."""
        if self.reserve_block(block):
            raise Corrupt(f"block {block} of {self.block_count} cannot be reserved")

    def give(self, uint32_t block) -> None:
        """Return a block; Corrupt when it was not taken (a double release would lend it twice)."""
        if self.give_block(block) < 0:
            raise Corrupt(f"block {block} of {self.block_count} is not taken, so it cannot be given back")

    def generation(self, uint32_t block) -> int:
        """Which use of the block this is; never 0, so 0 can mean "none"."""
        if block >= self.block_count:
            raise IndexError(f"block {block} of {self.block_count}")
        return self.generations[block]

    def offset(self, uint32_t block) -> int:
        """Where the block begins in its segment."""
        if block >= self.block_count:
            raise IndexError(f"block {block} of {self.block_count}")
        return self.start_of(block)

    def capacity(self, uint32_t block) -> int:
        """Bytes in the block."""
        if block >= self.block_count:
            raise IndexError(f"block {block} of {self.block_count}")
        return self.room_of(block)

    def block_at(self, uint64_t offset) -> int:
        """The block that begins at ``offset``, or -1: how a reader checks an offset that another process wrote."""
        return self.find_block(offset)

    def give_back(self, unsigned char[::1] memory) -> int:
        """Give the pages of a burst back to the system when it is calm; how many bytes. ``memory``: the segment."""
        if <uint64_t>memory.shape[0] < self.total_bytes:
            raise IpcError(f"blocks: a segment of {memory.shape[0]} bytes, and blocks of {self.total_bytes}")
        return self.give_back_pages(&memory[0])

    def is_taken(self, uint32_t block) -> bool:
        """Whether the block is in use."""
        return block < self.block_count and self.in_use[block]
