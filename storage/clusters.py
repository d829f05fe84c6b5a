"""K-means (Lloyd 1982) over the rows of a matrix: the centroids that inverted lists are made around.

Trained on a sample, with the products of coded rows and centroids, which are whole numbers; sums are taken in the order
of the rows. So the same rows give the same centroids, whatever the instruction set and the number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mixline.storage.codes import encode
from mixline.storage.middles import add_up

ROUNDS = 4  # further ones change nothing that a search would notice
SAMPLED = 48  # rows per centroid
DRAWS = 4  # of beginnings: each further one goes where rows lie far from all centroids so far
FARTHEST = -1e38  # as an offset; beyond it float32 ends
PART = 1 << 14  # rows that a thread takes at once

Assign = Callable[..., None]
"""(rows, codes, scales, offsets, out, units=) as of ``kernels/cluster.pyx``."""


def threads() -> int:
    """As many as this process may use cores."""
    return len(os.sched_getaffinity(0))


def nearest(assign: Assign, rows: np.ndarray, centroids: np.ndarray, units: np.ndarray | None = None) -> np.ndarray:
    """Which of ``centroids`` (many, dim) is nearest to each of ``rows`` (n, dim) times ``units`` (n,): uint32 (n,).

    Float32 all. By all cores, each row by itself.
    """
    found = np.empty(len(rows), dtype=np.uint32)
    among = coded(centroids)

    def part(at: int) -> None:
        here = slice(at, at + PART)
        assign(rows[here], *among, found[here], units=None if units is None else units[here])

    with ThreadPoolExecutor(threads()) as pool:
        for _ in pool.map(part, range(0, len(rows), PART)):
            pass
    return found


def coded(centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, scales and offsets, so that the greatest product plus offset is the nearest centroid."""
    codes = encode(centroids, "l2")
    offsets = np.full(len(codes.scales), -np.inf, dtype=np.float32)
    offsets[: len(centroids)] = np.maximum(-0.5 * (centroids.astype(np.float64) ** 2).sum(axis=1), FARTHEST)
    return codes.codes, codes.scales, offsets


def train(
    assign: Assign, rows: np.ndarray, many: int, seed: int, *, unit: bool, center: np.ndarray | None = None
) -> np.ndarray:
    """``many`` centroids of ``rows``, float32 (many, dim), less ``center`` where that is not empty; with ``unit`` of
    their directions, and directions."""
    rng = np.random.default_rng(seed)
    sample = rows[np.sort(rng.choice(len(rows), min(len(rows), SAMPLED * many), replace=False, shuffle=False))]
    sample = np.ascontiguousarray(sample, dtype=np.float32)
    if center is not None and len(center):
        sample = sample - center
    if unit:
        sample = directions(sample)
    centroids = beginning(assign, sample, many, rng)
    for _ in range(ROUNDS):
        centroids = means(sample, nearest(assign, sample, centroids), centroids)
        if unit:
            centroids = directions(centroids)
    return centroids


def beginning(assign: Assign, sample: np.ndarray, many: int, rng: np.random.Generator) -> np.ndarray:
    """``many`` rows of the sample, drawn in DRAWS parts: any, then by squared distance to those before.

    As k-means|| (Bahmani and others 2012), without its weighting at the end. Rows drawn at random leave out one in
    seven of half as many clusters, and lists of several clusters cost recall that width buys back dearly.
    """
    centroids = sample[:0]
    chance = np.full(len(sample), 1.0)
    while len(centroids) < many:
        more = min(-(-many // DRAWS), many - len(centroids))
        chance += 1e-12 * chance.max() + 1e-300  # rows that lie on centroids come last
        drawn = rng.choice(len(sample), more, replace=False, p=chance / chance.sum())
        centroids = np.concatenate([centroids, sample[np.sort(drawn)]])
        if len(centroids) < many:
            apart = np.subtract(sample, centroids[nearest(assign, sample, centroids)], dtype=np.float64)
            chance = (apart**2).sum(axis=1)
            chance[drawn] = 0.0
    return centroids


def directions(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; those of length 0 stay."""
    lengths = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    return (rows / np.where(lengths == 0.0, 1.0, lengths)).astype(np.float32)


def means(rows: np.ndarray, found: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The middle of the rows of each centroid, summed in their order; who has none takes a row of a full one."""
    sums, counts = np.zeros(before.shape), np.zeros(len(before), dtype=np.int64)
    add_up(sums, counts, rows, found)
    after = np.where(counts[:, None], sums / np.maximum(counts, 1)[:, None], before).astype(np.float32)
    fullest = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts > 1)]
    for empty, full in zip(np.flatnonzero(counts == 0), fullest, strict=False):
        after[empty] = rows[np.flatnonzero(found == full)[counts[full] // 2]]
    return after
