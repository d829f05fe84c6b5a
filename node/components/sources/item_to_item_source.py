"""Items that people who acted on these items also acted on: a sum over precomputed co-occurrence lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from mixline.kernels.accumulate import accumulate
from mixline.kernels.bitmap import holds_rows
from mixline.kernels.topk import TopK
from mixline.node.block import Candidates
from mixline.node.components.base import Source
from mixline.storage.catalogue import NO_ROW
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

SEEDS_MAX = 1000


class ItemToItemSource(Source, frozen=True, kw_only=True):
    """Neighbours of the seed items, by summed co-occurrence weight (cosine of the two items' sets of users).

    - `query`: `"item"` (seeds are `item` or `items`) or `"recent"` (the user's newest items).
    - `seeds`: how many newest items to start from.
    - `limit`: candidates per user.

    The seeds themselves and what `seen` drops are left out.
    """

    query: Literal["item", "recent"] = "item"
    seeds: int = 20

    def wrong(self) -> Iterator[str]:
        yield from Source.wrong(self)
        if not 1 <= self.seeds <= SEEDS_MAX:
            yield f"seeds = {self.seeds}: must lie in 1 .. {SEEDS_MAX}"

    def disabled(self, epoch: Epoch) -> str:
        return "" if epoch.neighbours is not None else "the store was built without events"

    def retrieve(self, call: Call, group: int) -> Candidates:
        rows, sums = self._neighbours(call, group)
        allowed = call.allowed(group)
        if allowed is not None:
            kept = holds_rows(allowed, rows)
            rows, sums = rows[kept], sums[kept]
        heap = TopK(min(self.limit, len(rows)))
        heap.offer(sums, rows, call.epoch.items.keys[rows])
        return Candidates(*heap.result())

    def score_of(self, call: Call, group: int, row: int) -> float | None:
        rows, sums = self._neighbours(call, group)
        found = np.flatnonzero(rows == row)
        return float(sums[found[0]]) if len(found) else None

    def _neighbours(self, call: Call, group: int) -> Candidates:
        """All of them but the seeds, in no order."""
        graph = call.epoch.neighbours
        assert graph is not None
        seeds = call.items if self.query == "item" else call.recent(group, self.seeds)
        if not len(seeds):
            return Candidates.none()
        seeds = np.ascontiguousarray(seeds, dtype=np.uint32)
        asked = seeds
        if call.view is not None:
            seeds = call.view.origins(seeds)
            seeds = seeds[seeds < call.epoch.items.count]  # what came later has no lists yet
        ones = np.ones(len(seeds), dtype=np.float32)
        rows, sums = accumulate(graph.indptr, graph.indices, graph.weights, seeds, ones, call.scratch)
        now = call.present(rows)
        if now is not rows:
            there = now != NO_ROW
            rows, sums = now[there], sums[there]
        others = ~np.isin(rows, asked)
        return Candidates(rows[others], sums[others])
