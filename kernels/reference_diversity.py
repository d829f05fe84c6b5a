"""The greedy slates said slowly: NumPy twins that define what :class:`mixline.kernels.diversity.Pool` takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SPENT = 1e-6


def unit_rows(matrix: NDArray[np.float32], rows: NDArray[np.uint32], norms: NDArray[np.float32]) -> NDArray[np.float32]:
    """The candidates' vectors (n, dim) of length 1; zeros where there is none."""
    with np.errstate(all="ignore"):
        found = matrix[rows] * (np.float32(1.0) / norms[rows])[:, None]
    found[~(np.isfinite(norms[rows]) & (norms[rows] > 0))] = 0.0
    return found


def products(vectors: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each of ``vectors`` (n, dim) times ``vector``, added dimension by dimension in float32."""
    sums = np.zeros(len(vectors), dtype=np.float32)
    for at in range(len(vector)):
        sums += vectors[:, at] * vector[at]
    return sums


def greatest(values: NDArray[np.floating], taken: list[int]) -> int:
    """The first of the greatest values that is not taken."""
    left = [at for at in range(len(values)) if at not in taken]
    return max(left, key=lambda at: (values[at] if values[at] > -np.inf else -np.inf, -at))


def mmr(vectors: NDArray[np.float32], relevance: NDArray[np.float32], k: int, trade: float) -> list[int]:
    """Twin of :meth:`~mixline.kernels.diversity.Pool.mmr`."""
    share = np.float32(trade)
    worth = share * relevance
    value, closest, taken = worth, np.full(len(worth), -np.inf, dtype=np.float32), list[int]()
    while len(taken) < min(k, len(vectors)):
        taken.append(greatest(value, taken))
        closest = np.maximum(products(vectors, vectors[taken[-1]]), closest)
        value = worth - (np.float32(1.0) - share) * closest
    return taken


def dpp(vectors: NDArray[np.float32], quality: NDArray[np.float32], k: int) -> tuple[list[int], int]:
    """Twin of :meth:`~mixline.kernels.diversity.Pool.dpp`."""
    squares = quality.astype(np.float64) ** 2
    rest, factors, taken = np.ones(len(vectors)), np.zeros((0, len(vectors))), list[int]()
    while len(taken) < min(k, len(vectors)):
        chosen = greatest(squares * rest, taken)
        if not rest[chosen] > SPENT:
            break
        sums = np.zeros(len(vectors))
        for row in factors:
            sums += row * row[chosen]
        added = (products(vectors, vectors[chosen]).astype(np.float64) - sums) / np.sqrt(rest[chosen])
        factors = np.vstack([factors, added])
        rest = rest - added * added
        taken.append(chosen)
    others = [at for at in range(len(vectors)) if at not in taken]
    return (taken + others)[: min(k, len(vectors))], len(taken)


def ssd(vectors: NDArray[np.float32], relevance: NDArray[np.float32], k: int, gamma: float, window: int) -> list[int]:
    """Twin of :meth:`~mixline.kernels.diversity.Pool.ssd`."""
    worth, rest = relevance.astype(np.float64), np.ones(len(vectors))
    value, taken = worth + gamma, list[int]()
    wide = min(window, min(k, len(vectors)) + 1) - 1
    kept: dict[int, tuple[NDArray[np.float32], NDArray[np.float32], float]] = {}  # by place in the window
    while len(taken) < min(k, len(vectors)):
        chosen, place = greatest(value, taken), len(taken) % max(wide, 1)
        taken.append(chosen)
        if wide < 1:
            continue
        old = kept.pop(place, None)
        vector = vectors[chosen].copy()
        for _, (direction, part, _) in sorted(kept.items()):
            vector -= part[chosen] * direction
        length = 0.0
        for element in vector.astype(np.float64):
            length += element * element
        length = float(np.sqrt(length))
        spent = not length * length > SPENT
        direction = np.zeros_like(vector) if spent else (vector.astype(np.float64) / length).astype(np.float32)
        part = products(vectors, direction)
        kept[place] = direction, part, 1.0 if not vectors[chosen].any() else length
        volume = gamma
        for _, (_, _, reach) in sorted(kept.items()):
            volume = volume * reach
        back = np.zeros(len(vectors)) if old is None else old[1].astype(np.float64)
        rest = (rest + back * back) - part.astype(np.float64) ** 2
        value = worth + volume * np.sqrt(np.maximum(rest, 0.0))
    return taken


def alike(vectors: NDArray[np.float32], least: float) -> list[bool]:
    """Twin of :meth:`~mixline.kernels.diversity.Pool.alike`."""
    dropped: list[bool] = []
    for at, vector in enumerate(vectors):
        near = (products(vectors[:at], vector) >= np.float32(least)) & vectors[:at].any(axis=1)
        dropped.append(bool(vector.any() and any(met and not gone for met, gone in zip(near, dropped, strict=True))))
    return dropped
