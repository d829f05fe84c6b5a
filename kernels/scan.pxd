"""The row-score function chosen for this machine, for kernels that score rows themselves."""

from libc.stdint cimport int64_t, uint32_t


cdef extern from "simd.h" nogil:
    ctypedef void (*score_rows_fn "mixline_score_rows_fn")(
        const float* matrix, int64_t dim, const uint32_t* rows, uint32_t first, int64_t count, const float* query,
        int form, float* out) noexcept
    score_rows_fn mixline_choose(const char* wanted, const char** chosen) noexcept
    enum:
        MIXLINE_PRODUCT
        MIXLINE_SQUARED_DIFFERENCE
