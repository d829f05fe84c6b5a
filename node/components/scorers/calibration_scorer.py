"""Scores made probabilities, by what was measured about them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mixline.node.components.base import Scorer, not_numbers
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class CalibrationScorer(Scorer, frozen=True, kw_only=True):
    """A score as the probability that it turned out to mean.

    - `of`: the column to calibrate.
    - `points`: `[[score, probability], ...]`, scores rising: between two points a straight line, beyond the ends the
      end's probability. Isotonic regression gives such points.
    - `slope`, `intercept`: in place of points, Platt's 1 / (1 + exp(-(slope x score + intercept))).

    No score stays none.
    """

    of: str
    points: list[tuple[float, float]] = []
    slope: float = 0.0
    intercept: float = 0.0

    def wrong(self) -> Iterator[str]:
        yield from Scorer.wrong(self)
        if bool(self.points) == bool(self.slope):
            yield "points, slope: give one of them"
        if any(not math.isfinite(number) for point in self.points for number in point):
            yield "points: every number must be finite"
        if any(not left[0] < right[0] for left, right in pairwise(self.points)):
            yield "points: scores must rise from point to point"
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept)):
            yield "slope, intercept: must be finite"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        return not_numbers(epoch, "of", [self.of])

    def reads(self) -> set[str]:
        return {self.of}

    def score(self, call: Call) -> np.ndarray:
        scores = call.numbers(self.of).astype(np.float64)
        if not self.points:
            # exp by the C library, one by one: NumPy's own has other last bits where registers are wider
            raw = (self.slope * scores + self.intercept).tolist()
            return np.array([logistic(one) for one in raw], dtype=np.float32)
        at, to = np.array(self.points).T
        found = np.interp(scores, at, to)
        found[np.isnan(scores)] = np.nan
        return found.astype(np.float32)


def logistic(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    grown = math.exp(x) if x == x else x
    return grown / (1.0 + grown)
