"""Sliding spectrum decomposition: every few items that a user sees at once span a large volume."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.diversity import Pool
from mixline.node.components.selectors.diverse import POOL_MAX, DiverseSelector

if TYPE_CHECKING:
    from mixline.node.call import Call


class SsdSelector(DiverseSelector, frozen=True, kw_only=True):
    """Sliding spectrum decomposition (Huang et al., KDD 2021): next comes whoever has the greatest relevance + `gamma`
    x the volume that its vector spans with those of the `window` - 1 taken last.

    - `by`: the score column; the relevance is the score stretched to 0 .. 1 over the pool.
    - `space`: whose item vectors are meant; left out, the first of the store with some.
    - `gamma`: how much a whole volume is worth; 0 is the order of the scores.
    - `window`: how many a user sees at once. What left the window may come again.
    - `pool`: so many of the best are looked at. `limit`: at most so many; left out, the page's limit.
    - `also`: sources whose candidates follow after the slate where they are not on it, for `weave` to place.

    An item without a vector is like no other; the coverage says how many there are.
    """

    gamma: float = 0.5
    window: int = 8

    def wrong(self) -> Iterator[str]:
        yield from DiverseSelector.wrong(self)
        if not (math.isfinite(self.gamma) and self.gamma >= 0):
            yield f"gamma = {self.gamma}: must be a finite number of at least 0"
        if not 1 <= self.window <= POOL_MAX:
            yield f"window = {self.window}: must lie in 1 .. {POOL_MAX}"

    def choose(self, call: Call, pool: Pool, relevance: np.ndarray, limit: int) -> np.ndarray:
        return pool.ssd(relevance.astype(np.float32), limit, self.gamma, self.window)
