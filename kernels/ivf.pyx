"""The nearest rows by inverted lists: rank the lists by their centroids, go over the codes of the nearest few.

All of it is bound by bytes. Centroids are coded like rows, a byte a dimension, and stay in the caches from one query to
the next; a list's codes lie together, and the next list is fetched while one is gone over. Estimates tell the best
few rows, whose float32 scores decide. A bitmap is by row and is asked only for rows that may be among these. By dot a
list is ranked by the best that its rows may have: the score of its centroid, and more the wider it lies.

Where few rows are allowed most codes are read for nothing. Then rows are sifted first, and those that are left have
their float32 scores at once: place by place of the nearest lists, or, of very few, all that are allowed, each asked for
its list.
"""

import numpy as np

from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.math cimport INFINITY
from libc.string cimport memset

from mixline.kernels.order cimport Entry, rank_entries
from mixline.kernels.scan cimport FloatRows, ask_rows, metric_code, scan_rows, score_entries
from mixline.kernels.codes cimport (
    ABSENT,
    BLOCK_ROWS,
    DIM_MAX,
    DOT,
    L2,
    LINE_BYTES,
    MIXLINE_AHEAD_BYTES,
    QUAD,
    CodedRows,
)
from mixline.kernels.candidates cimport Short, begin, close_short, open_short
from mixline.kernels.field cimport Field, clear_field, close_field, fill, fit_field, sift
from mixline.kernels.frame cimport look_at_frame, mixline_frame
from mixline.kernels.topk cimport TopK

from mixline.kernels.errors import KernelArgumentError

cdef extern from "codes.h" nogil:
    void mixline_fetch_ahead(const void* start, int64_t size) noexcept

cdef enum:
    SPARE = 16            # rows scored beyond k and a quarter of it: beyond that hardly one is among the best
    BATCH = 256           # sifted rows that are scored together, fetched ahead of each other

cdef double SPREAD = 2.0  # deviations from its centroid that the best row of a list is believed to have

cdef enum By:             # what is gone over
    CODES = 0
    PLACES = 1
    ROWS = 2

cdef dict BY = {"codes": CODES, "places": PLACES, "rows": ROWS}

cdef extern from *:
    int lowest_bit "__builtin_ctzll" (uint64_t bits) noexcept nogil

cdef class ListSearch:
    cdef Short short                  # the query
    cdef Field near, field            # lists, and places
    cdef CodedRows centroids, places
    cdef Entry* ranked                # the nearest lists, and room to sort them
    cdef Entry* looked                # what had its second look, and room to sort it
    cdef Py_ssize_t ranked_room, looked_room, lists, dim, chosen, done, places_seen
    cdef object held                  # what the pointers below point into
    cdef const uint32_t* starts
    cdef FloatRows floats             # what the second look is at
    cdef Py_ssize_t rows_count
    cdef const float[::1] query
    cdef mixline_frame frame          # of the codes
    cdef const uint64_t[::1] allowed
    cdef const float* spreads         # by list, NULL where they do not count
    cdef const uint32_t* lists_of     # by row, NULL where that is not known
    cdef uint8_t* marks               # by list, whether it was chosen
    cdef int by
    cdef TopK best                    # of sifted rows
    cdef uint32_t batch[BATCH]
    cdef Py_ssize_t batched, left
    cdef readonly Py_ssize_t k

    def __cinit__(self, const int8_t[:, :, :, ::1] centroids, const float[::1] centroid_scales,
                  const float[::1] centroid_norms, const uint32_t[::1] starts, const int8_t[:, :, :, ::1] codes,
                  const float[::1] scales, const uint32_t[::1] rows, const float[::1] norms,
                  const float[::1] center, const int8_t[:, ::1] signs=None, const uint32_t[::1] lists_of=None,
                  const float[::1] spreads=None, *, const float[:, ::1] matrix, const uint64_t[::1] keys,
                  const float[::1] matrix_norms, metric="dot"):
        self.floats.metric = metric_code(metric)
        self.dim, self.lists, self.rows_count = matrix.shape[1], starts.shape[0] - 1, matrix.shape[0]
        check_lists(self, centroids, centroid_scales, centroid_norms, starts, codes, scales, rows, norms)
        if keys.shape[0] != matrix.shape[0] or matrix_norms.shape[0] != matrix.shape[0]:
            raise KernelArgumentError(f"{keys.shape[0]} order keys and {matrix_norms.shape[0]} norms for "
                                      f"{matrix.shape[0]} rows")
        self.held = (centroids, centroid_scales, centroid_norms, starts, codes, scales, rows, norms, matrix, keys,
                     matrix_norms, center, signs, lists_of, spreads)
        self.starts = &starts[0]
        if center.shape[0] != (self.dim if self.floats.metric == L2 else 0):
            raise KernelArgumentError(f"a center of {center.shape[0]} for {self.dim} dimensions; only with l2")
        self.frame = look_at_frame(center, signs, self.dim)
        if lists_of is not None and lists_of.shape[0]:
            if lists_of.shape[0] != self.rows_count:
                raise KernelArgumentError(f"lists of {lists_of.shape[0]} rows for {self.rows_count}")
            self.lists_of = &lists_of[0]
        if spreads is not None and spreads.shape[0]:
            if spreads.shape[0] != self.lists or self.floats.metric != DOT:
                raise KernelArgumentError(f"spreads of {spreads.shape[0]} lists for {self.lists}; only with dot")
            self.spreads = &spreads[0]
        self.marks = <uint8_t*>malloc(self.lists + 1)
        if self.marks == NULL:
            raise MemoryError(f"no memory to mark {self.lists} lists")
        if open_short(&self.short, 1, self.dim, self.floats.metric, True) < 0:
            raise MemoryError(f"no memory for a query of {self.dim} dimensions")
        if not codes.shape[0]:
            return
        self.centroids.codes, self.centroids.scales = &centroids[0, 0, 0, 0], &centroid_scales[0]
        self.centroids.norms, self.centroids.count = &centroid_norms[0], self.lists
        self.places.codes, self.places.scales, self.places.listed = &codes[0, 0, 0, 0], &scales[0], &rows[0]
        self.centroids.lines = self.places.lines = (self.dim + QUAD - 1) // QUAD
        self.places.norms, self.places.count = &norms[0] if norms.shape[0] else NULL, rows.shape[0]
        self.floats.matrix, self.floats.keys, self.floats.norms = &matrix[0, 0], &keys[0], &matrix_norms[0]
        self.floats.dim = self.dim

    def __dealloc__(self):
        close_short(&self.short)
        close_field(&self.near)
        close_field(&self.field)
        free(self.ranked)
        free(self.looked)
        free(self.marks)

    @property
    def scored(self):
        return self.places_seen

    @property
    def sifted(self):
        return self.left

    def begin(self, const float[::1] query, Py_ssize_t k, Py_ssize_t width, *, keep=None,
              const uint64_t[::1] allowed=None, by="codes"):
        cdef Py_ssize_t kept = k + k // 4 + SPARE if keep is None else keep
        if by not in BY or (by != "codes" and allowed is None) or (by == "rows" and self.lists_of == NULL):
            raise KernelArgumentError(f"by {by!r}: codes, places where there is a bitmap, or rows of known lists")
        if query.shape[0] != self.dim:
            raise KernelArgumentError(f"the query has {query.shape[0]} dimensions and the lists {self.dim}")
        if k < 1 or width < 1 or kept < k:
            raise KernelArgumentError(f"k is {k}, width {width}, keep {kept}: at least 1, 1 and k")
        if allowed is not None and allowed.shape[0] * 64 < self.rows_count:
            raise KernelArgumentError(f"a bitmap of {allowed.shape[0]} words for {self.rows_count} rows")
        self.k, self.query, self.allowed = k, query, allowed
        self.done = self.chosen = self.places_seen = self.batched = self.left = 0
        self.by = BY[by]
        self.best = TopK(k) if self.by != CODES else None
        width, kept = min(width, self.lists), min(kept, max(self.rows_count, 1))
        fit_field(&self.field, kept)
        fit_field(&self.near, width)
        fit_entries(&self.ranked, &self.ranked_room, width)
        self.field.allowed = &allowed[0] if allowed is not None and allowed.shape[0] else NULL
        with nogil:
            begin(&self.short, &query[0], &self.frame)
            clear_field(&self.field)
            clear_field(&self.near)
            if self.places.codes != NULL:
                self.rank_lists()
                ask_rows(&self.floats, &query[0])
                if self.by == ROWS:
                    self.mark_lists()

    cdef void rank_lists(self) noexcept nogil:
        """Put the nearest lists into ``ranked``, nearest first."""
        cdef Field* near = &self.near
        cdef Py_ssize_t at
        near.lifts = self.spreads
        near.by = <float>(SPREAD * self.short.query_length) if self.short.query_length < INFINITY else 0.0
        self.short.asked.ahead = MIXLINE_AHEAD_BYTES
        fill(near, &self.short, &self.centroids, 0, (self.lists + BLOCK_ROWS - 1) // BLOCK_ROWS)
        sift(near, &self.centroids)
        for at in range(near.held):
            self.ranked[at].score = near.kept[at]
            self.ranked[at].key = self.ranked[at].row = near.rows[at]
        rank_entries(self.ranked, self.ranked + near.held, near.held)
        self.chosen = near.held

    cdef void mark_lists(self) noexcept nogil:
        """So that a row's list tells whether it is one of the nearest."""
        cdef Py_ssize_t at
        memset(self.marks, 0, self.lists + 1)
        for at in range(self.chosen):
            self.marks[self.ranked[at].row] = 1

    cdef void go_over(self, Py_ssize_t most) noexcept nogil:
        """Up to ``most`` further lists, or of all rows as large a share."""
        cdef Py_ssize_t stop = min(self.chosen, self.done + most), first, last, words
        if self.by == ROWS and self.done < stop:
            words = (self.rows_count + 63) >> 6
            self.sift_rows(self.done * words // self.chosen, stop * words // self.chosen)
            self.done = stop
        while self.done < stop:
            first, last = self.starts[self.ranked[self.done].row], self.starts[self.ranked[self.done].row + 1]
            self.done += 1
            self.places_seen += (last - first) * BLOCK_ROWS
            if self.by == PLACES:
                self.sift_places(first * BLOCK_ROWS, last * BLOCK_ROWS)
            else:
                self.scan_list(first, last)
        if self.batched:
            self.score_batch()

    cdef void scan_list(self, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        """The codes of one list, while those of the next are fetched, byte for byte."""
        cdef Py_ssize_t start = first, stop = first
        if self.done < self.chosen:
            start, stop = self.starts[self.ranked[self.done].row], self.starts[self.ranked[self.done].row + 1]
            mixline_fetch_ahead(self.places.scales + start * BLOCK_ROWS, (stop - start) * BLOCK_ROWS * sizeof(float))
            mixline_fetch_ahead(self.places.listed + stop * BLOCK_ROWS - 1, 1)
        self.short.asked.ahead = (start - first) * self.places.lines * LINE_BYTES
        fill(&self.field, &self.short, &self.places, first, last)

    cdef void sift_places(self, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        """The allowed rows of one list; no branch depends on a bit that nobody can foresee."""
        cdef Py_ssize_t at
        cdef uint32_t row
        cdef bint there
        for at in range(first, last):
            row = self.places.listed[at]
            there = row != ABSENT
            row = row if there else 0
            self.batch[self.batched] = row
            self.batched += there & <bint>(self.allowed[row >> 6] >> (row & 63) & 1)
            if self.batched == BATCH:
                self.score_batch()

    cdef void sift_rows(self, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        """The rows of some words of the bitmap that lie in the nearest lists."""
        cdef Py_ssize_t at
        cdef uint64_t word
        cdef uint32_t row
        for at in range(first, last):
            word = self.allowed[at]
            if at == self.rows_count >> 6:
                word &= (<uint64_t>1 << (self.rows_count & 63)) - 1  # rows that came later are not in lists
            while word:
                row = <uint32_t>(at * 64 + lowest_bit(word))
                word &= word - 1
                self.places_seen += 1
                self.batch[self.batched] = row
                self.batched += self.marks[min(self.lists_of[row], <uint32_t>self.lists)]
                if self.batched == BATCH:
                    self.score_batch()

    cdef void score_batch(self) noexcept nogil:
        """The float32 scores of the rows that were sifted."""
        scan_rows(self.best, &self.floats, self.batch, self.batched)
        self.left += self.batched
        self.batched = 0

    def advance(self, Py_ssize_t lists=0x7FFFFFFF):
        with nogil:
            self.go_over(lists)
        return self.done < self.chosen

    def rows(self):
        cdef Py_ssize_t at
        with nogil:
            sift(&self.field, &self.places)
        found = np.empty(self.field.held, dtype=np.uint32)
        cdef uint32_t[::1] out = found
        for at in range(self.field.held):
            out[at] = self.field.rows[at]
        return found

    def result(self):
        cdef Py_ssize_t at, held
        if not self.k:
            raise KernelArgumentError("no query has begun")
        if self.by != CODES:
            return self.best.result()
        with nogil:
            sift(&self.field, &self.places)
        held = self.field.held
        fit_entries(&self.looked, &self.looked_room, held)
        found = np.empty(min(held, self.k), dtype=np.uint32)
        scored = np.empty(len(found), dtype=np.float32)
        cdef uint32_t[::1] rows = found
        cdef float[::1] scores = scored
        with nogil:
            score_entries(self.looked, &self.floats, self.field.rows, held)
            rank_entries(self.looked, self.looked + held, held)
            for at in range(rows.shape[0]):
                rows[at], scores[at] = self.looked[at].row, self.looked[at].score
        return found, scored

    def search(self, const float[::1] query, Py_ssize_t k, Py_ssize_t width, *, keep=None,
               const uint64_t[::1] allowed=None, by="codes"):
        self.begin(query, k, width, keep=keep, allowed=allowed, by=by)
        with nogil:
            self.go_over(self.chosen)
        return self.result()


cdef int fit_entries(Entry** entries, Py_ssize_t* room, Py_ssize_t count) except -1:
    """Room for so many entries, and as much to sort them; what they held is lost."""
    if room[0] < count:
        free(entries[0])
        entries[0] = <Entry*>malloc(2 * count * sizeof(Entry))
        room[0] = count if entries[0] != NULL else 0
        if entries[0] == NULL:
            raise MemoryError(f"no memory to rank {count} entries")
    return 0


cdef int check_lists(ListSearch self, const int8_t[:, :, :, ::1] centroids, const float[::1] centroid_scales,
                     const float[::1] centroid_norms, const uint32_t[::1] starts, const int8_t[:, :, :, ::1] codes,
                     const float[::1] scales, const uint32_t[::1] rows, const float[::1] norms) except -1:
    """Whether the arrays fit together; every start is looked at once, here."""
    cdef Py_ssize_t quads = (self.dim + QUAD - 1) // QUAD, blocks = codes.shape[0], at
    cdef Py_ssize_t centroid_blocks = (self.lists + BLOCK_ROWS - 1) // BLOCK_ROWS
    if not 1 <= self.dim <= DIM_MAX or self.rows_count >= 0xFFFFFFFF or self.lists < 0:
        raise KernelArgumentError(f"a matrix of {self.rows_count} rows and {self.dim} dimensions, {self.lists} lists")
    for shape, many in ((tuple(centroids.shape)[:4], centroid_blocks), (tuple(codes.shape)[:4], blocks)):
        if shape != (many, quads, BLOCK_ROWS, QUAD):
            raise KernelArgumentError(f"codes of {shape} instead of ({many}, {quads}, {BLOCK_ROWS}, {QUAD})")
    if centroid_scales.shape[0] != centroid_blocks * BLOCK_ROWS or centroid_norms.shape[0] != self.lists:
        raise KernelArgumentError(f"{centroid_scales.shape[0]} scales and {centroid_norms.shape[0]} norms for "
                                  f"{self.lists} centroids")
    if scales.shape[0] != blocks * BLOCK_ROWS or rows.shape[0] != blocks * BLOCK_ROWS \
            or norms.shape[0] != (blocks * BLOCK_ROWS if self.floats.metric == L2 else 0):
        raise KernelArgumentError(f"{scales.shape[0]} scales, {rows.shape[0]} rows and {norms.shape[0]} norms for "
                                  f"{blocks} blocks; norms only with l2")
    if starts[0] != 0 or starts[self.lists] != blocks:
        raise KernelArgumentError(f"lists from block {starts[0]} to {starts[self.lists]} of {blocks}")
    for at in range(self.lists):
        if starts[at] > starts[at + 1]:
            raise KernelArgumentError(f"list {at} ends before it starts")
    return 0
