"""A weighted sum of columns: the plainest way to blend sources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.node.components.base import Scorer

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

    def reads(self) -> set[str]:
        return set(self.terms)

    def score(self, call: Call) -> np.ndarray:
        total = np.zeros(len(call.block), dtype=np.float64)
        for name, weight in self.terms.items():
            total += weight * np.nan_to_num(
                call.column(name).astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf
            )
        return total.astype(np.float32)


def settled(column: np.ndarray) -> np.ndarray:
    """The column in float64 with missing values at 0."""
    values = column.astype(np.float64)
    values[np.isnan(values)] = 0.0
    return values
