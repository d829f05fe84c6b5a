"""Slates that are good and unlike: greedy MMR, DPP and SSD over a pool of candidates with vectors.

Each step compares the candidate that was taken with all others, which is one pass over the pool in the cache (its
layout and arithmetic are in diversity.h), instead of a matrix of all pairs. Of equal values the first in the pool is
taken. A candidate without a vector (missing, or zero) is like no other, and the door says how many there are.
"""

import numpy as np

cimport numpy as cnp

from libc.math cimport INFINITY, isfinite, sqrt
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from mixline.kernels.arrays cimport data_of, is_column, length_of

from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.isa import checked, in_use

cnp.import_array()

cdef extern from "diversity.h" nogil:
    ctypedef struct Steps "mixline_diversity":
        void (*products)(
            const float* tiles, int64_t dim, int64_t padded, const float* vector, float* out) noexcept nogil
        void (*nearest)(
            const float* similar, const float* worth, float weight, int64_t padded, float* closest,
            float* value) noexcept nogil
        void (*factor)(
            const float* similar, const double* own, int64_t done, int64_t most, double root, int64_t padded,
            const double* quality, double* factors, double* rest, double* value) noexcept nogil
        void (*project)(
            const float* back, const float* part, const double* worth, double scale, int64_t padded, double* rest,
            double* value) noexcept nogil
        const char* name
    const Steps* mixline_choose_diversity(const char* isa) noexcept

cdef enum:
    TILE = 64

cdef double SPENT = 1e-6        # of a squared length of 1: float32 products leave about as much where nothing is left

cdef const Steps* steps = NULL

ctypedef fused real:
    float
    double


def choose_path(isa):
    global steps
    cdef bytes encoded = checked(isa).encode()
    steps = mixline_choose_diversity(encoded)
    return steps.name.decode()


def path():
    return steps.name.decode()


choose_path(in_use())


cdef int64_t greatest(const real* values, const uint8_t* taken, int64_t count) noexcept nogil:
    """The first candidate of the greatest value that is not taken; one of -inf or NaN only when there is no other."""
    cdef int64_t i, best = -1
    cdef real most = -INFINITY
    for i in range(count):
        if values[i] > most and not taken[i]:
            most = values[i]
            best = i
    if best < 0:
        for i in range(count):
            if not taken[i]:
                return i
    return best


cdef class Pool:
    cdef readonly Py_ssize_t size, without
    cdef int64_t dim, padded
    cdef float* tiles           # padded / 64 x dim x 64: vectors of length 1, or 0
    cdef float* vector          # of the candidate that was taken
    cdef float* similar         # of each with it
    cdef uint8_t* taken
    cdef uint8_t* lacks         # a vector

    def __cinit__(self, const float[:, ::1] matrix, const uint32_t[::1] rows, const float[::1] norms):
        cdef Py_ssize_t i
        cdef uint32_t most = 0
        self.size, self.dim = rows.shape[0], matrix.shape[1]
        self.padded = (self.size + TILE - 1) // TILE * TILE
        if norms.shape[0] != matrix.shape[0]:
            raise KernelArgumentError(f"{norms.shape[0]} norms for {matrix.shape[0]} rows")
        for i in range(self.size):
            most = max(most, rows[i])
        if self.size and most >= matrix.shape[0]:
            raise KernelArgumentError(f"row {most} lies outside a matrix of {matrix.shape[0]} rows")
        self.tiles = <float*>calloc(max(self.padded * self.dim, 1), sizeof(float))
        self.vector = <float*>calloc(max(self.dim, 1), sizeof(float))
        self.similar = <float*>calloc(max(self.padded, 1), sizeof(float))
        self.taken = <uint8_t*>calloc(max(self.padded, 1), 1)
        self.lacks = <uint8_t*>calloc(max(self.padded, 1), 1)
        if (self.tiles == NULL or self.vector == NULL or self.similar == NULL or self.taken == NULL
                or self.lacks == NULL):
            raise MemoryError(f"no memory for a pool of {self.size}")
        if self.size and self.dim:
            with nogil:
                self.fill(&matrix[0, 0], &rows[0], &norms[0])
        else:
            self.without = self.size

    def __dealloc__(self):
        free(self.tiles)
        free(self.vector)
        free(self.similar)
        free(self.taken)
        free(self.lacks)

    cdef void fill(self, const float* matrix, const uint32_t* rows, const float* norms) noexcept nogil:
        cdef int64_t i, j
        cdef const float* row
        cdef float* tile
        cdef float scale
        for i in range(self.size):
            if not (isfinite(norms[rows[i]]) and norms[rows[i]] > 0):
                self.lacks[i] = 1
                self.without += 1
                continue
            row = matrix + rows[i] * self.dim
            tile = self.tiles + i // TILE * TILE * self.dim + i % TILE
            scale = <float>1.0 / norms[rows[i]]
            for j in range(self.dim):
                tile[j * TILE] = row[j] * scale

    cdef void read(self, int64_t i) noexcept nogil:
        """The vector of candidate i."""
        cdef int64_t j
        cdef const float* tile = self.tiles + i // TILE * TILE * self.dim + i % TILE
        for j in range(self.dim):
            self.vector[j] = tile[j * TILE]

    cdef void compare(self, int64_t i) noexcept nogil:
        """How similar each is to candidate i."""
        self.read(i)
        steps.products(self.tiles, self.dim, self.padded, self.vector, self.similar)

    cdef object begin(self, numbers, int64_t k, str name):
        """Room for ``k`` choices, when there is a number for each candidate."""
        if not is_column(numbers, cnp.NPY_FLOAT32) or length_of(numbers) != self.size:
            raise KernelArgumentError(f"{name} must be float32, one for each of {self.size} candidates")
        if k < 0:
            raise KernelArgumentError(f"k = {k}: choose 0 or more")
        memset(self.taken, 0, self.padded)
        return np.empty(min(k, self.size), dtype=np.int64)

    def mmr(self, relevance, Py_ssize_t k, float trade):
        order = self.begin(relevance, k, "relevance")
        cdef int64_t[::1] out = order
        cdef const float* given = <const float*>data_of(relevance)
        cdef float weight = <float>1.0 - trade
        cdef int64_t at, i, chosen, many = out.shape[0]
        cdef float* room = <float*>malloc((3 * self.padded + 1) * sizeof(float))
        if room == NULL:
            raise MemoryError(f"no memory for {self.size} candidates")
        cdef float* worth = room
        cdef float* closest = room + self.padded
        cdef float* value = room + 2 * self.padded
        with nogil:
            for i in range(self.padded):
                worth[i] = trade * given[i] if i < self.size else 0
                value[i] = worth[i]
                closest[i] = -INFINITY
            for at in range(many):
                chosen = out[at] = greatest(value, self.taken, self.size)
                self.taken[chosen] = 1
                if at + 1 < many:
                    self.compare(chosen)
                    steps.nearest(self.similar, worth, weight, self.padded, closest, value)
            free(room)
        return order

    def dpp(self, quality, Py_ssize_t k):
        order = self.begin(quality, k, "quality")
        cdef int64_t[::1] out = order
        cdef const float* given = <const float*>data_of(quality)
        cdef int64_t i, chosen, at = 0, many = out.shape[0], diverse
        cdef double* room = <double*>malloc(((3 + many) * self.padded + many + 1) * sizeof(double))
        if room == NULL:
            raise MemoryError(f"no memory for {many} of {self.size} candidates")
        cdef double* squares = room
        cdef double* rest = room + self.padded
        cdef double* value = room + 2 * self.padded
        cdef double* factors = room + 3 * self.padded
        cdef double* own = factors + many * self.padded
        with nogil:
            for i in range(self.padded):
                squares[i] = <double>given[i] * given[i] if i < self.size else 0.0
                rest[i] = 1.0
                value[i] = squares[i]
            while at < many:
                chosen = greatest(value, self.taken, self.size)
                if not rest[chosen] > SPENT:
                    break
                out[at] = chosen
                self.taken[chosen] = 1
                if at + 1 < many:
                    self.compare(chosen)
                    for i in range(at):
                        own[i] = factors[(chosen // TILE * many + i) * TILE + chosen % TILE]
                    steps.factor(self.similar, own, at, many, sqrt(rest[chosen]), self.padded, squares, factors, rest,
                                 value)
                at += 1
            diverse = at
            for i in range(self.size):
                if at < many and not self.taken[i]:
                    out[at] = i
                    at += 1
            free(room)
        return order, diverse

    def ssd(self, relevance, Py_ssize_t k, double gamma, Py_ssize_t window):
        order = self.begin(relevance, k, "relevance")
        if window < 1:
            raise KernelArgumentError(f"window = {window}: 1 or more")
        cdef int64_t[::1] out = order
        cdef const float* given = <const float*>data_of(relevance)
        cdef int64_t i, many = out.shape[0], wide = max(min(<int64_t>window, many + 1) - 1, 0)
        cdef double* room = <double*>malloc((3 * self.padded + wide + 1) * sizeof(double))
        cdef float* parts = <float*>calloc((wide + 1) * (self.padded + self.dim) + 1, sizeof(float))
        if room == NULL or parts == NULL:
            free(room)
            free(parts)
            raise MemoryError(f"no memory for {many} of {self.size} candidates")
        with nogil:
            for i in range(self.padded):
                room[i] = given[i] if i < self.size else 0.0
                room[self.padded + i] = 1.0
                room[2 * self.padded + i] = room[i] + gamma
            self.slide(&out[0] if many else NULL, many, gamma, wide, room, parts)
            free(room)
            free(parts)
        return order

    def alike(self, float least):
        dropped = np.zeros(self.size, dtype=bool)
        cdef uint8_t* out = <uint8_t*>data_of(dropped)
        cdef int64_t i, j, begin
        with nogil:
            for i in range(self.size - 1):
                if out[i] or self.lacks[i]:
                    continue
                begin = i // TILE * TILE  # what stands before has been decided
                self.read(i)
                steps.products(self.tiles + begin * self.dim, self.dim, self.padded - begin, self.vector,
                               self.similar + begin)
                for j in range(i + 1, self.size):
                    out[j] |= self.similar[j] >= least and not self.lacks[j]
        return dropped

    cdef void slide(self, int64_t* out, int64_t many, double gamma, int64_t wide, double* room,
                    float* parts) noexcept nogil:
        """Take ``many``. ``wide``: how many that were taken before still count; with 0 nothing does.

        A part is how far each candidate goes along one direction of those; the last part is always zero.
        """
        cdef double* worth = room
        cdef double* rest = room + self.padded
        cdef double* value = room + 2 * self.padded
        cdef double* lengths = room + 3 * self.padded
        cdef float* directions = parts + (wide + 1) * self.padded
        cdef float* nothing = parts + wide * self.padded
        cdef float* back
        cdef double volume, length
        cdef int64_t at, i, place, chosen
        for at in range(many):
            chosen = out[at] = greatest(value, self.taken, self.size)
            self.taken[chosen] = 1
            if at + 1 == many or wide == 0:
                continue
            place = at % wide
            length = self.direct(chosen, parts, directions, min(at, wide), place)
            lengths[place] = length
            volume = gamma
            for i in range(min(at + 1, wide)):
                volume = volume * lengths[i]
            steps.products(self.tiles, self.dim, self.padded, directions + place * self.dim, self.similar)
            back = parts + place * self.padded if at >= wide else nothing
            steps.project(back, self.similar, worth, volume, self.padded, rest, value)
            memcpy(parts + place * self.padded, self.similar, self.padded * sizeof(float))

    cdef double direct(self, int64_t chosen, const float* parts, float* directions, int64_t known,
                       int64_t leaves) noexcept nogil:
        """Put at ``leaves`` the direction, of length 1, in which the chosen one goes beyond the others that count;
        returns how far it goes. Where that is nothing the direction is zero; one without a vector goes 1 in none."""
        cdef int64_t i, j
        cdef float part
        cdef double length = 0.0
        cdef float* direction = directions + leaves * self.dim
        self.read(chosen)
        for i in range(known):
            if i == leaves:
                continue
            part = parts[i * self.padded + chosen]
            for j in range(self.dim):
                self.vector[j] = self.vector[j] - part * directions[i * self.dim + j]
        for j in range(self.dim):
            length = length + <double>self.vector[j] * self.vector[j]
        length = sqrt(length)
        for j in range(self.dim):
            direction[j] = <float>(self.vector[j] / length) if length * length > SPENT else <float>0.0
        return 1.0 if self.lacks[chosen] else length
