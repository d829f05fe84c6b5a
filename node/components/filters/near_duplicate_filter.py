"""Nearly the same thing once: candidates whose vectors almost coincide."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from mixline.kernels.diversity import Pool
from mixline.kernels.scan import score_rows
from mixline.node.components.base import Filter
from mixline.node.components.vectors import item_space, no_item_space, space_misfits
from mixline.storage.epoch import Epoch
from mixline.storage.spaces import Space

if TYPE_CHECKING:
    from mixline.node.call import Call

POOL_MAX = 10_000


class NearDuplicateFilter(Filter, frozen=True, kw_only=True):
    """Drops candidates whose cosine with something else is at least `least`.

    - `to`: with what: `"candidates"`, others of a better rank in their sources (of equal rank the lesser order key)
      that stay themselves; `"items"`, the items that the request is about. Left out, both, as far as there are items.
    - `space`: whose item vectors are compared; left out, the first of the store with some.
    - `pool`: so many candidates of a user, the best ranked, are compared with one another.

    An item without a vector is nobody's duplicate.
    """

    least: float = 0.95
    space: str = ""
    to: tuple[Literal["candidates", "items"], ...] = ("candidates", "items")
    pool: int = 500

    def wrong(self) -> Iterator[str]:
        yield from Filter.wrong(self)
        if not 0 < self.least <= 1:
            yield f"least = {self.least}: must lie above 0 and not above 1"
        if not 1 <= self.pool <= POOL_MAX:
            yield f"pool = {self.pool}: must lie in 1 .. {POOL_MAX}"
        if not self.to:
            yield 'to = []: name "candidates", "items" or both'

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        return space_misfits(epoch, self.space, "item")

    def disabled(self, epoch: Epoch) -> str:
        return no_item_space(epoch, self.space)

    def bind(self, epoch: Epoch) -> Space:
        return item_space(epoch, self.space)

    def drops(self, call: Call) -> np.ndarray:
        block, space = call.block, call.bound
        dropped = np.zeros(len(block), dtype=bool)
        if "items" in self.to and (call.ask.item is not None or call.ask.items is not None):
            for row in call.items.tolist():
                vector = space.all_items[row]
                if not np.isnan(vector[0]):
                    near = score_rows(space.all_items, vector, block.row, metric="cosine", norms=space.all_norms)
                    dropped |= near >= self.least
        if "candidates" in self.to:
            live = block.live
            live = live[~dropped[live]]
            edges = np.searchsorted(block.group[live], np.arange(call.groups + 1)).tolist()
            for start, stop in pairwise(edges):
                here = live[start:stop]
                here = here[np.lexsort((block.key[here], block.rank[here]))][: self.pool]
                alike = Pool(space.all_items, block.row[here], space.all_norms).alike(self.least)
                dropped[here[alike]] = True
        return dropped
