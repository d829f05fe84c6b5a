"""What is new, whoever asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.node.block import Candidates
from mixline.node.components.base import Source
from mixline.node.components.newest import DEPTH_MAX, Newest, by_place, time_misfits
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class LatestSource(Source, frozen=True, kw_only=True):
    """The newest items; the score is 1 / (1 + place).

    - `column`: when an item came, an i64 or f32 column, as seconds since 1970 or anything else that grows. An item
      whose value lies beyond the request's time is still to come; one without a value never comes. Left out, the order
      in which items came: of the file, and then of living data.
    - `depth`: so many of the newest are kept at hand; where filters let fewer than `limit` of them in, the page has
      fewer.
    - `limit`: candidates per user.
    """

    column: str = ""
    depth: int = 10_000

    def wrong(self) -> Iterator[str]:
        yield from Source.wrong(self)
        if not self.limit <= self.depth <= DEPTH_MAX:
            yield f"depth = {self.depth}: must lie in limit .. {DEPTH_MAX}"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        return time_misfits(epoch, "column", self.column)

    def bind(self, epoch: Epoch) -> Newest:
        return Newest(epoch, self.column, self.depth)

    def score_of(self, call: Call, group: int, row: int) -> float | None:
        at = np.flatnonzero(call.bound.rows(call) == row)
        return float(np.float32(1.0 / (1 + at[0]))) if len(at) else None

    def retrieve(self, call: Call, group: int) -> Candidates:
        rows = call.let_in(group, call.bound.rows(call))[: self.limit]
        return Candidates(rows, by_place(len(rows)))
