"""Shared 64-bit words, and the bell that wakes a sleeping process.

A word has one writer and any number of readers, so a plain release store is enough and no lock exists that a killed
process could keep. The bell is an eventfd behind a flag: ringing costs a system call only when somebody sleeps.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint64_t, uintptr_t

from mixline.ipc.errors import SegmentError

from mixline.ipc.checks cimport MX_DEBUG, mx_live, mx_live_add

DEBUG = bool(MX_DEBUG)


cdef class Words:
    """``count`` words of a mapped buffer, ``stride`` bytes apart (64 gives each word a cache line of its own)."""

    def __cinit__(self, buffer, Py_ssize_t offset, Py_ssize_t count, Py_ssize_t stride=8):
        self.held = False
        try:
            PyObject_GetBuffer(buffer, &self.view, PyBUF_WRITABLE)
            self.writable = True
        except BufferError:
            PyObject_GetBuffer(buffer, &self.view, PyBUF_SIMPLE)
            self.writable = False
        self.held = True
        mx_live_add(1)
        if count <= 0 or stride < 8 or stride % 8 or offset < 0 or offset + count * stride > self.view.len:
            raise SegmentError(f"words: {count} at {offset}, {stride} apart, do not fit {self.view.len} bytes")
        self.base = <uint64_t*>(<char*>self.view.buf + offset)
        if <uintptr_t>self.base % 8:
            raise SegmentError(f"words: offset {offset} is not a multiple of 8")
        self.count = count
        self.stride = stride // 8

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)
            mx_live_add(-1)

    cdef uint64_t* at(self, Py_ssize_t index) except NULL:
        if index < 0 or index >= self.count:
            raise IndexError(f"word {index} of {self.count}")
        return self.base + index * self.stride

    cpdef uint64_t load(self, Py_ssize_t index) except? 0:
        """The word; all that its writer stored before it is visible too."""
        return mx_load_acquire(self.at(index))  # SYNC POINT: shared word

    cpdef int store(self, Py_ssize_t index, uint64_t value) except -1:
        """Set the word. Only its one writer may call this."""
        if not self.writable:
            raise SegmentError(f"words: store to word {index} of a read-only mapping")
        mx_store_release(self.at(index), value)  # SYNC POINT: shared word
        return 0

    cpdef int add(self, Py_ssize_t index, uint64_t amount) except -1:
        """Count up, modulo 2**64. Not atomic between writers: there is only one."""
        cdef uint64_t* word = self.at(index)
        if not self.writable:
            raise SegmentError(f"words: add to word {index} of a read-only mapping")
        mx_store_relaxed(word, mx_load_relaxed(word) + amount)
        return 0

    def snapshot(self) -> list:
        """All words, each whole; together they are no single moment."""
        return [self.load(index) for index in range(self.count)]


def live() -> int:
    """Buffer views that this process holds through this module: the debug build's leak counter, 0 in any other."""
    return mx_live()


def fence() -> None:
    """Order the stores before it ahead of the loads after it, which release and acquire leave open."""
    mx_fence()


cdef class Bell:
    """One sleeper and any number of ringers: a flag word written by the sleeper, and an eventfd.

    The sleeper: ``lie_down()``, look again, poll :attr:`fd`, ``rise()``. A ringer: publish the work, ``toll()``.
    Both fence between their store and their load, so at least one of them sees the other.
    """

    def __cinit__(self, Words words, Py_ssize_t index, int fd):
        words.at(index)
        self.words = words
        self.index = index
        self.fd = fd

    cpdef bint toll(self) except -1:
        """Wake the sleeper if it sleeps; return whether a system call was needed."""
        return bell_toll(self.words.at(self.index), self.fd)

    cpdef bint rouse(self) except -1:
        """Wake the sleeper if it dozes; return whether a system call was needed."""
        return bell_rouse(self.words.at(self.index), self.fd)

    cpdef int lie_down(self, bint dozing=False) except -1:
        """Say that this process will sleep, or doze; it must look for work once more before it does."""
        if not self.words.writable:
            raise SegmentError("bell: only the sleeper, which maps the flag writable, may lie down")
        bell_lie_down(self.words.at(self.index), DOZING if dozing else ASLEEP)
        return 0

    cpdef int rise(self) except -1:
        """Take the flag down and empty the eventfd, which must be non-blocking."""
        bell_rise(self.words.at(self.index), self.fd)
        return 0
