"""What the user has met often enough lately does not come again for a while."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mixline.kernels.members import are_members
from mixline.node.components.base import Filter
from mixline.node.event_counts import category_totals, wanted_actions
from mixline.node.windows import seconds
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class FrequencyFilter(Filter, frozen=True, kw_only=True):
    """Drops what the user had at least `most` events with in the last `window`.

    - `by`: `"id"`, events with the item itself; or a category or tags column, events with items that share a value
      with it (of several tags the one with the most events).
    - `most`: so many events are enough. `window`: such as `"1d"`; it ends with the request's time.
    - `actions`: which events count; left out, all.
    - `optional`: off where the store lacks the column `by`, in place of an error.

    Events count as far back as a history goes (`history_max`). By id, sources leave out what it would drop.
    """

    commutes: ClassVar[bool] = True
    by: str = "id"
    most: int = 1
    window: str
    actions: tuple[str, ...] = ()
    optional: bool = False

    def disabled(self, epoch: Epoch) -> str:
        lacks = self.optional and self.by != "id" and self.by not in epoch.items.columns
        return f"the store has no column {self.by!r}" if lacks else ""

    def wrong(self) -> Iterator[str]:
        yield from Filter.wrong(self)
        if self.most < 1:
            yield f"most = {self.most}: must be 1 or more"
        try:
            seconds(self.window)
        except ValueError as error:
            yield f"window: {error}"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        columns = epoch.items.columns
        if self.disabled(epoch):
            return
        if self.by != "id" and (self.by not in columns or columns.kind_of(self.by) not in ("category", "tags")):
            found = [n for n in columns if columns.kind_of(n) in ("category", "tags")]
            yield f'by = {self.by!r}: give "id" or a category or tags column, of {", ".join(found) or "none"}'

    def met(self, call: Call, group: int) -> np.ndarray:
        """The items of the events that count, one for each event."""
        history = call.past(group)
        counts = wanted_actions(call, self.actions)[history.actions] != 0
        counts &= (history.times > call.now - seconds(self.window)) & (history.times <= call.now)
        return history.rows[counts]

    def excludes(self, call: Call, group: int) -> np.ndarray | None:
        return often(self.met(call, group), self.most) if self.by == "id" else None

    def drops(self, call: Call) -> np.ndarray:
        block = call.block
        dropped = np.zeros(len(block), dtype=bool)
        for group, (start, stop) in enumerate(pairwise(block.edges(call.groups))):
            met, rows = self.met(call, group), block.row[start:stop]
            if not len(met) or start == stop:
                continue
            if self.by == "id":
                dropped[start:stop] = are_members(rows, often(met, self.most))
            else:
                column = call.epoch.items.columns[self.by]
                totals = category_totals(column, met, np.ones((len(met), 1), dtype=np.int64), rows)
                dropped[start:stop] = totals[:, 0] >= self.most
        return dropped


def often(rows: np.ndarray, most: int) -> np.ndarray:
    """The rows (uint32, sorted) that stand at least ``most`` times among ``rows``."""
    found, counts = np.unique(rows, return_counts=True)
    return found[counts >= most].astype(np.uint32, copy=False)
