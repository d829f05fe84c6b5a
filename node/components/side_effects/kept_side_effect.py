"""The best of what a page had no room for, recorded for the source `cached`."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.slate import best_positions
from mixline.node.block import RESERVE
from mixline.node.components.base import SideEffect
from mixline.node.components.side_effects.recording import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mixline.node.call import Call

COUNT_MAX = 1000


class KeptSideEffect(SideEffect, frozen=True, kw_only=True):
    """Records the best of each user's reserve, which was ranked and not shown, as events of the action `kept`, once the
    reply was sent, for the attempt that was answered. The source `cached` brings them back.

    - `by`: the column that says which are best. `count`: so many for each user.

    The events are durable and known to all workers; they are no acts of the user, as those of `served` and `sent`, and
    a history keeps as many of them as of acts (`history_max`).
    """

    by: str
    count: int = 25

    def wrong(self) -> Iterator[str]:
        yield from SideEffect.wrong(self)
        if not 1 <= self.count <= COUNT_MAX:
            yield f"count = {self.count}: must lie in 1 .. {COUNT_MAX}"

    def reads(self) -> set[str]:
        return {self.by}

    def after(self, call: Call) -> None:
        block, scores = call.block, call.numbers(self.by)
        reserve = np.flatnonzero(block.fate == RESERVE)
        edges = np.searchsorted(block.group[reserve], np.arange(call.groups + 1)).tolist()
        for start, stop in pairwise(edges):
            best = best_positions(scores, block.key, reserve[start:stop], self.count)
            record(call, best[::-1], "kept")  # of one time the later one is the newer, and the first to come back
