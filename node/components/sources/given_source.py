"""The candidates that the request itself brings, to be filtered, scored and ordered here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixline.node.block import Candidates
from mixline.node.components.base import Source
from mixline.storage.catalogue import NO_ROW

if TYPE_CHECKING:
    from mixline.node.call import Call


class GivenSource(Source, frozen=True, kw_only=True):
    """The request's `candidates`, in their order; the score is 1 / (1 + position).

    Ids that the store does not know are left out, and the source says how many. `limit` bounds how many are taken. Only
    where more are given, those that filters such as `seen` would drop anyhow make room for others: any other candidate
    stays to be told why it was dropped.
    """

    limit: int = 1000

    def retrieve(self, call: Call, group: int) -> Candidates:
        given = call.ask.candidates
        if not given:
            return Candidates.none()
        if call.view is None:
            rows = call.epoch.items.rows_of(given)
        else:
            rows = call.view.versions(call.epoch.items, call.view.rows_of(call.epoch.items, given))
        known = rows != NO_ROW
        if not known.all():
            call.degraded.append(f"{int((~known).sum())} of {len(rows)} given ids are unknown")
        _, first = np.unique(rows[known], return_index=True)
        rows = rows[known][np.sort(first)]
        if len(rows) > self.limit:
            rows = call.let_in(group, rows)[: self.limit]
        return Candidates(rows, (1.0 / np.arange(1, len(rows) + 1)).astype(np.float32))
