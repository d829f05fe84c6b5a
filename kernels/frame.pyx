"""Queries in the frame of a space's codes: less its center, and turned by its rotation (``frame.h``)."""

import numpy as np

from libc.stdint cimport int8_t

from mixline.kernels.frame cimport mixline_frame, mixline_place

from mixline.kernels.errors import KernelArgumentError


cdef mixline_frame look_at_frame(const float[::1] center, const int8_t[:, ::1] signs, Py_ssize_t dim) except *:
    """Both may be None or empty. The arrays must outlive the frame."""
    cdef mixline_frame frame
    frame.center, frame.signs, frame.rounds = NULL, NULL, 0
    if center is not None and center.shape[0]:
        if center.shape[0] != dim:
            raise KernelArgumentError(f"a center of {center.shape[0]} for {dim} dimensions")
        frame.center = &center[0]
    if signs is not None and signs.shape[0]:
        if signs.shape[1] != dim:
            raise KernelArgumentError(f"signs of {signs.shape[1]} for {dim} dimensions")
        frame.signs, frame.rounds = &signs[0, 0], signs.shape[0]
    return frame


def placed(const float[::1] query, *, const float[::1] center=None, const int8_t[:, ::1] signs=None):
    cdef Py_ssize_t dim = query.shape[0]
    cdef mixline_frame frame = look_at_frame(center, signs, dim)
    found = np.empty(dim)
    cdef double[::1] out = found
    if dim:
        mixline_place(&query[0], dim, &frame, &out[0])
    return found
