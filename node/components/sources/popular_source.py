"""What most people act on now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.bitmap import holds_rows
from mixline.node.block import Candidates
from mixline.node.components.base import Source
from mixline.node.components.popularity import Popularity
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class PopularSource(Source, frozen=True, kw_only=True):
    """The most popular items; the score is the decayed count as a share of the greatest, above 0 and at most 1.

    - `limit`: candidates per user. What `seen` drops is left out before the limit.

    Events count as they come, in steps of a 64th of all since the build: the first 128 one by one.
    """

    def disabled(self, epoch: Epoch) -> str:
        return "" if epoch.manifest.events is not None else "the store was built without events"

    def bind(self, epoch: Epoch) -> Popularity:
        return Popularity(epoch)

    def score_of(self, call: Call, group: int, row: int) -> float | None:
        rows, scores, top = call.bound.listed(call)
        found = np.flatnonzero(rows == row)
        return float(np.float32(scores[found[0]] / top)) if len(found) else None

    def retrieve(self, call: Call, group: int) -> Candidates:
        rows, scores, top = call.bound.listed(call)
        if not len(rows):
            return Candidates.none()
        allowed = call.allowed(group)
        if allowed is None:
            kept = slice(0, self.limit)
            rows, scores = rows[kept], scores[kept] / top
        else:
            positions = np.flatnonzero(holds_rows(allowed, rows))[: self.limit]
            rows, scores = rows[positions], scores[positions] / top
        return Candidates(np.ascontiguousarray(rows), scores.astype(np.float32, copy=False))
