"""One of each: candidates that share a value count as the same thing, and the best ranked stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.node.components.base import Filter
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class DuplicateFilter(Filter, frozen=True, kw_only=True):
    """Keeps, per user, the first candidate of each value: best rank in any source, then order key.

    - `by`: a column, such as a series or a canonical id; `"id"` (the default) is met by the block itself, which holds
      an item once however many sources bring it. A missing value is nobody's duplicate.
    """

    by: str = "id"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        if self.by != "id" and self.by not in epoch.items.columns:
            yield f"by = {self.by!r}: the store has {', '.join(epoch.items.columns) or 'no columns'}"
        elif self.by != "id" and epoch.items.columns.kind_of(self.by) == "tags":
            yield f"by = {self.by!r}: tags are no single value"

    def drops(self, call: Call) -> np.ndarray:
        block = call.block
        dropped = np.zeros(len(block), dtype=bool)
        if self.by == "id":
            return dropped
        values = call.column(self.by)
        missing = call.epoch.items.columns[self.by].missing
        live = block.live
        here = values[live]
        live = live[~np.isnan(here) if here.dtype.kind == "f" else here != missing]
        order = live[np.lexsort((block.key[live], block.rank[live], values[live], block.group[live]))]
        same = (values[order][1:] == values[order][:-1]) & (block.group[order][1:] == block.group[order][:-1])
        dropped[order[1:][same]] = True
        return dropped
