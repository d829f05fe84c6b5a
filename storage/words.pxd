"""Words as other modules see them: a text laid open, and the next word from a place on."""

from libc.stdint cimport int64_t, uint8_t, uint32_t


cdef extern from "words.h" nogil:
    struct mixline_text:
        const void* points
        int width
        int64_t count
        const uint8_t* classes
    uint32_t mixline_point(const mixline_text* text, int64_t at) noexcept
    bint mixline_next_word(const mixline_text* text, int64_t* at, int64_t* start, int64_t* end) noexcept

cdef mixline_text open_text(str text) noexcept
