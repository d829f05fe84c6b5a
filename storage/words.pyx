"""Where the words of a text begin and end: UAX 29 over the code points of a Python string, without copying it."""

import numpy as np

cimport numpy as cnp
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH, PyUnicode_KIND
from libc.stdint cimport int64_t, uint8_t

cnp.import_array()

cdef extern from "words.h" nogil:
    enum:
        MIXLINE_CODE_POINTS
    void mixline_spread_word_classes(uint8_t* classes) noexcept

cdef uint8_t[MIXLINE_CODE_POINTS] CLASSES
mixline_spread_word_classes(CLASSES)


cdef mixline_text open_text(str text) noexcept:
    """The code points of a string that outlives the result."""
    cdef mixline_text found
    found.points = PyUnicode_DATA(text)
    found.width = PyUnicode_KIND(text)
    found.count = PyUnicode_GET_LENGTH(text)
    found.classes = CLASSES
    return found


def word_spans(str text not None, Py_ssize_t most=-1):
    cdef mixline_text given = open_text(text)
    cdef int64_t at = 0, start = 0, end = 0
    cdef Py_ssize_t count = 0, room = min(given.count, most) if most >= 0 else given.count
    spans = np.empty((room, 2), dtype=np.int64)
    cdef int64_t* out = <int64_t*>(<cnp.ndarray>spans).data
    while count < room and mixline_next_word(&given, &at, &start, &end):
        out[2 * count] = start
        out[2 * count + 1] = end
        count += 1
    return spans[:count]


def words_of(str text not None, Py_ssize_t most=-1):
    return [text[start:end] for start, end in word_spans(text, most).tolist()]
