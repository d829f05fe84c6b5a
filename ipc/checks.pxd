"""The debug build's checks and leak counter; in an ordinary build they compile to nothing."""

from libc.stdint cimport int64_t


cdef extern from "checks.h" nogil:
    const bint MX_DEBUG
    void mx_check(bint holds, const char* what) noexcept
    void mx_live_add(int64_t amount) noexcept
    int64_t mx_live() noexcept
