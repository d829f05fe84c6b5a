"""A weighted sum of columns: the plainest way to blend sources."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mixline.kernels.blend import blend, floats
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

    def bind(self, epoch: Epoch) -> tuple[list[str], np.ndarray]:
        return list(self.terms), np.fromiter(self.terms.values(), dtype=np.float64)

    def parts(self, call: Call, values: dict[str, Any]) -> dict[str, float]:
        return {name: weight * (values.get(name) or 0.0) for name, weight in self.terms.items()}

    def score(self, call: Call) -> np.ndarray:
        names, weights = call.bound
        columns = floats(call.block.columns, names)
        return blend(columns if columns is not None else [call.numbers(name) for name in names], weights)
