"""What was ranked for the user before and found no room on the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.node.block import Candidates
from mixline.node.components.base import Source
from mixline.node.components.newest import by_place
from mixline.node.event_counts import wanted_actions
from mixline.node.windows import seconds

if TYPE_CHECKING:
    from mixline.node.call import Call

KEPT = ("kept",)


class CachedSource(Source, frozen=True, kw_only=True):
    """The user's own reserve of earlier pages, as the side effect `kept` recorded it: the latest page's first, the best
    of each first; the score is 1 / (1 + place). An item comes once.

    - `window`: how long a reserve is good for, such as `"1d"`; it ends with the request's time.
    - `limit`: candidates per user. What is gone, and what `seen`, `served`, `blocked` and other filters drop, is left
      out before the limit.

    It knows what the node's store knows, so any worker brings it, after restarts and folds too; a reserve is there some
    milliseconds after its reply.
    """

    window: str = "1d"

    def wrong(self) -> Iterator[str]:
        yield from Source.wrong(self)
        try:
            seconds(self.window)
        except ValueError as error:
            yield f"window: {error}"

    def retrieve(self, call: Call, group: int) -> Candidates:
        rows = call.let_in(group, self._kept(call, group))[: self.limit]
        return Candidates(rows, by_place(len(rows)))

    def score_of(self, call: Call, group: int, row: int) -> float | None:
        at = np.flatnonzero(self._kept(call, group) == row)
        return float(np.float32(1.0 / (1 + at[0]))) if len(at) else None

    def _kept(self, call: Call, group: int) -> np.ndarray:
        """Rows (uint32), each once, the latest first."""
        past = call.past(group)
        there = wanted_actions(call, KEPT)[past.actions] != 0
        there &= (past.times > call.now - seconds(self.window)) & (past.times <= call.now)
        rows = past.rows[there]
        _, first = np.unique(rows, return_index=True)
        return np.ascontiguousarray(rows[np.sort(first)])
