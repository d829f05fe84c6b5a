"""A determinantal point process: the slate that spans the greatest volume, weighed by relevance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.diversity import Pool
from mixline.node.components.selectors.diverse import DiverseSelector

if TYPE_CHECKING:
    from mixline.node.call import Call

TRADE_MAX = 0.97  # exp(trade / (1 - trade)) and its square stay within float32 and float64


class DppSelector(DiverseSelector, frozen=True, kw_only=True):
    """Greedy MAP of a determinantal point process (Chen, Zhang and Zhou 2018): next comes whoever adds most to `trade`
    x relevance + (1 - `trade`) x the logarithm of the volume that the item vectors span.

    - `by`: the score column; the relevance is the score stretched to 0 .. 1 over the pool.
    - `space`: whose item vectors are meant; left out, the first of the store with some.
    - `trade`: 0 looks at the volume alone; at most 0.97.
    - `pool`: so many of the best are looked at. `limit`: at most so many; left out, the page's limit.
    - `also`: sources whose candidates follow after the slate where they are not on it, for `weave` to place.

    A slate spans no more directions than the space has dimensions: once none is left the others follow by score, and
    the coverage says how many. An item without a vector is a direction of its own; the coverage says how many there
    are.
    """

    trade: float = 0.5

    def wrong(self) -> Iterator[str]:
        yield from DiverseSelector.wrong(self)
        if not 0 <= self.trade <= TRADE_MAX:
            yield f"trade = {self.trade}: must lie in 0 .. {TRADE_MAX}"

    def choose(self, call: Call, pool: Pool, relevance: np.ndarray, limit: int) -> np.ndarray:
        quality = np.exp(relevance * (self.trade / (2 * (1 - self.trade))))
        order, diverse = pool.dpp(quality.astype(np.float32), limit)
        if diverse < len(order):
            call.say(f"{len(order) - diverse} by score: no direction was left")
        return order
