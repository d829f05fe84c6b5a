"""What compiled files of living data have in common: words that one writes while others read, and lines of events."""

cimport numpy as cnp
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "shared.h" nogil:
    uint64_t st_load64(const uint64_t* word) noexcept
    void st_store64(uint64_t* word, uint64_t value) noexcept
    uint32_t st_load32(const uint32_t* word) noexcept
    void st_store32(uint32_t* word, uint32_t value) noexcept
    void st_ahead(const void* memory) noexcept
    void st_fence() noexcept


cdef struct EventLine:  # as live_index.EVENT has it
    int64_t time
    uint32_t user
    uint32_t item
    uint32_t before
    float weight
    uint32_t action
    uint32_t spare


cdef inline cnp.ndarray checked(object given, object dtype):
    """A contiguous column of this dtype, or ``ValueError``."""
    cdef cnp.ndarray found = given
    if found.dtype != dtype or not found.flags.c_contiguous or found.ndim != 1:
        raise ValueError(f"{found.dtype} of shape {given.shape}: a contiguous column of {dtype} is needed")
    return found
