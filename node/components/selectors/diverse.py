"""What the selectors of slates that are good and unlike have in common: a pool, its relevance and its vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.diversity import Pool
from mixline.kernels.slate import best_positions
from mixline.node.components.base import Selector, not_numbers
from mixline.node.components.vectors import item_space, no_item_space, space_misfits
from mixline.storage.epoch import Epoch
from mixline.storage.spaces import Space

if TYPE_CHECKING:
    from mixline.node.call import Call

POOL_MAX = 10_000


class DiverseSelector(Selector, frozen=True, kw_only=True):
    """Takes one after another out of the best ``pool`` by ``by``, looking at how alike item vectors of ``space``
    are."""

    by: str
    space: str = ""
    pool: int = 500
    limit: int = 0
    also: tuple[str, ...] = ()

    def wrong(self) -> Iterator[str]:
        yield from Selector.wrong(self)
        if not 1 <= self.pool <= POOL_MAX:
            yield f"pool = {self.pool}: must lie in 1 .. {POOL_MAX}"
        if self.limit < 0:
            yield f"limit = {self.limit}: must be 1 or more, or 0 for the page's"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        yield from not_numbers(epoch, "by", [self.by])
        yield from space_misfits(epoch, self.space, "item")

    def disabled(self, epoch: Epoch) -> str:
        return no_item_space(epoch, self.space)

    def reads(self) -> set[str]:
        return {self.by, *(f"{name}.score" for name in self.also)}

    def bind(self, epoch: Epoch) -> Space:
        return item_space(epoch, self.space)

    def way(self, bound: Space) -> str:
        return f"cosine in {bound.name}"

    def select(self, call: Call, positions: np.ndarray, limit: int) -> np.ndarray:
        space: Space = call.bound
        assert space.all_items is not None and space.all_norms is not None
        scores, offered = call.numbers(self.by), positions
        positions = best_positions(scores, call.block.key, positions, self.pool)
        pool = Pool(space.all_items, call.block.row[positions], space.all_norms)
        if pool.without:
            call.say(f"{pool.without} of {pool.size} without a vector")
        chosen = positions[self.choose(call, pool, relevance_of(scores[positions]), self.limit or limit)]
        if not self.also:
            return chosen
        brought = [~np.isnan(call.column(f"{name}.score")[offered]) for name in self.also]
        besides = np.setdiff1d(offered[np.logical_or.reduce(brought)], chosen)
        return np.concatenate((chosen, best_positions(scores, call.block.key, besides, len(besides))))

    def choose(self, call: Call, pool: Pool, relevance: np.ndarray, limit: int) -> np.ndarray:
        """Places in the pool, in the order of the slate; ``relevance`` is float64 from 0 to 1."""
        raise TypeError(f"{type(self).__name__} defines no choose(call, pool, relevance, limit)")


def relevance_of(scores: np.ndarray) -> np.ndarray:
    """Scores stretched to reach from 0 to 1 (float64); 0 where they are not finite, and everywhere when all are
    equal."""
    found = scores.astype(np.float64)
    finite = np.isfinite(found)
    if not finite.any():
        return np.zeros(len(found))
    least, most = found[finite].min(), found[finite].max()
    scale = most - least
    return np.where(finite, (found - least) / scale if 0 < scale < np.inf else 0.0, 0.0)
