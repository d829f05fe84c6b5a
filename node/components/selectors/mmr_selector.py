"""Maximal marginal relevance: the best that is not like what was taken before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.diversity import Pool
from mixline.node.components.selectors.diverse import DiverseSelector

if TYPE_CHECKING:
    from mixline.node.call import Call


class MmrSelector(DiverseSelector, frozen=True, kw_only=True):
    """Maximal marginal relevance (Carbonell and Goldstein 1998): next comes whoever has the greatest `trade` x
    relevance
    - (1 - `trade`) x the greatest cosine with one taken before.

    - `by`: the score column; the relevance is the score stretched to 0 .. 1 over the pool.
    - `space`: whose item vectors are compared; left out, the first of the store with some.
    - `trade`: 1 is the order of the scores, 0 looks at likeness alone.
    - `pool`: so many of the best are looked at. `limit`: at most so many; left out, the page's limit.
    - `also`: sources whose candidates follow after the slate where they are not on it, for `weave` to place.

    An item without a vector is like no other; the coverage says how many there are. Of equals the better score comes
    first.
    """

    trade: float = 0.7

    def wrong(self) -> Iterator[str]:
        yield from DiverseSelector.wrong(self)
        if not 0 <= self.trade <= 1:
            yield f"trade = {self.trade}: must lie in 0 .. 1"

    def choose(self, call: Call, pool: Pool, relevance: np.ndarray, limit: int) -> np.ndarray:
        return pool.mmr(relevance.astype(np.float32), limit, self.trade)
