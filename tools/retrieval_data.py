"""The data sets of ``mixline bench retrieval``: rows, queries that are not among them, and who is exactly nearest.

``clustered`` is made from a seed: directions around centres of uneven weight. Of one length all, so that dot, cosine
and l2 agree, and a peer that knows only distances is not at a loss. ``patches_dev`` and ``mnist`` are pixels, far from
the origin.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from mixline.tools.bench_gowalla import data_folder

CLUSTERS, NOISE, SEED = 3000, 0.6, 7  # noise: of each dimension's standard deviation between centres
PART = 100_000  # rows at once
CLOSE = 1e-5  # of a score: float32 kernels that add in another order may differ by as much


class DataSet(NamedTuple):
    """``rows`` (n, dim) and ``queries`` float32; ``key`` names them in the cache."""

    key: str
    rows: np.ndarray
    queries: np.ndarray
    metric: str


def clustered(rows: int, dim: int, queries: int) -> DataSet:
    """Directions around 3,000 centres, or one for each 20 rows where those are fewer; the heaviest has twice the
    lightest's weight."""
    rng = np.random.default_rng(SEED)
    clusters = max(1, min(CLUSTERS, rows // 20))
    centres = rng.standard_normal((clusters, dim), dtype=np.float32)
    weights = 1.0 + rng.random(clusters)
    both = []
    for count in (rows, queries):
        made = centres[rng.choice(clusters, count, p=weights / weights.sum())]
        for at in range(0, count, PART):
            part = made[at : at + PART]
            part += np.float32(NOISE) * rng.standard_normal(part.shape, dtype=np.float32)
            part /= np.linalg.norm(part, axis=1, keepdims=True)
        both.append(made)
    return DataSet(f"clustered-{rows}x{dim}", both[0], both[1], "dot")


def patches_dev(queries: int) -> DataSet:
    """480,200 × 64: patches of 8 × 8 pixels; queries come from other pictures."""
    with np.load(shared("patches_dev/patches_dev.npz"), allow_pickle=False) as file:
        windows = np.lib.stride_tricks.sliding_window_view(file["base_images"], (8, 8), axis=(1, 2))
        rows = windows[:, ::4, ::4].reshape(-1, 64).astype(np.float32)
        return DataSet("patches_dev", rows, file["query"][:queries].astype(np.float32), "l2")


def mnist(queries: int) -> DataSet:
    """60,000 × 784: pictures of digits; queries are of the test half."""
    with np.load(shared("mnist/mnist63k.npz"), allow_pickle=False) as file:
        pixels = file["x"].astype(np.float32)
    return DataSet("mnist", pixels[:60_000], pixels[60_000 : 60_000 + queries], "l2")


def shared(name: str) -> Path:
    """A file of the shared data."""
    path = data_folder() / name
    if not path.exists():
        raise click.UsageError(f"{path} is absent: set MIXLINE_DATA to the folder that holds {name}")
    return path


def load(name: str, rows: int, dim: int, queries: int) -> DataSet:
    """By name; ``rows`` and ``dim`` say how much is ``clustered``, the others are what they are."""
    if name == "clustered":
        return clustered(rows, dim, queries)
    return patches_dev(queries) if name == "patches_dev" else mnist(queries)


def score(data: DataSet, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float64: products, or minus squared distances."""
    wide = data.rows[rows].astype(np.float64)
    return wide @ query.astype(np.float64) if data.metric == "dot" else -((wide - query.astype(np.float64)) ** 2).sum(1)


class Truth:
    """Of each query the float64 score of its ``k``-th best row, among those ``allowed`` (a bool for each), or all."""

    def __init__(self, data: DataSet, k: int, allowed: np.ndarray | None) -> None:
        self.data, self.allowed = data, allowed
        among = np.arange(len(data.rows)) if allowed is None else np.flatnonzero(allowed)
        self.k = min(k, len(among))
        more = min(self.k + 32, len(among))  # float32 chooses, float64 decides
        squares = np.einsum("ij,ij->i", data.rows, data.rows)
        self.least: list[float] = []
        for query in data.queries:
            rough = data.rows @ query if data.metric == "dot" else 2.0 * (data.rows @ query) - squares
            best = among[np.argpartition(-rough[among], more - 1)[:more]]
            self.least.append(float(np.sort(score(data, query, best))[-self.k]))

    def recall(self, at: int, rows: np.ndarray) -> float:
        """The share of the best k that ``rows`` hold: any of equal rows, no disallowed ones, none twice."""
        rows = np.unique(rows[rows >= 0].astype(np.int64))
        if self.allowed is not None:
            rows = rows[self.allowed[rows]]
        bar = self.least[at]
        return (
            min(int((score(self.data, self.data.queries[at], rows) >= bar - CLOSE * abs(bar)).sum()), self.k) / self.k
        )
