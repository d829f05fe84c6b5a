"""The clock and the digest of ``clock.h``."""

from libc.stdint cimport int64_t, uint64_t


cdef extern from "clock.h" nogil:
    int64_t mx_now_ns() noexcept
    int64_t mx_thread_ns() noexcept
    uint64_t mx_digest(const void* data, size_t length, uint64_t seed) noexcept
