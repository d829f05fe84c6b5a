"""The shortlist as other kernels see it: codes of a query, the bar, and the rows that reach it."""

from libc.stdint cimport int8_t, int16_t, uint32_t, uint64_t


from mixline.kernels.codes cimport CodedRows, mixline_code_query


cdef enum:
    RUN_BLOCKS = 16


cdef struct Short:
    Py_ssize_t k, dim, quads, held, capacity, most
    int metric
    bint wide
    bint estimates        # what is kept are the best k estimates, and nothing is certain
    mixline_code_query asked
    int16_t* query
    int8_t* halves
    float* lowers
    float* uppers
    uint32_t* listed
    double query_scale, query_length, query_residual, rounded, underflow
    float bar
    float guess           # the bar that it began with; -infinity: none
    bint may_guess
    const uint64_t* allowed


cdef int open_short(Short* short, Py_ssize_t k, Py_ssize_t dim, int metric, bint estimates) noexcept nogil
cdef void close_short(Short* short) noexcept nogil
cdef void begin(Short* short, const float* query) noexcept nogil
cdef void begin_alike(Short* short, const Short* other) noexcept nogil
cdef void raise_bar(Short* short) noexcept nogil
cdef int scan_blocks(Short** shorts, Py_ssize_t many, const CodedRows* rows, Py_ssize_t start,
                     Py_ssize_t stop) noexcept nogil
