"""Sums of decision trees over the rows of a block, in the leaves and the rounding of the library that grew the trees.

Rows are taken 256 at a time. Each feature's values become codes of a byte (forest_layout.py), then every tree's splits
are gone through for 64 rows at once (forest.h): 64 leaves take 63 comparisons of a register, which is less than the six
to twelve loads and mispredicted jumps that each of the rows would make on its own way. QuickScorer (Lucchese et al.,
SIGIR 2015) also looks at all splits; its bit vectors are replaced by the number of the leaf. Trees of more than 256
leaves are walked row by row, on the same codes.
"""

import numpy as np

cimport numpy as cnp

from libc.math cimport fabs
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc

from mixline.kernels.arrays cimport data_of, is_column, length_of

from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.forest_layout import lay_out
from mixline.kernels.isa import checked, in_use

cnp.import_array()

cdef extern from "forest.h" nogil:
    ctypedef struct Split "mixline_split":
        uint32_t column
        uint8_t bound, here, there
    ctypedef struct Branch "mixline_branch":
        uint32_t column, bound
        int32_t child[2]
    ctypedef void (*sweep_fn "mixline_sweep_fn")(
        const Split* splits, int64_t count, const uint8_t* codes, int rows, uint8_t* leaves) noexcept
    sweep_fn mixline_choose_sweep(const char* isa, const char** chosen) noexcept
    void mixline_add_float(float* sums, const float** values, const uint8_t* leaves, int trees,
                           int rows) noexcept
    void mixline_add_double(double* sums, const double** values, const uint8_t* leaves, int trees,
                            int rows) noexcept
    void mixline_walk_float(float* sums, const float* values, const Branch* branches, const uint8_t* codes,
                            int rows) noexcept
    void mixline_walk_double(double* sums, const double* values, const Branch* branches, const uint8_t* codes,
                             int rows) noexcept
    void mixline_ranks(const double* bounds, int count, const double* values, int rows, uint8_t* codes) noexcept
    void mixline_outside(const uint32_t* members, const uint32_t* categories, int rows, uint8_t* codes) noexcept

cdef enum:
    ROWS = 256                  # of a block, and
    TOGETHER = 4                # trees that are added at once, as in forest.h
    ZERO_LEFT = 1
    ZERO_RIGHT = 2
    MISSING_LEFT = 3
    MISSING_RIGHT = 4
    MEMBERS = 5
    LEAVES_OF_BYTES = 256

cdef double ZERO = <double><float>1e-35     # LightGBM's kZeroThreshold: what is no farther from 0 is 0

cdef sweep_fn sweep = NULL
cdef object chosen_name = None


def choose_path(isa):
    global sweep, chosen_name
    cdef const char* name = NULL
    cdef bytes encoded = checked(isa).encode()
    sweep = mixline_choose_sweep(encoded, &name)
    chosen_name = name.decode()
    return chosen_name


def path():
    return chosen_name


choose_path(in_use())

cdef struct Feature:
    const float* single         # one of the two is NULL
    const double* exact

ctypedef fused real:
    float
    double

cdef struct Waiting:
    int32_t child
    int64_t parent              # whose right child it is, or -1


cdef int64_t order_tree(const int32_t* left, const int32_t* right, int64_t nodes, int64_t leaves,
                        Waiting* stack, int64_t* preorder, int32_t* here, int32_t* there,
                        int32_t* child, int32_t* leaf_of) noexcept nogil:
    """Number nodes in preorder and leaves from left to right; -1 when the links make no tree of just these.

    Entry i is about the i-th node in preorder, which is node ``preorder[i]`` of the file: the leftmost leaf under it
    and under its right child, and its two children (a place in preorder, or ~leaf). ``leaf_of``: the file's leaf by
    number.
    """
    cdef int64_t waiting = 1, slot, seen = 0, found = 0
    cdef int32_t at
    cdef Waiting next_one
    stack[0].child = 0 if nodes else ~0
    stack[0].parent = -1
    while waiting:
        waiting -= 1
        next_one = stack[waiting]
        at = next_one.child
        if next_one.parent >= 0:
            there[next_one.parent] = <int32_t>found
            child[2 * next_one.parent + 1] = <int32_t>seen if at >= 0 else ~<int32_t>found
        elif seen:
            child[2 * (seen - 1)] = <int32_t>seen if at >= 0 else ~<int32_t>found
        if at < 0:
            if found == leaves or ~at >= leaves:
                return -1
            leaf_of[found] = ~at
            found += 1
            continue
        if seen == nodes or at >= nodes:
            return -1
        slot = seen
        seen += 1
        preorder[slot] = at
        here[slot] = <int32_t>found
        stack[waiting].child, stack[waiting].parent = right[at], slot
        stack[waiting + 1].child, stack[waiting + 1].parent = left[at], -1
        waiting += 2
    return found if seen == nodes and found == leaves else -1


cdef class Forest:
    cdef readonly Py_ssize_t features, trees, nodes
    cdef Py_ssize_t columns
    cdef bint single
    cdef Split* splits
    cdef Branch* branches
    cdef const int32_t[::1] column_feature, column_count
    cdef const uint8_t[::1] column_kind
    cdef const int64_t[::1] column_first, places, node_starts, leaf_starts
    cdef const uint32_t[::1] words, numbers
    cdef const double[::1] bounds, values
    cdef const float[::1] single_values

    def __cinit__(self, trees):
        self.features = trees.features
        self.trees = len(trees.nodes) - 1
        self.nodes = len(trees.feature)
        self.single = trees.single
        self.check(trees)
        layout = lay_out(trees)
        self.columns = len(layout.feature)
        self.column_feature, self.column_kind = layout.feature, layout.kind
        self.column_first, self.column_count = layout.first, layout.size
        self.bounds, self.words = layout.bounds, layout.words
        self.places, self.numbers = layout.places, layout.numbers
        self.node_starts = np.ascontiguousarray(trees.nodes, dtype=np.int64)
        self.leaf_starts = np.ascontiguousarray(trees.leaves, dtype=np.int64)
        self.order(layout, trees)

    def __dealloc__(self):
        free(self.splits)
        free(self.branches)

    cdef int check(self, trees) except -1:
        """Starts that ascend over as many nodes and leaves as there are."""
        begun = ("nodes", trees.nodes, len(trees.feature)), ("leaves", trees.leaves, len(trees.values))
        for name, starts, end in begun:
            whole = len(starts) == self.trees + 1 and starts[0] == 0 and starts[self.trees] == end
            if not whole or (np.diff(starts) < 0).any():
                raise KernelArgumentError(f"{name} do not say where each of {self.trees} trees begins among {end}")
        for name in ("threshold", "left", "right", "missing", "members"):
            if len(getattr(trees, name)) != self.nodes:
                raise KernelArgumentError(f"{name} has {len(getattr(trees, name))} entries for {self.nodes} nodes")
        return 0

    cdef int order(self, layout, trees) except -1:
        """Nodes in preorder and leaf values from left to right."""
        cdef const int32_t[::1] left = np.ascontiguousarray(trees.left, dtype=np.int32)
        cdef const int32_t[::1] right = np.ascontiguousarray(trees.right, dtype=np.int32)
        cdef const uint32_t[::1] column = layout.column, bound = layout.bound
        cdef int64_t t, i, nodes, leaves, first, node
        cdef int64_t most = np.diff(trees.nodes).max(initial=1)
        cdef uint8_t[::1] stack = np.zeros((most + 2) * sizeof(Waiting), dtype=np.uint8)
        cdef int64_t[::1] preorder = np.zeros(most, dtype=np.int64)
        cdef int32_t[::1] here = np.zeros(most, dtype=np.int32), there = np.zeros(most, dtype=np.int32)
        cdef int32_t[::1] child = np.zeros(2 * most, dtype=np.int32)
        cdef int32_t[::1] leaf_of = np.zeros(len(trees.values) + 1, dtype=np.int32)
        self.splits = <Split*>calloc(max(self.nodes, 1), sizeof(Split))
        self.branches = <Branch*>calloc(max(self.nodes, 1), sizeof(Branch))
        if self.splits == NULL or self.branches == NULL:
            raise MemoryError(f"no memory for {self.nodes} nodes")
        for t in range(self.trees):
            first = self.node_starts[t]
            nodes, leaves = self.node_starts[t + 1] - first, self.leaf_starts[t + 1] - self.leaf_starts[t]
            if order_tree(&left[0] + first if nodes else NULL, &right[0] + first if nodes else NULL, nodes, leaves,
                          <Waiting*>&stack[0], &preorder[0], &here[0], &there[0], &child[0],
                          &leaf_of[self.leaf_starts[t]]) < 0:
                raise KernelArgumentError(f"tree {t}: its {nodes} nodes and {leaves} leaves do not make a tree")
            for i in range(nodes):
                node = first + preorder[i]
                self.splits[first + i].column = self.branches[first + i].column = column[node]
                self.splits[first + i].bound = <uint8_t>bound[node]
                self.branches[first + i].bound = bound[node]
                self.splits[first + i].here, self.splits[first + i].there = <uint8_t>here[i], <uint8_t>there[i]
                self.branches[first + i].child[0] = child[2 * i]
                self.branches[first + i].child[1] = child[2 * i + 1]
        starts = np.repeat(trees.leaves[:self.trees], np.diff(trees.leaves))
        values = np.asarray(trees.values, dtype=np.float64)[starts + np.asarray(leaf_of)[:len(starts)]]
        self.values = np.ascontiguousarray(values)
        self.single_values = np.ascontiguousarray(values, dtype=np.float32)
        return 0

    cdef void load(self, const Feature* feature, int64_t start, int rows, int filled, double* values) noexcept nogil:
        """Values of one feature as the library looks at them; 0 beyond the last row."""
        cdef int r
        cdef double x
        for r in range(rows):
            values[r] = <double>feature.single[start + r] if feature.single != NULL else feature.exact[start + r]
        for r in range(rows, filled):
            values[r] = 0.0
        for r in range(filled):
            x = values[r]
            if self.single:
                values[r] = <double><float>x
            else:
                values[r] = 0.0 if fabs(x) <= ZERO else x

    cdef void number(self, int64_t feature, const double* values, int rows, uint32_t* categories) noexcept nogil:
        """The number of each value's category."""
        cdef int r
        cdef double x
        cdef const uint32_t* numbers = &self.numbers[self.places[feature]]
        cdef int64_t last = self.places[feature + 1] - self.places[feature] - 1
        for r in range(rows):
            x = values[r]
            if x != x:
                categories[r] = numbers[last] + 1
            elif x < <double>last and (x >= 0.0 or (x > -1.0 and not self.single)):
                categories[r] = numbers[<int64_t>x]
            else:
                categories[r] = numbers[last]

    cdef void code(self, const Feature* features, int64_t start, int rows, int filled, uint8_t* codes) noexcept nogil:
        """All columns of codes of one block."""
        cdef double values[ROWS]
        cdef double settled[ROWS]
        cdef uint32_t categories[ROWS]
        cdef int64_t c, feature = -1, numbered = -1
        cdef uint8_t* column
        cdef int r, kind
        for c in range(self.columns):
            column, kind = codes + c * ROWS, self.column_kind[c]
            if self.column_feature[c] != feature:
                feature = self.column_feature[c]
                self.load(features + feature, start, rows, filled, values)
            if kind == MEMBERS:
                if numbered != feature:
                    numbered = feature
                    self.number(feature, values, filled, categories)
                mixline_outside(&self.words[self.column_first[c]], categories, filled, column)
                continue
            for r in range(filled):
                settled[r] = values[r] if values[r] == values[r] else 0.0
            mixline_ranks(&self.bounds[self.column_first[c]], self.column_count[c], settled, filled, column)
            if kind == MISSING_LEFT or kind == MISSING_RIGHT:
                for r in range(filled):
                    column[r] = column[r] if values[r] == values[r] else (255 if kind == MISSING_RIGHT else 0)
            elif kind == ZERO_LEFT or kind == ZERO_RIGHT:
                for r in range(filled):
                    column[r] = column[r] if fabs(values[r]) > ZERO else (255 if kind == ZERO_RIGHT else 0)

    cdef void add_block(self, const uint8_t* codes, int rows, const real* values, real* sums) noexcept nogil:
        """Add all trees to the sums of one block, in their order."""
        cdef uint8_t leaves[TOGETHER * ROWS]
        cdef const real* waiting[TOGETHER]
        cdef int many = 0
        cdef int64_t t, first, nodes
        cdef bint small
        for t in range(self.trees):
            first = self.node_starts[t]
            nodes = self.node_starts[t + 1] - first
            small = nodes < LEAVES_OF_BYTES
            if small:
                sweep(self.splits + first, nodes, codes, rows, leaves + many * ROWS)
                waiting[many] = values + self.leaf_starts[t]
                many += 1
            if many == TOGETHER or many and (not small or t == self.trees - 1):
                if real is float:
                    mixline_add_float(sums, waiting, leaves, many, rows)
                else:
                    mixline_add_double(sums, waiting, leaves, many, rows)
                many = 0
            if not small:
                if real is float:
                    mixline_walk_float(sums, values + self.leaf_starts[t], self.branches + first, codes, rows)
                else:
                    mixline_walk_double(sums, values + self.leaf_starts[t], self.branches + first, codes, rows)

    cdef void add_rows(self, const Feature* features, int64_t count, uint8_t* codes, double start,
                       double* out) noexcept nogil:
        cdef double sums[ROWS]
        cdef float single_sums[ROWS]
        cdef int64_t at = 0
        cdef int rows, filled, r
        while at < count:
            rows = <int>min(count - at, <int64_t>ROWS)
            filled = (rows + 63) // 64 * 64
            self.code(features, at, rows, filled, codes)
            if self.single:
                for r in range(rows):
                    single_sums[r] = <float>start
                self.add_block(codes, rows, &self.single_values[0], single_sums)
                for r in range(rows):
                    out[at + r] = single_sums[r]
            else:
                for r in range(rows):
                    sums[r] = start
                self.add_block(codes, rows, &self.values[0], sums)
                for r in range(rows):
                    out[at + r] = sums[r]
            at += rows

    def predict(self, columns, double start=0.0):
        cdef list given = list(columns)     # which keeps what is converted
        cdef Py_ssize_t at, count = len(given[0]) if given else 0
        cdef cnp.npy_intp[1] shape
        cdef double* out
        if len(given) != self.features or not given:
            raise KernelArgumentError(f"{len(given)} columns for a forest of {self.features} features")
        cdef Feature* features = <Feature*>calloc(self.features, sizeof(Feature))
        cdef uint8_t* codes = <uint8_t*>malloc(max(self.columns, 1) * ROWS)
        try:
            if features == NULL or codes == NULL:
                raise MemoryError(f"no memory for {self.columns} columns of codes")
            for at in range(self.features):
                column = given[at]
                if not is_column(column, cnp.NPY_FLOAT32) and not is_column(column, cnp.NPY_FLOAT64):
                    column = given[at] = np.ascontiguousarray(column, dtype=np.float64)
                if cnp.PyArray_NDIM(column) != 1 or length_of(column) != count:
                    raise KernelArgumentError(f"column {at} has shape {np.shape(column)}, the first {count} entries")
                if is_column(column, cnp.NPY_FLOAT32):
                    features[at].single = <const float*>data_of(column)
                else:
                    features[at].exact = <const double*>data_of(column)
            shape[0] = count
            sums = cnp.PyArray_SimpleNew(1, shape, cnp.NPY_FLOAT64)
            out = <double*>data_of(sums)
            if self.trees:
                with nogil:
                    self.add_rows(features, count, codes, start, out)
            else:
                sums[:] = start
        finally:
            free(features)
            free(codes)
        return sums
