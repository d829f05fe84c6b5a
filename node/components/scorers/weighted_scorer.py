"""A weighted sum of columns: the plainest way to blend sources."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.blend import blend
from mixline.node.components.base import Scorer, not_numbers
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class WeightedScorer(Scorer, frozen=True, kw_only=True):
    """Sum of weight x column, added in float64 in the order of the file; a missing value counts as 0.

    - `terms`: column to weight. Columns are source scores (`<name>.score`), earlier scorers, item columns.
    """

    terms: dict[str, float]

    def wrong(self) -> Iterator[str]:
        yield from Scorer.wrong(self)
        if not self.terms:
            yield "terms: name at least one column"
        for name, weight in self.terms.items():
            if not math.isfinite(weight):
                yield f"terms: {name} = {weight}: a weight is a finite number"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        return not_numbers(epoch, "terms", self.terms)

    def reads(self) -> set[str]:
        return set(self.terms)

    def score(self, call: Call) -> np.ndarray:
        weights = np.fromiter(self.terms.values(), dtype=np.float64)
        total = blend([floating(call.numbers(name)) for name in self.terms], weights)
        with np.errstate(over="ignore"):  # a sum beyond float32 is an infinity, and sinks
            return total.astype(np.float32)


def floating(values: np.ndarray) -> np.ndarray:
    """As the kernel takes it."""
    if values.dtype == np.float32 and values.flags.c_contiguous:
        return values
    return np.ascontiguousarray(values, dtype=np.float32 if values.dtype == np.float32 else np.float64)
