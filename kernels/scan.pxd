"""The row-score function chosen for this machine, for kernels that score rows themselves."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from mixline.kernels.order cimport Entry
from mixline.kernels.topk cimport TopK


cdef extern from "simd.h" nogil:
    ctypedef void (*score_rows_fn "mixline_score_rows_fn")(
        const float* matrix, int64_t dim, const uint32_t* rows, uint32_t first, int64_t count, const float* query,
        int form, float* out) noexcept
    score_rows_fn mixline_choose_scores(const char* isa, const char** chosen) noexcept
    enum:
        MIXLINE_PRODUCT
        MIXLINE_SQUARED_DIFFERENCE


ctypedef struct FloatRows:
    # Float32 rows, and the query that they are scored for. ``norms``: of the rows, by cosine.
    const float* matrix
    const float* norms
    const uint64_t* keys
    const float* query
    int64_t dim
    int metric
    float query_norm

cdef int metric_code(metric) except -1
cdef float norm_of(const float* vector, int64_t dim) noexcept nogil
cdef void ask_rows(FloatRows* floats, const float* query) noexcept nogil
cdef void scan_rows(TopK heap, const FloatRows* floats, const uint32_t* rows, Py_ssize_t count) noexcept nogil
cdef void score_entries(Entry* entries, const FloatRows* floats, const uint32_t* rows,
                        Py_ssize_t count) noexcept nogil
