"""Items in the order of a time that they carry, the newest first: of the build, and of what came later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.bitmap import holds_rows
from mixline.storage.columns import Column
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call
    from mixline.storage.live_view import LiveView

CHUNK = 1 << 20
DEPTH_MAX = 10_000_000
LATE_KEPT = 4  # times the depth: a request of an earlier state than the latest still finds what was newest then
NO_ROWS = np.zeros(0, dtype=np.uint32)


class Newest:
    """The ``depth`` newest items by ``column``, of equal ones the lesser order key first; those without a value are no
    part of it. Without a column the newest are those that came last: of the files, and then of all since.

    One for a component in a process: what came later is merged in once, as it is met.
    """

    def __init__(self, epoch: Epoch, column: str, depth: int) -> None:
        self.column: Column | None = epoch.items.columns[column] if column else None
        self.depth, self._items = depth, epoch.items
        self._built = NO_ROWS
        for start in range(0, epoch.items.count, CHUNK):
            self._built = self._merged(self._built, start, min(start + CHUNK, epoch.items.count))[:depth]
        self._late, self._end = NO_ROWS, epoch.items.base
        self._all, self._state = self._built, (0, 0)

    def rows(self, call: Call) -> np.ndarray:
        """Rows (uint32), newest first, of items that are not gone and whose time has come."""
        found = (
            self._built if call.view is None or call.view.alive is None else self._present(call.view, call.items_end)
        )
        if self.column is None or not len(found) or self.column.values[found[0]] <= call.now:
            return found
        return found[int(np.searchsorted(-self.column.values[found], -call.now)) :]

    def _present(self, view: LiveView, end: int) -> np.ndarray:
        """What the build has and what came before row ``end``, without what is gone."""
        assert view.alive is not None
        if end > self._end:
            self._late = self._merged(self._late, self._end, end)
            self._end = end
            if len(self._late) > LATE_KEPT * self.depth:  # versions of one item must not fill it
                self._late = self._late[holds_rows(view.alive, self._late)][: LATE_KEPT * self.depth]
        state = end, view.state.deaths
        if state != self._state:
            late = self._late if end == self._end else self._late[self._late < end]
            every = np.concatenate((self._built, late))
            self._all, self._state = self._ordered(every[holds_rows(view.alive, every)])[: self.depth], state
        return self._all

    def _merged(self, rows: np.ndarray, start: int, stop: int) -> np.ndarray:
        """``rows`` and those of ``start`` .. ``stop`` that have a value, in order."""
        if self.column is None:
            return self._ordered(np.concatenate((rows, np.arange(start, stop, dtype=np.uint32))))
        values = self.column.values[start:stop]
        given = ~np.isnan(values) if values.dtype.kind == "f" else values != self.column.missing
        return self._ordered(np.concatenate((rows, (np.flatnonzero(given) + start).astype(np.uint32))))

    def _ordered(self, rows: np.ndarray) -> np.ndarray:
        if self.column is None:
            return np.ascontiguousarray(np.sort(rows)[::-1])
        values = self.column.values[rows]
        if len(rows) > 2 * self.depth:  # no sorting of what cannot be among them; equals of the last one can
            most = -np.partition(-values, self.depth - 1)[self.depth - 1]
            kept = values >= most
            rows, values = rows[kept], values[kept]
        return rows[np.lexsort((self._items.keys[rows], -values))]


def time_misfits(epoch: Epoch, key: str, name: str) -> Iterator[str]:
    """What is wrong with a column that is to say when; none is right too."""
    if name and (name not in epoch.items.columns or epoch.items.columns.kind_of(name) not in ("i64", "f32")):
        found = [n for n in epoch.items.columns if epoch.items.columns.kind_of(n) in ("i64", "f32")]
        yield f"{key} = {name!r}: no column of numbers; the store has {', '.join(found) or 'none'}"


def by_place(count: int) -> np.ndarray:
    """Scores (float32) of a list that has no others: 1 / (1 + place)."""
    return (1.0 / np.arange(1, count + 1)).astype(np.float32)
