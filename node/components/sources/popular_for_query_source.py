"""What people acted on who asked the same before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.bitmap import holds_rows
from mixline.node.block import Candidates
from mixline.node.components.acted import ActedFor
from mixline.node.components.base import Source
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class PopularForQuerySource(Source, frozen=True, kw_only=True):
    """Items that those acted on who asked the request's `query`; the score is the share of the greatest count.

    - `limit`: candidates per user. What `seen` and other filters drop is left out before the limit.

    These are the build's, from `[text] queries` where `queries_item` names the column of items, and those of events
    that were recorded with a query since, each counting 1; case, accents and points of a query do not matter. For a
    query that nobody asked, or fewer different users than `[text] queries_users` says (3), it brings nothing.
    """

    def disabled(self, epoch: Epoch) -> str:
        return "" if epoch.text is not None else "the store was built without text columns"

    def bind(self, epoch: Epoch) -> ActedFor:
        return ActedFor(epoch)

    def way(self, bound: ActedFor) -> str:
        return f"{len(bound)} past queries of the build"

    def retrieve(self, call: Call, group: int) -> Candidates:
        rows, shares = self._listed(call)
        allowed = call.allowed(group)
        kept = np.arange(len(rows)) if allowed is None else np.flatnonzero(holds_rows(allowed, rows))
        kept = kept[: self.limit]
        return Candidates(np.ascontiguousarray(rows[kept]), shares[kept])

    def score_of(self, call: Call, group: int, row: int) -> float | None:
        rows, shares = self._listed(call)
        found = np.flatnonzero(rows == row)
        return float(shares[found[0]]) if len(found) else None

    def _listed(self, call: Call) -> tuple[np.ndarray, np.ndarray]:
        """Rows as the request's state has them, and their shares (float32)."""
        acted: ActedFor = call.bound
        rows, counts = acted.of(call)
        return rows, counts / counts[:1] if len(counts) else counts
