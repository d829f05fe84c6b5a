"""How a door looks at the arrays it is given: type, shape and layout in a few loads, where a typed memoryview asks for
a buffer each time, which for arrays of a few hundred entries costs more than the work. Bodies here, to be inlined.
"""

cimport numpy as cnp


cdef inline bint is_column(object column, int kind) noexcept:
    """Whether ``column`` is a one-dimensional, contiguous, aligned array in native order of NumPy's type ``kind``."""
    return (
        cnp.PyArray_Check(column)
        and cnp.PyArray_TYPE(<cnp.ndarray>column) == kind
        and cnp.PyArray_NDIM(<cnp.ndarray>column) == 1
        and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>column)
        and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>column)
    )


cdef inline Py_ssize_t length_of(object column) noexcept:
    """Entries of what :func:`is_column` holds of."""
    return cnp.PyArray_DIM(<cnp.ndarray>column, 0)


cdef inline void* data_of(object column) noexcept:
    """The first entry of what :func:`is_column` holds of."""
    return cnp.PyArray_DATA(<cnp.ndarray>column)
