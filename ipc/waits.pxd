"""The system calls by which a loop waits for descriptors."""

from posix.time cimport timespec


cdef extern from "<poll.h>" nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    """
    struct pollfd:
        int fd
        short events
        short revents
    const short POLLIN
    int poll(pollfd* fds, unsigned long count, int timeout_ms) noexcept
    int ppoll(pollfd* fds, unsigned long count, const timespec* timeout, const void* mask) noexcept


cdef extern from "<sched.h>" nogil:
    int sched_yield() noexcept
