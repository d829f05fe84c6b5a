"""How popular each candidate is, whoever brought it, on one scale for all stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixline.node.components.base import Hydrator
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class PopularityHydrator(Hydrator, frozen=True, kw_only=True):
    """The column `<name>`: the logarithm of 1 + an item's decayed count of events, as a share of the greatest, 0 to 1.

    Items that came since the build have 0. In a store without events the column is missing everywhere.
    """

    def writes(self) -> set[str]:
        return {self.name}

    def disabled(self, epoch: Epoch) -> str:
        return "" if "popularity" in epoch.items.columns else "the store was built without events"

    def bind(self, epoch: Epoch) -> float:
        _, scores = epoch.popularity
        return float(np.log1p(scores[0])) if len(scores) and scores[0] > 0 else 1.0

    def hydrate(self, call: Call) -> None:
        counts = call.epoch.items.columns["popularity"].values[call.block.row]
        logs = np.log1p(np.maximum(np.nan_to_num(counts), 0.0))
        call.block.columns[self.name] = np.minimum(logs / call.bound, 1.0).astype(np.float32)
