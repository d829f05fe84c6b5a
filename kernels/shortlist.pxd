"""The shortlist as other kernels see it: codes of a query, the bar, and the rows that reach it."""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "codes.h" nogil:
    struct mixline_code_query:
        const int16_t* query
        const int8_t* high
        const int8_t* low
        int32_t* out
    enum:
        MIXLINE_CODE_QUERIES
    ctypedef void (*dot_codes_fn "mixline_dot_codes_fn")(
        const int8_t* codes, int64_t quads, int64_t blocks, const mixline_code_query* asked, int many) noexcept


cdef enum:
    BLOCK_ROWS = 16
    RUN_BLOCKS = 16
    QUAD = 4
    LINE_BYTES = 64       # of a block: a quad of int8 codes, an octet of int4
    DIM_MAX = 1 << 16     # so that a sum fits int32

cdef enum:
    ABSENT = 0xFFFFFFFF   # the row of a place that only fills up a block

cdef enum Metric:
    DOT = 0
    COSINE = 1
    L2 = 2


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


cdef struct CodedRows:
    const int8_t* codes
    const uint8_t* nibbles   # int4 codes, or NULL: those of int8
    Py_ssize_t lines         # of 64 bytes in a block
    const float* scales
    const float* bounds
    const float* norms
    const uint32_t* listed   # the rows in their places, or NULL: row after row
    Py_ssize_t count


cdef dot_codes_fn dot_codes   # of the instruction path in use

cdef double code_vector(const float* values, Py_ssize_t dim, double unit, int16_t* codes,
                        int8_t* halves) noexcept nogil
cdef int open_short(Short* short, Py_ssize_t k, Py_ssize_t dim, int metric, bint estimates) noexcept nogil
cdef void close_short(Short* short) noexcept nogil
cdef void begin(Short* short, const float* query) noexcept nogil
cdef void begin_alike(Short* short, const Short* other) noexcept nogil
cdef void raise_bar(Short* short) noexcept nogil
cdef int scan_blocks(Short** shorts, Py_ssize_t many, const CodedRows* rows, Py_ssize_t start,
                     Py_ssize_t stop) noexcept nogil
