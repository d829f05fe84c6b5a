"""Codes of rows and of queries, and their products: what every scan of codes begins with."""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t


cdef extern from "codes.h" nogil:
    struct mixline_code_query:
        const int16_t* query
        const int8_t* high
        const int8_t* low
        int32_t sum
        int32_t* out
        int64_t ahead
    enum:
        MIXLINE_AHEAD_BYTES
        MIXLINE_CODE_QUERIES
    ctypedef void (*dot_codes_fn "mixline_dot_codes_fn")(
        const int8_t* codes, int64_t quads, int64_t blocks, const mixline_code_query* asked, int many) noexcept
    ctypedef uint32_t (*weigh_fn "mixline_weigh_fn")(
        const int32_t* sums, const float* scales, float scale, float bar, float* estimates) noexcept

cdef extern from "halves.h" nogil:
    struct mixline_halves:
        const int8_t* highs
        int64_t stride
        int many
        int32_t* sums
    struct mixline_run_room:
        int32_t sums[16][256]
    struct mixline_quad_room:
        uint8_t quads[16384]
    enum:
        MIXLINE_RUN_BLOCKS
        MIXLINE_RUN_BYTES
        MIXLINE_UNTILED
        MIXLINE_RUN_SUMS
    ctypedef void (*pass_fn "mixline_pass_fn")() noexcept
    ctypedef void (*dot_halves_fn "mixline_dot_halves_fn")(
        const uint8_t* codes, int64_t lines, int64_t blocks, const mixline_halves* asked) noexcept

cdef extern from "nibbles.h" nogil:
    ctypedef void (*unpack_fn "mixline_unpack_fn")(const uint8_t* nibbles, int64_t lines, uint8_t* quads) noexcept

cdef extern from "reach.h" nogil:
    ctypedef uint32_t (*reach_fn "mixline_reach_fn")(
        const int32_t* sums, const float* scales, float scale, const float* squares, float bar,
        int64_t blocks) noexcept


cdef enum:
    BLOCK_ROWS = 16
    LINE_BYTES = 64       # of a block: a quad of int8 codes, an octet of int4
    QUAD = 4
    OCTET = 8
    DIM_MAX = 1 << 16     # so that a sum fits int32

cdef enum:
    ABSENT = 0xFFFFFFFF   # the row of a place that only fills up a block

cdef enum Metric:
    DOT = 0
    COSINE = 1
    L2 = 2


cdef struct CodedRows:
    const int8_t* codes
    const uint8_t* nibbles   # int4 codes, or NULL: those of int8
    Py_ssize_t lines         # of 64 bytes in a block
    const float* scales
    const float* bounds
    const float* norms
    const uint32_t* listed   # the rows in their places, or NULL: row after row
    Py_ssize_t count


ctypedef fused real:
    float
    double


cdef dot_codes_fn dot_codes       # of the instruction path in use
cdef dot_halves_fn dot_halves     # NULL: halves of query codes are no quicker
cdef dot_halves_fn dot_nibbles
cdef pass_fn begin_pass           # before and behind products of more than MIXLINE_UNTILED queries
cdef pass_fn end_pass
cdef unpack_fn unpack_nibbles     # NULL: int4 codes are multiplied as they are
cdef weigh_fn weigh_codes
cdef reach_fn reach_codes

cdef double code_vector(const real* values, Py_ssize_t dim, double unit, int16_t* codes,
                        int8_t* halves, int32_t* sum) noexcept nogil
cdef void multiply(const CodedRows* rows, Py_ssize_t start, Py_ssize_t run,
                   const mixline_code_query* asked) noexcept nogil
cdef int look_at_codes(CodedRows* rows, codes, Py_ssize_t dim) except -1
