"""Sources that go from items to items: from those the request is about, or from what the user acted on last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from mixline.kernels.bitmap import holds_rows
from mixline.kernels.topk import TopK
from mixline.node.block import Candidates
from mixline.node.components.base import Source

if TYPE_CHECKING:
    from mixline.node.call import Call

SEEDS_MAX = 1000


class SeededSource(Source, frozen=True, kw_only=True):
    """Takes the best ``limit`` of what :meth:`reached` comes to; the seeds themselves are left out."""

    query: Literal["item", "recent"] = "item"
    seeds: int = 20

    def wrong(self) -> Iterator[str]:
        yield from Source.wrong(self)
        if not 1 <= self.seeds <= SEEDS_MAX:
            yield f"seeds = {self.seeds}: must lie in 1 .. {SEEDS_MAX}"

    def reached(self, call: Call, group: int, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows (uint32) of the epoch's items in no order, and their scores (float32), from ``seeds``, rows of it too;
        there may be none."""
        raise TypeError(f"{type(self).__name__} defines no reached(call, group, seeds)")

    def retrieve(self, call: Call, group: int) -> Candidates:
        rows, scores = self.found(call, group)
        allowed = call.allowed(group)
        if allowed is not None:
            kept = holds_rows(allowed, rows)
            rows, scores = rows[kept], scores[kept]
        heap = TopK(min(self.limit, len(rows)))
        heap.offer(scores, rows, call.epoch.items.keys[rows])
        return Candidates(*heap.result())

    def score_of(self, call: Call, group: int, row: int) -> float | None:
        rows, scores = self.found(call, group)
        at = np.flatnonzero(rows == row)
        return float(scores[at[0]]) if len(at) else None

    def found(self, call: Call, group: int) -> Candidates:
        """All that is reached but the seeds, as it now is, in no order."""
        asked = call.items if self.query == "item" else call.recent(group, self.seeds)
        seeds = np.ascontiguousarray(asked, dtype=np.uint32)
        if call.view is not None:
            seeds = call.view.origins(seeds)
            seeds = seeds[seeds < call.epoch.items.count]  # what came later leads nowhere yet
        if not len(seeds):
            return Candidates.none()
        rows, scores = call.standing(*self.reached(call, group, seeds))
        others = ~np.isin(rows, asked)
        return Candidates(rows[others], scores[others])
