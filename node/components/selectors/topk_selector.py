"""The best by one column, in the written order of results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.slate import best_positions
from mixline.node.components.base import Selector, not_numbers
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class TopKSelector(Selector, frozen=True, kw_only=True):
    """Score descending, then order key ascending; non-finite scores sink.

    - `by`: the score column. `limit`: at most so many; left out, the page's limit.
    """

    by: str
    limit: int = 0

    def wrong(self) -> Iterator[str]:
        yield from Selector.wrong(self)
        if self.limit < 0:
            yield f"limit = {self.limit}: must be 1 or more, or 0 for the page's"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        return not_numbers(epoch, "by", [self.by])

    def reads(self) -> set[str]:
        return {self.by}

    def select(self, call: Call, positions: np.ndarray, limit: int) -> np.ndarray:
        return best_positions(call.numbers(self.by), call.block.key, positions, self.limit or limit)
