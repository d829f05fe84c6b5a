"""Sums of the rows of each centroid, in the order of the rows: what the middles of k-means are made of."""

from libc.stdint cimport int64_t, uint32_t


def add_up(double[:, ::1] sums, int64_t[::1] counts, const float[:, ::1] rows, const uint32_t[::1] found):
    cdef Py_ssize_t at, part, many = sums.shape[0], dim = sums.shape[1]
    cdef double* sum_
    cdef const float* row
    if counts.shape[0] != many or rows.shape[1] != dim or found.shape[0] != rows.shape[0]:
        raise ValueError(f"{counts.shape[0]} counts for {many} sums, or {found.shape[0]} of them found for "
                         f"{rows.shape[0]} rows of {rows.shape[1]} dimensions; sums have {dim}")
    for at in range(found.shape[0]):
        if found[at] >= many:
            raise ValueError(f"row {at} lies with centroid {found[at]} of {many}")
    with nogil:
        for at in range(found.shape[0]):
            sum_, row = &sums[found[at], 0], &rows[at, 0]
            for part in range(dim):
                sum_[part] += row[part]
            counts[found[at]] += 1
