"""Many queries over the same codes in one pass."""

from mixline.kernels.candidates cimport Short
from mixline.kernels.codes cimport CodedRows


cdef enum:
    TOGETHER = 256        # queries in one pass


cdef int scan_blocks(Short** shorts, Py_ssize_t many, const CodedRows* rows, Py_ssize_t start,
                     Py_ssize_t stop) noexcept nogil
