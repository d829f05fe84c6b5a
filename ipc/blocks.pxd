"""Size-classed blocks of a segment, owned by one process; used for request slots and for reply arenas alike."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    CLASSES_MAX = 16

cdef struct SizeClass:
    uint64_t block_bytes
    uint64_t start
    uint32_t first
    uint32_t count
    uint32_t free


cdef class Blocks:
    cdef SizeClass classes[CLASSES_MAX]
    cdef readonly int class_count
    cdef readonly uint32_t block_count
    cdef readonly uint64_t total_bytes
    cdef readonly uint32_t taken
    cdef uint32_t* stack
    cdef uint32_t* generations
    cdef uint8_t* in_use
    cdef uint8_t* pages          # 1: taken since its pages were last given back; 2: warm
    cdef uint32_t touched        # blocks taken since then

    cdef int class_of(self, uint32_t block) noexcept nogil
    cdef int64_t take_block(self, uint64_t length) noexcept nogil
    cdef int give_block(self, uint32_t block) noexcept nogil
    cdef int reserve_block(self, uint32_t block) noexcept nogil
    cdef void clear(self) noexcept nogil
    cdef uint64_t start_of(self, uint32_t block) noexcept nogil
    cdef uint64_t room_of(self, uint32_t block) noexcept nogil
    cdef int64_t find_block(self, uint64_t offset) noexcept nogil
    cdef uint64_t give_back_pages(self, unsigned char* memory) noexcept nogil
    cdef uint64_t punch(self, unsigned char* memory, const SizeClass* size, uint32_t first,
                        uint32_t stop) noexcept nogil
    cdef void audit(self, const SizeClass* size) noexcept nogil
