"""A query's codes and bounds, its bar, and the rows that reach it, as other kernels see them."""

from libc.stdint cimport int8_t, int16_t, int32_t, uint32_t, uint64_t

from mixline.kernels.codes cimport CodedRows, mixline_code_query
from mixline.kernels.frame cimport mixline_frame


cdef struct Short:
    Py_ssize_t k, dim, quads, held, capacity, most
    int metric
    bint wide
    bint estimates        # what is kept are the best k estimates, and nothing is certain
    mixline_code_query asked
    int16_t* query
    int8_t* halves
    double* placed        # the query in the frame of the codes
    float* lowers
    float* uppers
    uint32_t* listed
    double query_scale, query_length, rounded, underflow
    double query_residual, query_low   # lengths of what the codes, and their high halves, leave out
    float bar
    float guess           # the bar that it began with; -infinity: none
    bint may_guess
    const uint64_t* allowed


cdef int open_short(Short* short, Py_ssize_t k, Py_ssize_t dim, int metric, bint estimates) noexcept nogil
cdef void close_short(Short* short) noexcept nogil
cdef void begin(Short* short, const float* query, const mixline_frame* frame) noexcept nogil
cdef void raise_bar(Short* short) noexcept nogil
cdef void guess_bar(Short* short, const CodedRows* rows) noexcept nogil
cdef float margin_of(const Short* short, double residual, double reach) noexcept nogil
cdef float half_margin_of(const Short* short, double reach) noexcept nogil
cdef float scale_of(const Short* short, bint halves) noexcept nogil
cdef void drop_equals(Short* short) noexcept nogil
cdef int offer_block(Short* short, const int32_t* sums, const CodedRows* rows, Py_ssize_t block) noexcept nogil
