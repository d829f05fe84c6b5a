"""Lists of postings as C reads them."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "postings.h" nogil:
    enum:
        MIXLINE_FIELDS
        MIXLINE_WINDOW
        MIXLINE_PACK
        MIXLINE_PLACES
        MIXLINE_UNITS
        MIXLINE_DEPTHS
        MIXLINE_LEVELS
    struct mixline_texts:
        int fields, entry, stored
        uint8_t* places
        const void** lengths
        uint8_t* wide
        float k1
    struct mixline_list:
        const mixline_texts* texts
        const float** norms
        const uint8_t* head
        const uint8_t* headers
        const uint8_t* payload
        const uint8_t* positions
        uint32_t count
        int64_t blocks, full, block
        int have, at, timed
        float scale
        int32_t top
        int32_t* bounds
        int64_t ahead, probed
        uint32_t* rows
        int32_t* worths
        uint32_t* times
    struct mixline_candidate:
        uint64_t groups
        uint32_t row
        int32_t sum
    ctypedef int64_t (*probe_fn)(mixline_list* found, mixline_candidate* some, int64_t count, uint64_t group,
                                 int32_t rest, int32_t least) noexcept nogil
    ctypedef int64_t (*collect_fn)(const int32_t* sums, const uint64_t* groups, uint32_t first, int64_t count,
                                   int32_t least, const uint64_t* allowed, mixline_candidate* out) noexcept
    struct mixline_postings:
        collect_fn collect
        probe_fn probe
        const char* name
    const mixline_postings* mixline_choose_postings(const char* isa) noexcept
    float mixline_weight(const mixline_list* found, int field) noexcept
    float mixline_float_at(const uint8_t* at) noexcept
    int32_t mixline_worth_of(const mixline_list* found, float share) noexcept
    int32_t mixline_bound_of(const mixline_list* found, float share) noexcept
    void mixline_open_block(mixline_list* found, int64_t block) noexcept
    void mixline_value_block(const mixline_postings* path, mixline_list* found) noexcept
    bint mixline_accumulate(const mixline_postings* path, mixline_list* found, uint32_t first, uint32_t end,
                            int32_t* sums, uint64_t* groups, uint64_t group) noexcept
    bint mixline_seek(mixline_list* found, uint32_t row) noexcept
    bint mixline_worth_here(mixline_list* found, int32_t* worth) noexcept
    int32_t mixline_window_bound(mixline_list* found, uint32_t first, uint32_t end) noexcept
    void mixline_bounds(mixline_list* found, int32_t* bounds) noexcept
    bint mixline_mark(mixline_list* found, uint64_t* words, int64_t until_ns) noexcept
    bint mixline_over(int64_t until_ns) noexcept
    void mixline_read_times(mixline_list* found) noexcept
    int mixline_places(mixline_list* found, int field, int64_t offset, int64_t* out) noexcept
    bint mixline_within(const int64_t* places, const int* many, int count, int64_t slop) noexcept


cdef const mixline_postings* path        # of the instruction set in use

cdef const uint64_t* check_words(str name, const uint64_t[::1] words, Py_ssize_t rows) except NULL

cdef class Postings:
    cdef mixline_texts texts
    cdef list kept
    cdef const uint8_t* lists
    cdef const uint8_t* positions
    cdef const uint64_t* keys
    cdef readonly Py_ssize_t rows
    cdef size_t lists_bytes, position_bytes
    cdef int open(self, mixline_list* out, size_t start, uint32_t count, size_t places, float weight,
                  tuple view) except -1
