"""The check that merging repeats, because memory is at stake there."""


cdef bint are_candidates(object rows, object scores, Py_ssize_t count) noexcept
