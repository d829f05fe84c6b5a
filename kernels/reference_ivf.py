"""Inverted lists said slowly: NumPy twins of ``cluster`` and ``ivf``, as ``reference.py`` has them of the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixline.kernels.reference import placed

QUERY_MOST, MOST, SUM_MAX = 16256, 127, 0x7FFFFFFF
SPREAD = 2.0
NO_SPREADS = np.zeros(0, dtype=np.float32)


def code_vector(values: NDArray[np.floating], unit: float = 1.0) -> tuple[NDArray[np.int64], float]:
    """15-bit codes of ``unit`` x ``values`` (dim,) and their scale, with the rounding of ``kernels/codes.pyx``."""
    width = 4 * -(-len(values) // 4)
    scale = float(np.abs(values).max()) * unit / min(QUERY_MOST, SUM_MAX // (MOST * width))
    to_code = unit / scale if scale > 0.0 else 0.0
    return np.rint(values.astype(np.float64) * to_code).astype(np.int64), scale


def products(codes: NDArray[np.int8], coded: NDArray[np.int64]) -> NDArray[np.float32]:
    """Whole products (16 x blocks,) of the rows of ``codes`` (blocks, quads, 16, 4) with a coded vector."""
    blocks, quads = codes.shape[:2]
    rows = codes.transpose(0, 2, 1, 3).reshape(16 * blocks, 4 * quads)[:, : len(coded)]
    return (rows.astype(np.int64) @ coded).astype(np.float32)


def assign(rows, codes, scales, offsets, units=None):
    """Twin of :func:`mixline.kernels.cluster.assign`; returns what that puts into ``out``."""
    found = np.zeros(len(rows), dtype=np.uint32)
    for at, row in enumerate(rows):
        coded, scale = code_vector(row, 1.0 if units is None else float(units[at]))
        found[at] = np.argmax(products(codes, coded) * (scales * np.float32(scale)) + offsets)
    return found


def nearest_lists(centroids, centroid_scales, centroid_norms, center, query, metric, width, spreads=NO_SPREADS):
    """The lists that a :class:`mixline.kernels.ivf.ListSearch` goes over, in its order: equal ones by number."""
    query = placed(query, center)
    length = np.sqrt((query**2).sum())
    coded, scale = code_vector(query, 1.0 / length if metric == "cosine" and length > 0 else 1.0)
    scores = (products(centroids, coded) * (centroid_scales * np.float32(scale)))[: len(centroid_norms)]
    if metric == "l2":
        scores = (2.0 * scores.astype(np.float64) - centroid_norms.astype(np.float64) ** 2).astype(np.float32)
    if len(spreads):
        scores = scores + spreads * np.float32(SPREAD * length)
    return np.lexsort((np.arange(len(scores)), -scores))[:width]


def rows_of(lists, starts, rows):
    """The rows that lie in these lists, in the order in which they are met."""
    places = [rows[16 * starts[one] : 16 * starts[one + 1]] for one in lists]
    met = np.concatenate([np.empty(0, dtype=np.uint32), *places])
    return met[met != 0xFFFFFFFF]
