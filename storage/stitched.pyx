"""One array whose rows lie in two files: an epoch's, and the tail that a writer appends while others read.

Address space for both is taken at once. The epoch's file is mapped at its start, the tail's at a page further on, when
there is one; until then zeros lie there. So a row is found in the same way wherever it lies, nothing is copied, and
arrays that were made before the tail came see it.

It begins at a multiple of what a huge page has: where the page cache holds a file in pages of that size, each is then
mapped as one, and a row anywhere costs no walk through page tables.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_FillInfo
from libc.errno cimport errno
from libc.stdint cimport uintptr_t
from libc.string cimport strerror

cdef extern from "sys/mman.h" nogil:
    void* mmap(void* address, size_t length, int protection, int flags, int fd, long offset) noexcept
    int munmap(void* address, size_t length) noexcept
    int PROT_READ, MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE
    void* MAP_FAILED

PAGE = 4096
cdef Py_ssize_t PAGE_BYTES = 4096
cdef Py_ssize_t HUGE_BYTES = 2 << 20


cdef class Stitched:
    """``head_bytes`` of file ``fd``, zeros up to ``tail_at`` (a multiple of :data:`PAGE`), then room for a tail."""

    cdef void* taken          # address space of `room` bytes; what it holds begins at `base`
    cdef Py_ssize_t room
    cdef char* base
    cdef Py_ssize_t total
    cdef readonly Py_ssize_t tail_at
    cdef readonly Py_ssize_t tail_bytes

    def __cinit__(self, int fd, Py_ssize_t head_bytes, Py_ssize_t tail_at, Py_ssize_t tail_bytes):
        cdef void* found
        if tail_at % PAGE_BYTES or tail_bytes % PAGE_BYTES or not 0 < head_bytes <= tail_at or tail_bytes < 0:
            raise ValueError(f"head of {head_bytes} bytes and a tail of {tail_bytes} at {tail_at}: no whole pages")
        self.total = tail_at + tail_bytes
        self.tail_at, self.tail_bytes = tail_at, tail_bytes
        self.room = self.total + HUGE_BYTES - PAGE_BYTES
        found = mmap(NULL, self.room, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if found == MAP_FAILED:
            raise OSError(errno, strerror(errno).decode())
        self.taken = found
        self.base = <char*>((<uintptr_t>found + HUGE_BYTES - 1) & ~<uintptr_t>(HUGE_BYTES - 1))
        found = mmap(self.base, head_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0)
        if found == MAP_FAILED:
            raise OSError(errno, strerror(errno).decode())

    def __dealloc__(self):
        if self.taken != NULL:
            munmap(self.taken, self.room)

    def __getbuffer__(self, Py_buffer* view, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("mapped read-only")
        PyBuffer_FillInfo(view, self, self.base, self.total, 1, flags)

    def attach(self, int fd):
        """Put the tail's file, which must have ``tail_bytes``, in its place."""
        cdef void* found = mmap(self.base + self.tail_at, self.tail_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0)
        if found == MAP_FAILED:
            raise OSError(errno, strerror(errno).decode())

    @property
    def address(self):
        """Where it lies, for tests."""
        return <uintptr_t>self.base
