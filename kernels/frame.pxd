"""The frame in which codes see a query, as other kernels take it."""

from libc.stdint cimport int8_t, int64_t


cdef extern from "frame.h" nogil:
    struct mixline_frame:
        const float* center
        const int8_t* signs
        int64_t rounds
    void mixline_place(const float* query, int64_t dim, const mixline_frame* frame, double* out) noexcept


cdef mixline_frame look_at_frame(const float[::1] center, const int8_t[:, ::1] signs, Py_ssize_t dim) except *
