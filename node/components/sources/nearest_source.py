"""Nearest items of an embedding space, exactly: int8 codes, then float32 rows, in slices of about a millisecond."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from mixline.kernels.scan import scan, scan_listed
from mixline.kernels.shortlist import Shortlist
from mixline.kernels.topk import TopK
from mixline.node.block import Candidates
from mixline.node.components.base import Source
from mixline.node.components.vectors import QueryKind, find_space, query_vector, space_misfits
from mixline.storage.codes import BLOCK_ROWS
from mixline.storage.epoch import Epoch
from mixline.storage.spaces import Space

if TYPE_CHECKING:
    from mixline.node.call import Call

SLICE_BYTES = 8 << 20
CODES_PAY = 8  # rows per candidate from which a scan of the codes and a second look pay


class NearestSource(Source, frozen=True, kw_only=True):
    """Items nearest to a vector under the space's metric (dot, cosine, or l2 as minus the squared distance).

    - `space`: the embedding space; left out, the first of the store that fits.
    - `query`: `"user"` (the user's vector), `"item"` (the vector of `item`, the mean of `items`), `"recent"` (the mean
      of the user's 20 newest items), `"given"` (the request's `vector`).
    - `limit`: candidates per user.
    - `index`: `"auto"` or `"exact"`; both look at every row today, first at its int8 codes, and give what float32 rows
      alone would.

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
        allowed = call.allowed(group, call.items if self.query == "item" else None)
        vector = np.ascontiguousarray(vector, dtype=np.float32)
        return Candidates(*nearest(call, space, vector, min(self.limit, call.epoch.items.count), allowed))


def nearest(
    call: Call, space: Space, vector: np.ndarray, k: int, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and scores of the best ``k``: over the codes where they help, and in any case the bits of the float rows."""
    items, keys, norms = space.items, call.epoch.items.keys, space.item_norms
    assert items is not None
    best = TopK(k)
    codes = space.item_codes if 0 < k * CODES_PAY <= len(items) else None
    if codes is not None:
        shortlist = Shortlist(vector, k, metric=space.metric)
        step = max(1, SLICE_BYTES // codes.codes[0].nbytes) * BLOCK_ROWS
        for start, stop in call.slices(len(items), step):
            blocks = start // BLOCK_ROWS, -(-stop // BLOCK_ROWS)
            shortlist.scan(*codes, len(items), norms=norms, allowed=allowed, start=blocks[0], stop=blocks[1])
        if not shortlist.wide:
            scan_listed(items, vector, best, keys, shortlist.rows(), metric=space.metric, norms=norms)
            return best.result()
    for start, stop in call.slices(len(items), max(1, SLICE_BYTES // (4 * space.dim))):
        scan(items, vector, best, keys, metric=space.metric, norms=norms, allowed=allowed, start=start, stop=stop)
    return best.result()
