"""The forest said slowly: each row walks each tree, by the rules that :class:`~mixline.kernels.forest_layout.Trees`
has."""

from __future__ import annotations

import math

import numpy as np

from mixline.kernels.forest_layout import MISSING_IS_ZERO, MISSING_LEFT, ZERO_LEFT, ZERO_RIGHT, Trees

ZERO = float(np.float32(1e-35))  # LightGBM's: what is no farther from 0 is 0


def goes_left(trees: Trees, node: int, x: float) -> bool:
    """Which way a value goes at a node."""
    missing = trees.missing[node]
    if trees.members[node] >= 0:
        if math.isnan(x):
            return missing == MISSING_LEFT
        among = trees.members[node]
        if not math.isfinite(x) or (x < 0 if trees.single else x <= -1):
            return False
        return int(x) in trees.categories[trees.sets[among] : trees.sets[among + 1]]
    if math.isnan(x) and missing == MISSING_IS_ZERO:
        x = 0.0
    if math.isnan(x) or (missing in (ZERO_LEFT, ZERO_RIGHT) and abs(x) <= ZERO):
        return missing in (ZERO_LEFT, MISSING_LEFT)
    return x <= trees.threshold[node]


def predict(trees: Trees, columns: list[np.ndarray], start: float = 0.0) -> np.ndarray:
    """Twin of :meth:`mixline.kernels.forest.Forest.predict`."""
    real = np.float32 if trees.single else np.float64
    sums = np.full(len(columns[0]), start, dtype=real)
    for row in range(len(sums)):
        with np.errstate(over="ignore"):
            values = [float(real(column[row])) for column in columns]
        if not trees.single:
            values = [0.0 if abs(x) <= ZERO else x for x in values]
        for first, leaves, end in zip(trees.nodes, trees.leaves, trees.nodes[1:], strict=False):
            at = 0 if end > first else ~0
            while at >= 0:
                node = first + at
                at = int((trees.left if goes_left(trees, node, values[trees.feature[node]]) else trees.right)[node])
            sums[row] += real(trees.values[leaves + ~at])
    return sums.astype(np.float64)
