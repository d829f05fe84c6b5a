"""Dense layers of a small network, for some hundred rows at once.

A row's outputs are the product of diversity.h, in which the columns of the weights are what a vector is held against:
each output adds its inputs in their order, so every instruction set gives the same bits.
"""

import numpy as np

cimport numpy as cnp

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.isa import checked, in_use

cnp.import_array()

cdef extern from "diversity.h" nogil:
    ctypedef struct Steps "mixline_diversity":
        void (*products)(
            const float* tiles, int64_t dim, int64_t padded, const float* vector, float* out) noexcept nogil
        const char* name
    const Steps* mixline_choose_diversity(const char* isa) noexcept

cdef enum:
    TILE = 64

cdef const Steps* steps = NULL


def choose_path(isa):
    global steps
    cdef bytes encoded = checked(isa).encode()
    steps = mixline_choose_diversity(encoded)
    return steps.name.decode()


def path():
    return steps.name.decode()


choose_path(in_use())


cdef class Layer:
    cdef readonly Py_ssize_t inputs, outputs
    cdef int64_t padded
    cdef float* tiles           # padded / 64 x inputs x 64
    cdef float* bias

    def __cinit__(self, const float[:, ::1] weights, const float[::1] bias):
        cdef int64_t i, j
        self.inputs, self.outputs = weights.shape[0], weights.shape[1]
        if bias.shape[0] != self.outputs:
            raise KernelArgumentError(f"{bias.shape[0]} biases for {self.outputs} outputs")
        self.padded = (self.outputs + TILE - 1) // TILE * TILE
        self.tiles = <float*>calloc(max(self.padded * self.inputs, 1), sizeof(float))
        self.bias = <float*>calloc(max(self.padded, 1), sizeof(float))
        if self.tiles == NULL or self.bias == NULL:
            raise MemoryError(f"no memory for a layer of {self.inputs} x {self.outputs}")
        for j in range(self.outputs):
            self.bias[j] = bias[j]
            for i in range(self.inputs):
                self.tiles[j // TILE * TILE * self.inputs + i * TILE + j % TILE] = weights[i, j]

    def __dealloc__(self):
        free(self.tiles)
        free(self.bias)

    def apply(self, const float[:, ::1] rows, bint rectify=False):
        cdef int64_t count = rows.shape[0], at, j
        cdef float value
        if rows.shape[1] != self.inputs:
            raise KernelArgumentError(f"rows of {rows.shape[1]} for a layer of {self.inputs} inputs")
        found = np.empty((count, self.outputs), dtype=np.float32)
        cdef float[:, ::1] out = found
        cdef float* sums = <float*>calloc(max(self.padded, 1), sizeof(float))
        if sums == NULL:
            raise MemoryError(f"no memory for {self.outputs} outputs")
        if count and self.outputs:
            with nogil:
                for at in range(count):
                    if self.inputs:
                        steps.products(self.tiles, self.inputs, self.padded, &rows[at, 0], sums)
                    for j in range(self.outputs):
                        value = sums[j] + self.bias[j]
                        out[at, j] = 0 if rectify and value < 0 else value
        free(sums)
        return found
