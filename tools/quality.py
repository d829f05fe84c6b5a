"""How good pages are against what users really chose: the usual measures of a ranked list, with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 1000
CHUNK = 1 << 22  # numbers of resampled users at a time


class Measure(NamedTuple):
    """A mean over users, and the middle 95 % of what resampled users give; the same twice where it is no mean."""

    value: float
    low: float
    high: float


def gains(pages: Sequence[np.ndarray], truths: Sequence[np.ndarray], k: int) -> dict[str, np.ndarray]:
    """By name a number (float64) for each user, of the first ``k`` item rows of a page against distinct rows.

    ``recall``: hits / chosen. ``precision``: hits / k. ``ndcg``: binary gains 1 / log2(1 + place) over what the best
    order of min(chosen, k) hits would give (Järvelin and Kekäläinen 2002). ``mrr``: 1 / the first hit's place. ``hit``:
    whether there is one.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    best = np.cumsum(discount)
    found = np.zeros((5, len(pages)))
    for at, (page, chosen) in enumerate(zip(pages, truths, strict=True)):
        hits = np.isin(page[:k], chosen)
        count = int(hits.sum())
        if count and len(chosen):
            ideal = best[min(len(chosen), k) - 1]
            found[:, at] = count / len(chosen), count / k, discount[: len(hits)][hits].sum() / ideal, 0, 1
            found[3, at] = 1 / (1 + int(hits.argmax()))
    return dict(zip(("recall", "precision", "ndcg", "mrr", "hit"), found, strict=True))


def mean_of(values: np.ndarray, seed: int = 0) -> Measure:
    """The mean with its 95 % interval by the percentile bootstrap over users (Efron and Tibshirani 1993)."""
    if not len(values):
        return Measure(float("nan"), float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    step, means = max(1, CHUNK // len(values)), []
    for start in range(0, RESAMPLES, step):
        some = min(step, RESAMPLES - start)
        means.append(values[rng.integers(0, len(values), (some, len(values)))].mean(axis=1))
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return Measure(float(values.mean()), float(low), float(high))


def coverage(pages: Sequence[np.ndarray], k: int, items: int) -> float:
    """The part of all items that stands on any page."""
    shown = np.unique(np.concatenate([np.zeros(0, np.uint32), *(page[:k] for page in pages)]))
    return len(shown) / max(items, 1)


def diversity(pages: Sequence[np.ndarray], k: int, matrix: np.ndarray) -> np.ndarray:
    """For each page with two items or more 1 - the mean cosine of its pairs, in the vectors of ``matrix`` (n, dim)."""
    found = []
    for page in pages:
        vectors = matrix[page[:k]].astype(np.float64)
        lengths = np.linalg.norm(vectors, axis=1)
        vectors = vectors[np.isfinite(lengths) & (lengths > 0)]
        if len(vectors) < 2:
            continue
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        total = float(np.square(unit.sum(axis=0)).sum())
        found.append(1 - (total - len(unit)) / (len(unit) * (len(unit) - 1)))
    return np.array(found)
