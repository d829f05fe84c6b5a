"""Which centroid is nearest to each row: the work of k-means, and of sorting all rows into lists.

Rows and centroids are coded, and their products are whole numbers, so every instruction set finds the same centroids.
A tile of centroids stays in the nearest cache while a group of rows goes over it.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint32_t
from libc.stdlib cimport free, malloc

from mixline.kernels cimport codes as products
from mixline.kernels.codes cimport (
    BLOCK_ROWS,
    DIM_MAX,
    LINE_BYTES,
    MIXLINE_CODE_QUERIES,
    QUAD,
    code_vector,
    mixline_code_query,
)

from mixline.kernels.errors import KernelArgumentError

cdef extern from "cluster.h" nogil:
    struct mixline_seeker:
        float scale
        float best[BLOCK_ROWS]
        int32_t block[BLOCK_ROWS]
    void mixline_seek_tile(mixline_seeker* seeker, const int32_t* sums, const float* scales, const float* offsets,
                           int32_t first, int64_t blocks) noexcept

cdef enum:
    GROUP = 64            # rows, a multiple of MIXLINE_CODE_QUERIES
    TILE_BYTES = 16384
    TILE_BLOCKS = 32      # at most

cdef struct Centroids:
    const int8_t* codes
    const float* scales
    const float* offsets
    Py_ssize_t blocks, quads


cdef uint32_t nearest_of(const mixline_seeker* seeker) noexcept nogil:
    """The best of all places; of equal ones the first."""
    cdef Py_ssize_t at
    cdef uint32_t found = 0, here
    cdef float best = <float>-INFINITY
    for at in range(BLOCK_ROWS):
        here = <uint32_t>(seeker.block[at] * BLOCK_ROWS + at)
        if seeker.best[at] > best or (seeker.best[at] == best and here < found):
            best, found = seeker.best[at], here
    return found


cdef void assign_group(const float* rows, Py_ssize_t count, Py_ssize_t dim, const float* units, const Centroids* among,
                       int16_t* codes, int8_t* halves, uint32_t* out) noexcept nogil:
    """Up to GROUP rows; ``codes`` and ``halves`` have room for the codes of so many."""
    cdef mixline_seeker seekers[GROUP]
    cdef int32_t sums[MIXLINE_CODE_QUERIES][TILE_BLOCKS * BLOCK_ROWS]
    cdef mixline_code_query asked[GROUP]
    cdef Py_ssize_t at, one, first = 0, width = among.quads * QUAD, tile, most
    cdef int many
    most = max(<Py_ssize_t>1, min(<Py_ssize_t>TILE_BLOCKS, TILE_BYTES // (among.quads * LINE_BYTES)))
    for at in range(count):
        seekers[at].scale = <float>code_vector(rows + at * dim, dim, units[at] if units != NULL else 1.0,
                                               codes + at * width, halves + 2 * at * width, &asked[at].sum)
        asked[at].query, asked[at].high = codes + at * width, halves + 2 * at * width
        asked[at].low = halves + (2 * at + 1) * width
        asked[at].out, asked[at].ahead = sums[at % MIXLINE_CODE_QUERIES], 0
        for one in range(BLOCK_ROWS):
            seekers[at].best[one] = <float>-INFINITY
            seekers[at].block[one] = 0
    while first < among.blocks:
        tile = min(most, among.blocks - first)
        at = 0
        while at < count:
            many = <int>min(<Py_ssize_t>MIXLINE_CODE_QUERIES, count - at)
            products.dot_codes(among.codes + first * among.quads * LINE_BYTES, among.quads, tile, asked + at, many)
            for one in range(many):
                mixline_seek_tile(&seekers[at + one], sums[one], among.scales + first * BLOCK_ROWS,
                                  among.offsets + first * BLOCK_ROWS, <int32_t>first, tile)
            at += many
        first += tile
    for at in range(count):
        out[at] = nearest_of(&seekers[at])


def assign(const float[:, ::1] rows, const int8_t[:, :, :, ::1] codes, const float[::1] scales,
           const float[::1] offsets, uint32_t[::1] out, *, const float[::1] units=None):
    cdef Py_ssize_t count = rows.shape[0], dim = rows.shape[1], at
    cdef Centroids among
    cdef int16_t* room
    among.blocks, among.quads = codes.shape[0], codes.shape[1]
    if not 1 <= dim <= DIM_MAX or among.quads != (dim + QUAD - 1) // QUAD or codes.shape[2] != BLOCK_ROWS \
            or codes.shape[3] != QUAD or not among.blocks:
        raise KernelArgumentError(f"codes of {tuple(codes.shape)[:4]} do not fit rows of {dim} dimensions")
    if scales.shape[0] != among.blocks * BLOCK_ROWS or offsets.shape[0] != among.blocks * BLOCK_ROWS:
        raise KernelArgumentError(f"{scales.shape[0]} scales and {offsets.shape[0]} offsets for {among.blocks} blocks")
    if out.shape[0] != count or (units is not None and units.shape[0] != count):
        raise KernelArgumentError(f"{out.shape[0]} places or another number of units for {count} rows")
    if not count:
        return
    room = <int16_t*>malloc(2 * GROUP * among.quads * QUAD * sizeof(int16_t))
    if room == NULL:
        raise MemoryError(f"no memory for the codes of {GROUP} rows")
    among.codes, among.scales, among.offsets = &codes[0, 0, 0, 0], &scales[0], &offsets[0]
    with nogil:
        at = 0
        while at < count:
            assign_group(&rows[at, 0], min(<Py_ssize_t>GROUP, count - at), dim,
                         &units[at] if units is not None else NULL, &among, room,
                         <int8_t*>(room + GROUP * among.quads * QUAD), &out[at])
            at += GROUP
        free(room)
