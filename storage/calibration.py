"""How wide an approximate index must search for a wanted recall, found at build with queries that it does not hold.

Each width of a ladder gets the mean recall and the mean number of rows scored. These are counts and no times, so that
the same input gives the same manifest on every machine. A found row counts when its score reaches the exact k-th best:
which of several equal rows an index finds is no fault of it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mixline.storage.manifest import IndexFacts

QUERIES = 200  # of 100 results each: a recall of .99 is known to about .001
RESULTS = (100, 500)  # what is measured: a page's pool of candidates, and a large one
POOLS = (2000, 10_000)  # the best 100 of rows that a filter lets through lie among so many of all: lists alone
ROWS_PER_RESULT = 20  # at least, for any but the first: of fewer rows so many are found by a scan
ENOUGH = 0.9995  # of recall; nobody who wants more should ask an approximate index
STEP = math.sqrt(2.0)
NOISE = 0.1  # of each dimension's standard deviation
SAMPLE = 1 << 16  # rows that the standard deviation is taken of
LEAST_MISS = 1e-5
# By which power of k the width must grow, beyond the k of the calibration: a graph's width is a list of candidates; the
# lists of an IVF hold many rows each.
GROWTH = {"ivf": 0.5, "graph": 1.0}

Search = Callable[[np.ndarray, int], tuple[np.ndarray, int]]
"""(query, width) -> scores of what was found, best first, and how many rows were scored."""
Exact = Callable[[np.ndarray, np.ndarray, int, str, np.ndarray], np.ndarray]
"""(matrix, query, k, metric, norms) -> scores of the exact best k, best first."""


def held_out(items: np.ndarray, users: np.ndarray | None, seed: int) -> np.ndarray:
    """Up to QUERIES queries, float32: rows of ``users``, or of ``items`` a little moved, since none would flatter."""
    rng = np.random.default_rng(seed)
    source = items if users is None or not len(users) else users
    chosen = np.sort(rng.choice(len(source), min(QUERIES, len(source)), replace=False))
    queries = np.array(source[chosen], dtype=np.float32)
    if source is items:
        spread = items[:: max(1, len(items) // SAMPLE)].std(axis=0, dtype=np.float64)
        queries += (NOISE * spread * rng.standard_normal(queries.shape)).astype(np.float32)
    return queries


def results_for(count: int, pools: tuple[int, ...] = ()) -> list[int]:
    """Each k that an index of so many rows is measured at, rising."""
    return [min(RESULTS[0], count), *(k for k in (*RESULTS[1:], *pools) if count >= k * ROWS_PER_RESULT)]


def exact_scores(
    exact: Exact, items: np.ndarray, queries: np.ndarray, metric: str, norms: np.ndarray, k: int
) -> list[np.ndarray]:
    """Of each query the scores of its exact best ``k`` rows; the first of them are those of a smaller ``k``."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(lambda query: exact(items, query, k, metric, norms), queries))


def ladder(least: int, most: int) -> Iterator[int]:
    """Widths from ``least`` to ``most``, both among them, each about STEP times the one before."""
    width = float(least)
    last = 0
    while round(width) < most:
        if round(width) > last:
            last = round(width)
            yield last
        width *= STEP
    yield most


def calibrate(
    search: Search, queries: np.ndarray, truth: list[np.ndarray], widths: Iterable[int]
) -> tuple[tuple[int, float, float], ...]:
    """(width, recall, rows scored) of rising ``widths``, up to the first with a recall of ENOUGH.

    ``truth``: what :func:`exact_scores` gave. A width that finds no more than a smaller one is left out.
    """
    points: list[tuple[int, float, float]] = []
    wanted = sum(len(one) for one in truth)
    for width in widths:
        found = scored = 0
        for query, best in zip(queries, truth, strict=True):
            scores, rows = search(query, width)
            found += min(int((scores >= best[-1]).sum()), len(best))
            scored += rows
        recall = found / wanted
        if not points or recall > points[-1][1]:
            points.append((width, round(recall, 6), round(scored / len(queries), 1)))
        if recall >= ENOUGH:
            break
    return tuple(points)


def width_for(facts: IndexFacts, recall: float, k: int) -> int | None:
    """The least width that reaches ``recall`` at ``k``; None when none that was tried does.

    Between two points width and the share of missed rows are taken to change by powers of each other.
    """
    grown = max(1.0, k / facts.k) ** GROWTH[facts.kind]
    before: tuple[int, float] | None = None
    for width, reached, _ in facts.points:
        if reached >= recall:
            between = float(width)
            if before is not None and before[1] < recall:
                low, high, wanted = (math.log(max(1.0 - one, LEAST_MISS)) for one in (before[1], reached, recall))
                share = (low - wanted) / (low - high) if low > high else 1.0
                between = before[0] * (width / before[0]) ** share
            return math.ceil(round(between * grown, 6))
        before = width, reached
    return None
