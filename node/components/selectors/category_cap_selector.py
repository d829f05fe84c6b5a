"""No more than so many of one category on a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.slate import best_positions
from mixline.node.components.base import Selector, not_numbers
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class CategoryCapSelector(Selector, frozen=True, kw_only=True):
    """Walks the order and takes at most `max` of each value of `column`; what is left out stays in reserve.

    - `window`: at most `max` among any so many places that follow one another, in place of the whole page; who is too
      near waits for the next place where it may stand.
    - `column`: a category, bool, i64 or tags column; of tags the first counts; left out, the build's `creator`, and
      without one nothing is capped. Missing values are not capped.
    - `soft`: where fewer than the page wants are left, those that were too many follow in their order, and the coverage
      says how many.
    - `limit`: take so many, for the selectors after it to choose from; left out, the page's limit.
    - `by`: the score to order by; left out, the order in which the selector before it left them.
    """

    column: str = ""
    max: int
    window: int = 0
    soft: bool = False
    limit: int = 0
    by: str = ""

    def wrong(self) -> Iterator[str]:
        yield from Selector.wrong(self)
        if self.limit < 0:
            yield f"limit = {self.limit}: must be 1 or more, or 0 for the page's"
        if self.max < 1:
            yield f"max = {self.max}: must be 1 or more"
        if self.window and self.window <= self.max:
            yield f"window = {self.window}: must be greater than max, or left out"

    def disabled(self, epoch: Epoch) -> str:
        return "" if self.column or epoch.creator else "the build names no creator"

    def bind(self, epoch: Epoch) -> str:
        return self.column or epoch.creator or ""

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        found = epoch.items.columns.get(self.column)
        if not self.column:
            pass
        elif found is None or found.kind == "f32":
            yield f"column = {self.column!r}: the store has {', '.join(epoch.items.columns) or 'no columns'}"
        yield from not_numbers(epoch, "by", [self.by])

    def reads(self) -> set[str]:
        return {self.by} if self.by else set()

    def select(self, call: Call, positions: np.ndarray, limit: int) -> np.ndarray:
        if self.by:
            positions = best_positions(call.numbers(self.by), call.block.key, positions, len(positions))
        values, present = self.values(call, positions)
        if self.window:
            places = spread(values.tolist(), present.tolist(), self.max, self.window, self.limit or limit)
            chosen = np.array(places, dtype=np.int64)
        else:
            among = np.flatnonzero(present)
            order = among[np.argsort(values[among], kind="stable")]
            starts = np.flatnonzero(np.r_[True, values[order][1:] != values[order][:-1]]) if len(order) else order
            nth = np.zeros(len(positions), dtype=np.int64)  # among its value's; what has none is never too many
            nth[order] = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
            chosen = np.flatnonzero(nth < self.max)[: self.limit or limit]
        missing = min(limit, len(positions)) - len(chosen)
        if self.soft and missing > 0:
            call.say(f"{missing} too many of one value")
            chosen = np.concatenate((chosen, np.setdiff1d(np.arange(len(positions)), chosen)[:missing]))
        return positions[chosen]

    def values(self, call: Call, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The value that counts for each position, and whether it has one."""
        column = call.epoch.items.columns[call.bound]
        if column.offsets is None:
            values = call.column(call.bound)[positions]
            return values, values != column.missing
        rows = call.block.row[positions].astype(np.int64)
        starts, present = column.offsets[rows].astype(np.int64), column.offsets[rows] < column.offsets[rows + 1]
        values = np.zeros(len(rows), dtype=np.uint32)
        values[present] = column.values[starts[present]]
        return values, present


def spread(values: list, present: list[bool], most: int, window: int, count: int) -> list[int]:
    """Up to ``count`` places in the order, at most ``most`` of one value among any ``window`` that follow one another.

    Each place takes the first that is left and may stand there; where none may, the page ends.
    """
    order: list[int] = []
    last: dict[object, list[int]] = {}
    waiting = list(range(len(values)))
    while len(order) < count:
        for candidate in waiting:
            places = last.setdefault(values[candidate], [])
            if not present[candidate] or len(places) < most or places[-most] <= len(order) - window:
                break
        else:
            break
        places.append(len(order))
        order.append(candidate)
        waiting.remove(candidate)
    return order
