"""A walk over a proximity graph said slowly: the twin of :class:`mixline.kernels.graph_search.GraphSearch`."""

from __future__ import annotations

import numpy as np

from mixline.kernels.reference import placed

FORBIDDEN_TIMES = 64


def distances(codes, factors, center, metric, query, signs=None):
    """Of all rows, float32 at every step, as the codes tell them."""
    dim = len(center) - 1
    exact = placed(query, center[:dim] if metric == "l2" else None, signs)
    scale = np.abs(exact).max() / min(16256, (2**31 - 1) // (127 * codes.shape[1]))
    coded = np.zeros(codes.shape[1], dtype=np.int64)
    if scale > 0.0:
        coded[:dim] = np.rint(exact / scale)
    times, bias = np.float32(1.0), np.float32(0.0)
    if metric == "l2":
        scale /= center[dim]
        times, bias = np.float32(min(scale, 1.0)), np.float32(1.0 / max(scale, 1.0))
    sums = (codes.astype(np.int64) @ coded).astype(np.float32)
    return -(sums * (factors[:, 0] * times) + factors[:, 1] * bias) + np.float32(0.0)


def walk(neighbours, codes, factors, entries, center, signs, metric, query, width, allowed=None):
    """The rows that a beam of ``width`` ends with, best first, and how many were expanded; ``allowed``: a mask (n,)."""
    count = len(codes)
    if not count:
        return np.empty(0, dtype=np.uint32), 0
    far = distances(codes, factors, center, metric, query, signs)
    width = limit = min(width, count)
    if allowed is None:
        allowed = np.ones(count, dtype=bool)
    else:
        limit = min(FORBIDDEN_TIMES * width, count)
    seen = set(entries.tolist())
    beam = list(seen)
    expanded: set[int] = set()
    while True:
        beam = sorted(beam, key=lambda row: (far[row], row))[:limit]
        places = np.flatnonzero(allowed[beam])
        if len(places) >= width:
            beam = beam[: places[width - 1] + 1]
        node = next((row for row in beam if row not in expanded), None)
        if node is None:
            return np.array([row for row in beam if allowed[row]], dtype=np.uint32), len(expanded)
        expanded.add(node)
        fresh = set(neighbours[node].tolist()) - seen
        seen |= fresh
        beam += fresh
