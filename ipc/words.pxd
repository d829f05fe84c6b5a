"""Shared 64-bit words in a mapped segment; each word has exactly one writer."""

from cpython.buffer cimport Py_buffer
from libc.stdint cimport uint32_t, uint64_t
from posix.unistd cimport read, write


cdef extern from "atomics.h" nogil:
    uint64_t mx_load_relaxed(const uint64_t* word) noexcept
    uint64_t mx_load_acquire(const uint64_t* word) noexcept
    void mx_store_relaxed(uint64_t* word, uint64_t value) noexcept
    void mx_store_release(uint64_t* word, uint64_t value) noexcept
    void mx_fence() noexcept


cdef inline uint64_t executing_word(uint32_t slot, uint32_t generation, uint32_t attempt) noexcept nogil:
    """:func:`mixline.ipc.seats.executing_word` in C."""
    return <uint64_t>(slot & 0xFFFFFF) << 40 | <uint64_t>generation << 8 | (attempt & 0xFF)


cdef enum:
    AWAKE = 0
    ASLEEP = 1   # until there is work
    DOZING = 2   # for a moment, in which work may gather; until somebody has nothing to do


cdef inline bint bell_ring(const uint64_t* flag, int fd, uint64_t how) noexcept nogil:
    """Wake the sleeper if it sleeps in this way. True when that took a system call."""
    cdef uint64_t one = 1
    mx_fence()
    if mx_load_acquire(flag) != how:  # SYNC POINT: sleeping flag
        return False
    return write(fd, &one, sizeof(one)) >= 0


cdef inline bint bell_toll(const uint64_t* flag, int fd) noexcept nogil:
    """There is work for the sleeper, which was published first."""
    return bell_ring(flag, fd, ASLEEP)


cdef inline bint bell_rouse(const uint64_t* flag, int fd) noexcept nogil:
    """There is nothing left to do here, so whoever dozes must look."""
    return bell_ring(flag, fd, DOZING)


cdef inline void bell_lie_down(uint64_t* flag, uint64_t how=ASLEEP) noexcept nogil:
    """Say that this process will sleep; it must look for work once more before it does."""
    mx_store_release(flag, how)  # SYNC POINT: sleeping flag
    mx_fence()


cdef inline void bell_rise(uint64_t* flag, int fd) noexcept nogil:
    """Take the flag down and empty the eventfd, which must be non-blocking."""
    cdef uint64_t count
    cdef ssize_t _read
    mx_store_relaxed(flag, AWAKE)
    _read = read(fd, &count, sizeof(count))


cdef class Words:
    cdef Py_buffer view
    cdef bint held
    cdef uint64_t* base
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t stride
    cdef readonly bint writable

    cdef uint64_t* at(self, Py_ssize_t index) except NULL
    cpdef uint64_t load(self, Py_ssize_t index) except? 0
    cpdef int store(self, Py_ssize_t index, uint64_t value) except -1
    cpdef int add(self, Py_ssize_t index, uint64_t amount) except -1


cdef class Bell:
    cdef Words words
    cdef Py_ssize_t index
    cdef readonly int fd

    cpdef bint toll(self) except -1
    cpdef bint rouse(self) except -1
    cpdef int lie_down(self, bint dozing=*) except -1
    cpdef int rise(self) except -1
