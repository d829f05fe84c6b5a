"""One sorted set of candidates out of what every source brought: the columns of a block, made in one pass.

Candidates are sorted by group and row, byte by byte and only by the bytes in which they differ, so that one source and
one user cost two or three passes over a few hundred entries, whatever their order.
"""

cimport numpy as cnp

from libc.math cimport NAN
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from mixline.kernels.arrays cimport data_of, is_column, length_of
from mixline.kernels.checks cimport are_candidates

from mixline.kernels.errors import KernelArgumentError

cdef extern from *:
    """
    #define mixline_merge_prefetch(address) __builtin_prefetch(address)
    """
    void mixline_merge_prefetch(const void* address) noexcept nogil

cnp.import_array()

cdef enum:
    AHEAD_ROWS = 16
    SOURCES_MAX = 64            # bits of the mask
    NO_RANK = 0xFFFFFFFF

cdef struct Candidate:
    uint64_t place              # group << 32 | row: what a block is sorted by
    uint32_t part               # which part brought it
    uint32_t rank               # and where in it

cdef struct Part:
    const uint32_t* rows
    const float* scores
    Py_ssize_t count
    uint64_t group
    int source

cdef struct Columns:
    uint32_t* group
    uint32_t* row
    uint64_t* key
    uint64_t* sources
    uint32_t* rank
    float* scores               # one row per source


cdef Candidate* sort_places(Candidate* at, Candidate* spare, Py_ssize_t count) noexcept nogil:
    """Sort by place, stably; the result lies in one of the two, which is returned."""
    cdef Py_ssize_t i
    cdef uint64_t differing = 0
    cdef uint32_t starts[256]
    cdef uint32_t start, many
    cdef int shift, digit
    cdef Candidate* other
    for i in range(1, count):
        differing |= at[i].place ^ at[0].place
    for shift in range(0, 64, 8):
        if not (differing >> shift) & 0xFF:
            continue
        memset(starts, 0, sizeof(starts))
        for i in range(count):
            starts[(at[i].place >> shift) & 0xFF] += 1
        start = 0
        for digit in range(256):
            many = starts[digit]
            starts[digit] = start
            start += many
        for i in range(count):
            digit = (at[i].place >> shift) & 0xFF
            spare[starts[digit]] = at[i]
            starts[digit] += 1
        other = at
        at = spare
        spare = other
    return at


cdef inline bint comes_again(const Candidate* at, Py_ssize_t i, Py_ssize_t count) noexcept nogil:
    """Whether the same part brings the same row once more: of those the last counts."""
    return i + 1 < count and at[i + 1].place == at[i].place and at[i + 1].part == at[i].part


cdef void fill_places(const Candidate* at, Py_ssize_t count, const uint64_t* keys, uint32_t* group, uint32_t* row,
                      uint64_t* key) noexcept nogil:
    """Write what depends on the place alone."""
    cdef Py_ssize_t i, entry = 0
    for i in range(count):
        if i + AHEAD_ROWS < count:
            mixline_merge_prefetch(keys + <uint32_t>at[i + AHEAD_ROWS].place)
        if i == 0 or at[i].place != at[i - 1].place:
            group[entry] = <uint32_t>(at[i].place >> 32)
            row[entry] = <uint32_t>at[i].place
            key[entry] = keys[<uint32_t>at[i].place]
            entry += 1


cdef void fill_brought(const Candidate* at, Py_ssize_t count, const Part* parts, Py_ssize_t entries, uint64_t* sources,
                       uint32_t* rank, float* scores) noexcept nogil:
    """Write what the parts say; the scores are all missing before."""
    cdef Py_ssize_t i, entry = -1
    cdef const Part* part
    cdef uint64_t bits = 0
    cdef uint32_t best = NO_RANK
    for i in range(count):
        if i == 0 or at[i].place != at[i - 1].place:
            entry += 1
            bits = 0
            best = NO_RANK
        if comes_again(at, i, count):
            continue
        part = &parts[at[i].part]
        bits |= <uint64_t>1 << part.source
        best = min(best, at[i].rank)
        sources[entry] = bits
        rank[entry] = best
        scores[part.source * entries + entry] = part.scores[at[i].rank]


cdef Py_ssize_t count_entries(const Candidate* at, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i, entries = 0
    for i in range(count):
        entries += i == 0 or at[i].place != at[i - 1].place
    return entries


cdef Py_ssize_t read_parts(list found, Py_ssize_t sources, Py_ssize_t rows_max, Part* parts) except -1:
    """Check every part and note where it lies; returns how many candidates they bring."""
    cdef Py_ssize_t at, total = 0
    cdef Part* part
    for at, (source, group, rows, scores) in enumerate(found):
        if not are_candidates(rows, scores, rows_max):
            raise KernelArgumentError(f"part {at}: give uint32 rows below {rows_max} and as many float32 scores")
        if not 0 <= source < sources or not 0 <= group <= 0xFFFFFFFF:
            raise KernelArgumentError(f"part {at}: source {source} of {sources}, group {group}")
        part = &parts[at]
        part.source = source
        part.group = group
        part.rows = <const uint32_t*>data_of(rows)
        part.scores = <const float*>data_of(scores)
        part.count = length_of(rows)
        total += part.count
    if total >= 0xFFFFFFFF:
        raise KernelArgumentError(f"{total} candidates; at most 2^32 - 2")
    return total


cdef tuple make_columns(Py_ssize_t entries, Py_ssize_t sources, Columns* out):
    """Arrays for so many entries, all scores missing, and where they lie."""
    cdef cnp.npy_intp[2] shape
    cdef Py_ssize_t i
    shape[0] = entries
    group = cnp.PyArray_SimpleNew(1, shape, cnp.NPY_UINT32)
    row = cnp.PyArray_SimpleNew(1, shape, cnp.NPY_UINT32)
    key = cnp.PyArray_SimpleNew(1, shape, cnp.NPY_UINT64)
    bits = cnp.PyArray_SimpleNew(1, shape, cnp.NPY_UINT64)
    rank = cnp.PyArray_SimpleNew(1, shape, cnp.NPY_UINT32)
    shape[0], shape[1] = sources, entries
    scores = cnp.PyArray_SimpleNew(2, shape, cnp.NPY_FLOAT32)
    out.group = <uint32_t*>data_of(group)
    out.row = <uint32_t*>data_of(row)
    out.key = <uint64_t*>data_of(key)
    out.sources = <uint64_t*>data_of(bits)
    out.rank = <uint32_t*>data_of(rank)
    out.scores = <float*>data_of(scores)
    for i in range(sources * entries):
        out.scores[i] = <float>NAN
    return group, row, key, bits, rank, scores


def merge_parts(list found, Py_ssize_t sources, keys):
    cdef Py_ssize_t at, i, total, entries
    cdef Py_ssize_t parts_count = len(found)
    cdef const uint64_t* key
    cdef Candidate* candidates = NULL
    cdef Candidate* put
    cdef Candidate* ordered
    cdef Columns out
    if not is_column(keys, cnp.NPY_UINT64):
        raise KernelArgumentError("keys must be one contiguous uint64 per row")
    if not 0 <= sources <= SOURCES_MAX:
        raise KernelArgumentError(f"{sources} sources; at most {SOURCES_MAX} fit the mask")
    key = <const uint64_t*>data_of(keys)
    cdef Part* parts = <Part*>malloc(max(parts_count, 1) * sizeof(Part))
    try:
        if parts == NULL:
            raise MemoryError()
        total = read_parts(found, sources, length_of(keys), parts)
        candidates = <Candidate*>malloc(2 * max(total, 1) * sizeof(Candidate))
        if candidates == NULL:
            raise MemoryError(f"no memory to merge {total} candidates")
        with nogil:
            put = candidates
            for at in range(parts_count):
                for i in range(parts[at].count):
                    put.place = parts[at].group << 32 | parts[at].rows[i]
                    put.part = <uint32_t>at
                    put.rank = <uint32_t>i
                    put += 1
            ordered = sort_places(candidates, candidates + total, total)
            entries = count_entries(ordered, total)
        columns = make_columns(entries, sources, &out)
        with nogil:
            fill_places(ordered, total, key, out.group, out.row, out.key)
            fill_brought(ordered, total, parts, entries, out.sources, out.rank, out.scores)
    finally:
        free(candidates)
        free(parts)
    return columns
