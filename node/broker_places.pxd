"""The seats as the message loop sees them: rings, words, what each worker holds, which replies are lent from it."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from mixline.ipc.blocks cimport CLASSES_MAX
from mixline.ipc.rings cimport Fields, Side

cdef enum:
    HELD_MAX = 64
    WORD = 8  # the words of a seat lie a cache line apart

cdef struct Place:
    Side* work
    Side* done
    Side* released
    uint64_t* words
    uint64_t* lent_words
    const uint8_t* arena
    int bell_fd
    int32_t seat
    bint noticed  # its worker has said that it is ready
    bint broken   # it wrote what it may not, or its ring is full: nothing more goes there until it is buried
    int held_count
    uint32_t held[HELD_MAX]
    bint alone    # it runs a second attempt
    bint only_echoes
    uint32_t lends
    uint32_t lent_of_class[CLASSES_MAX]


cdef class Places:
    cdef Place* at
    cdef readonly int count
    cdef int32_t* active
    cdef readonly int active_count
    cdef int32_t* standby
    cdef int standby_count
    cdef public int writer  # the place of the one that writes, -1 for none
    cdef list keep

    cdef int idle(self) noexcept nogil
    cdef int steady(self) noexcept nogil
    cdef int lightly_laden(self) noexcept nogil
    cdef int spare(self) noexcept nogil
    cdef int choose(self, bint echo, bint second) noexcept nogil
    cdef bint hand(self, Place* place, const Fields* fields, bint echo, bint second) noexcept nogil
    cdef bint drop(self, Place* place, uint32_t slot) noexcept nogil
    cdef bint any_done(self) noexcept nogil
    cdef bint any_ready(self, uint64_t life) noexcept nogil
