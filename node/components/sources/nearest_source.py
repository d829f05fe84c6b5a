"""Nearest items of an embedding space, exactly: the scan kernel over all rows, in slices of about a millisecond."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from mixline.kernels.scan import scan
from mixline.kernels.topk import TopK
from mixline.node.block import Candidates
from mixline.node.components.base import Source
from mixline.node.components.vectors import QueryKind, find_space, query_vector, space_misfits
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

SLICE_BYTES = 8 << 20


class NearestSource(Source, frozen=True, kw_only=True):
    """Items nearest to a vector under the space's metric (dot, cosine, or l2 as minus the squared distance).

    - `space`: the embedding space; left out, the first of the store that fits.
    - `query`: `"user"` (the user's vector), `"item"` (the vector of `item`, the mean of `items`), `"recent"` (the mean
      of the user's 20 newest items), `"given"` (the request's `vector`).
    - `limit`: candidates per user.
    - `index`: `"auto"` or `"exact"`; both scan every row today.

    What `seen` drops is left out inside the scan, and so are the items asked about. At the deadline the best so far is
    returned and the source is degraded.
    """

    space: str = ""
    query: QueryKind = "user"
    index: Literal["auto", "exact"] = "auto"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        return space_misfits(epoch, self.space, self.query)

    def disabled(self, epoch: Epoch) -> str:
        return "" if find_space(epoch, self.space, self.query) else "the store has no space for it"

    def retrieve(self, call: Call, group: int) -> Candidates:
        space = find_space(call.epoch, self.space, self.query)
        assert space is not None and space.items is not None
        vector = query_vector(call, space, self.query, group)
        if vector is None:
            return Candidates.none()
        items, norms = space.items, space.item_norms
        heap = TopK(min(self.limit, len(items)))
        allowed = call.allowed(group, call.items if self.query == "item" else None)
        vector = np.ascontiguousarray(vector, dtype=np.float32)
        keys = call.epoch.items.keys
        for start, stop in call.slices(len(items), max(1, SLICE_BYTES // (4 * space.dim))):
            scan(items, vector, heap, keys, metric=space.metric, norms=norms, allowed=allowed, start=start, stop=stop)
        return Candidates(*heap.result())
