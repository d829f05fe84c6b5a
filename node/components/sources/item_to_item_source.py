"""Items that people who acted on these items also acted on: a sum over precomputed co-occurrence lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.accumulate import accumulate
from mixline.node.components.sources.seeded import SeededSource
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class ItemToItemSource(SeededSource, frozen=True, kw_only=True):
    """Neighbours of the seed items, by summed co-occurrence weight (cosine of the two items' sets of users).

    - `query`: `"item"` (seeds are `item` or `items`) or `"recent"` (the user's newest items).
    - `seeds`: how many newest items to start from.
    - `limit`: candidates per user.

    The seeds themselves and what `seen` drops are left out.
    """

    def disabled(self, epoch: Epoch) -> str:
        return "" if epoch.neighbours is not None else "the store was built without events"

    def reached(self, call: Call, group: int, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        graph = call.epoch.neighbours
        assert graph is not None
        ones = np.ones(len(seeds), dtype=np.float32)
        return accumulate(graph.indptr, graph.indices, graph.weights, seeds, ones, call.scratch)
