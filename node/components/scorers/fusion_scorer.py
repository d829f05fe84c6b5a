"""Weighted fusion: scores of several sources brought to one scale and added."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mixline.node.components.base import Scorer
from mixline.node.components.scorers.rrf_scorer import weight_faults

if TYPE_CHECKING:
    from mixline.node.call import Call


class FusionScorer(Scorer, frozen=True, kw_only=True):
    """Sum of weight x score, each source's scores brought to 0 .. 1: its worst candidate has 0, its best 1.

    - `sources`: source to weight, such as `{ text = 0.6, near = 0.4 }`. A candidate that a source did not bring has 0
      of it; where all of a source's scores are equal they are 1.
    """

    sources: dict[str, float]

    def wrong(self) -> Iterator[str]:
        yield from Scorer.wrong(self)
        yield from weight_faults("sources", self.sources)

    def reads(self) -> set[str]:
        return {f"{name}.score" for name in self.sources}

    def score(self, call: Call) -> np.ndarray:
        block = call.block
        found = np.zeros(len(block), dtype=np.float64)
        for name, weight in self.sources.items():
            scores = call.numbers(f"{name}.score").astype(np.float64)
            for start, stop in pairwise(block.edges(call.groups)):
                here = np.flatnonzero(np.isfinite(scores[start:stop])) + start
                if len(here):
                    low, high = scores[here].min(), scores[here].max()
                    share = (scores[here] - low) / (high - low) if high > low else np.ones(len(here))
                    found[here] += weight * share
        return found.astype(np.float32)
