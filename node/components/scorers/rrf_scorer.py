"""Reciprocal rank fusion: ranks of several sources as one score, whatever their scores mean."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mixline.node.components.base import Scorer

if TYPE_CHECKING:
    from mixline.node.call import Call


class RrfScorer(Scorer, frozen=True, kw_only=True):
    """Sum of weight / (k + rank) over sources (Cormack, Clarke and Büttcher 2009); rank 1 is a source's best.

    - `sources`: source to weight, such as `{ text = 1.0, near = 1.0 }`. A candidate that a source did not bring has
      nothing of it.
    - `k`: the greater, the less the first places count.
    """

    sources: dict[str, float]
    k: float = 60.0

    def wrong(self) -> Iterator[str]:
        yield from Scorer.wrong(self)
        yield from weight_faults("sources", self.sources)
        if not 0 < self.k < float("inf"):
            yield f"k = {self.k}: a number above 0"

    def reads(self) -> set[str]:
        return {f"{name}.score" for name in self.sources}

    def score(self, call: Call) -> np.ndarray:
        block = call.block
        found = np.zeros(len(block), dtype=np.float64)
        for name, weight in self.sources.items():
            scores = call.numbers(f"{name}.score")
            for start, stop in pairwise(block.edges(call.groups)):
                here = np.flatnonzero(~np.isnan(scores[start:stop])) + start
                order = here[np.lexsort((block.key[here], -scores[here]))]
                found[order] += weight / (self.k + 1 + np.arange(len(order)))
        return found.astype(np.float32)


def weight_faults(key: str, weights: dict[str, float]) -> Iterator[str]:
    """Weights that are none."""
    if not weights:
        yield f"{key}: name at least one source"
    for name, weight in weights.items():
        if not 0 <= weight < float("inf"):
            yield f"{key}: {name} = {weight}: a weight is a number of at least 0"
