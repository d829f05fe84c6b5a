"""The kernels said slowly: NumPy twins that define what each compiled kernel returns, bit for bit.

Nothing here is fast and nothing on the request path calls it; the property tests compare every kernel, on every
instruction set, with these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LANES = 32


def lane_sum(terms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum ``terms`` (n, dim) over dim in the written order: 32 strided lanes, then halving. Returns (n,) float32."""
    count, dim = terms.shape
    lanes = np.zeros((count, LANES), dtype=np.float32)
    for start in range(0, dim, LANES):
        block = terms[:, start : start + LANES]
        lanes[:, : block.shape[1]] += block
    width = LANES // 2
    while width:
        lanes = lanes[:, :width] + lanes[:, width : 2 * width]
        width //= 2
    return lanes[:, 0]


def row_scores(
    matrix: NDArray[np.float32],
    query: NDArray[np.float32],
    metric: str = "dot",
    norms: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Scores (n,) of all rows of ``matrix`` (n, dim) against ``query`` (dim,), float32 at every step."""
    with np.errstate(all="ignore"):
        if metric == "l2":
            difference = matrix - query
            return -lane_sum(difference * difference)
        sums = lane_sum(matrix * query)
        if metric == "dot":
            return sums
        assert norms is not None
        scale = np.sqrt(lane_sum((query * query)[None, :]))[0] * norms
        zero = scale == 0.0
        return np.where(zero, np.float32(0.0), sums / np.where(zero, np.float32(1.0), scale)).astype(np.float32)


def sunk(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores with NaN and both infinities at -inf, the bottom of the order."""
    return np.where(np.isfinite(scores), scores, np.float32(-np.inf))


def top_k(
    scores: NDArray[np.float32], rows: NDArray[np.uint32], keys: NDArray[np.uint64], k: int
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """The written order: score descending, order key ascending, row ascending; non-finite scores sink."""
    settled = sunk(scores)
    best = np.lexsort((rows, keys, -settled))[:k]
    return rows[best], settled[best]


def scan(
    matrix: NDArray[np.float32],
    query: NDArray[np.float32],
    k: int,
    keys: NDArray[np.uint64],
    metric: str = "dot",
    norms: NDArray[np.float32] | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """The best ``k`` rows among those ``allowed`` (n,)."""
    rows = np.arange(len(matrix), dtype=np.uint32)
    if allowed is not None:
        rows = rows[allowed]
    return top_k(row_scores(matrix, query, metric, norms)[rows], rows, keys[rows], k)


def gather(columns: Sequence[NDArray[Any]], rows: NDArray[np.uint32]) -> list[NDArray[Any]]:
    """``column[rows]`` of each column."""
    return [column[rows] for column in columns]


def accumulate(
    indptr: NDArray[np.int64],
    indices: NDArray[np.uint32],
    weights: NDArray[np.float32] | None,
    seed_rows: NDArray[np.uint32],
    seed_weights: NDArray[np.float32],
) -> dict[int, np.float32]:
    """Row -> summed weight, in the order first touched, added in float64."""
    sums: dict[int, float] = {}
    for seed, seed_weight in zip(seed_rows.tolist(), seed_weights.tolist(), strict=True):
        for position in range(indptr[seed], indptr[seed + 1]):
            row = int(indices[position])
            weight = 1.0 if weights is None else float(weights[position])
            sums[row] = sums.get(row, 0.0) + seed_weight * weight
    return {row: np.float32(total) for row, total in sums.items()}


def blend(columns, weights):
    """Twin of :func:`mixline.kernels.blend.blend`."""
    total = np.zeros(len(columns[0]), dtype=np.float64)
    for column, weight in zip(columns, weights, strict=True):
        values = column.astype(np.float64)
        total += np.where(np.isnan(values), 0.0, weight * values)
    return total.astype(np.float32)


def numbers(values, missing):
    """Twin of :func:`mixline.kernels.blend.numbers`."""
    return np.where(values == missing, np.nan, values.astype(np.float64))


def merge_parts(found, sources, keys):
    """Twin of :func:`mixline.kernels.merge.merge_parts`."""
    entries: dict[tuple[int, int], dict[int, tuple[int, np.float32]]] = {}
    for source, group, rows, scores in found:
        for rank, (row, score) in enumerate(zip(rows.tolist(), scores, strict=True)):
            entries.setdefault((group, row), {})[source] = (rank, score)  # of several the last counts
    places = sorted(entries)
    group = np.array([group for group, _ in places], dtype=np.uint32)
    row = np.array([row for _, row in places], dtype=np.uint32)
    bits = np.array([sum(1 << source for source in entries[place]) for place in places], dtype=np.uint64)
    rank = np.array([min(rank for rank, _ in entries[place].values()) for place in places], dtype=np.uint32)
    scores = np.full((sources, len(places)), np.nan, dtype=np.float32)
    for at, place in enumerate(places):
        for source, (_, score) in entries[place].items():
            scores[source, at] = score
    return group, row, keys[row], bits, rank, scores


def are_members(rows, members):
    """Twin of :func:`mixline.kernels.members.are_members`."""
    return np.isin(rows, members)


def are_tagged(rows, offsets, tags, codes):
    """Twin of :func:`mixline.kernels.members.are_tagged`."""
    return np.array(
        [bool(set(tags[offsets[row] : offsets[row + 1]]) & set(codes)) for row in rows.tolist()], dtype=bool
    )


def best_positions(scores, keys, positions, k):
    """Twin of :func:`mixline.kernels.slate.best_positions`."""
    nth = np.arange(len(positions), dtype=np.uint32)
    with np.errstate(over="ignore"):  # beyond float32: an infinity, which sinks
        offered = scores[positions].astype(np.float32)
    return positions[top_k(offered, nth, keys[positions], k)[0]]


def drop(fate, dropped, live, reason):
    """Twin of :func:`mixline.kernels.slate.drop`."""
    falling = (fate == live) & dropped
    fate[falling] = reason
    return int((fate == live).sum()), int(falling.sum())


def settle(fate, slate, live, reserve, served):
    """Twin of :func:`mixline.kernels.slate.settle`."""
    fate[fate == live] = reserve
    fate[slate] = served


def is_choice(taken, offered, count):
    """Twin of :func:`mixline.kernels.checks.is_choice`."""
    valid = {at for at in offered.tolist() if 0 <= at < count}
    return len(set(taken.tolist())) == len(taken) and set(taken.tolist()) <= valid


def arrange(kinds, flagged, wants, gap):
    """Twin of :func:`mixline.kernels.arrange.arrange`."""
    order, without_kind, too_near, last = [], 0, 0, -gap
    for at, want in enumerate(wants.tolist()[: len(kinds)]):
        left = [i for i in range(len(kinds)) if i not in order]
        fits = [i for i in left if not want or int(kinds[i]) & want]
        far = [i for i in left if at - last >= gap or not flagged[i]]
        best = ([i for i in fits if i in far] or far or fits or left)[0]
        without_kind += best not in fits
        too_near += best not in far
        last = at if flagged[best] else last
        order.append(best)
    return order, without_kind, too_near


def placed(query, center=None, signs=None):
    """Twin of :func:`mixline.kernels.frame.placed`, but for the rounding of sums: the transform as its matrix."""
    found, dim = query.astype(np.float64), len(query)
    if center is not None and len(center):
        found = found - center
    hadamard = np.ones((1, 1))
    while 2 * len(hadamard) <= dim:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    span = len(hadamard)
    for at, flips in enumerate([] if signs is None else signs):
        first = 0 if at % 2 == 0 else dim - span
        found = found * flips
        found[first : first + span] = hadamard @ found[first : first + span] / np.sqrt(span)
    return found
