"""Nearest items of an embedding space, exactly: int8 codes, then float32 rows, in slices of about a millisecond."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from mixline.kernels.scan import scan, scan_listed
from mixline.kernels.topk import TopK
from mixline.node.block import Candidates
from mixline.node.components.base import Source
from mixline.node.components.vectors import QueryKind, find_space, query_vector, space_misfits
from mixline.node.scans import SLICE_BYTES, Scan
from mixline.storage.epoch import Epoch
from mixline.storage.spaces import Space

if TYPE_CHECKING:
    from mixline.node.call import Call

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

    def bind(self, epoch: Epoch) -> Search:
        space = find_space(epoch, self.space, self.query)
        assert space is not None and space.items is not None
        k = min(self.limit, len(space.items))
        return Search(space, space.items, space.item_norms, epoch.items.keys, k)

    def scan(self, call: Call, group: int) -> Scan | None:
        search: Search = call.bound
        vector = self._vector(call, group)
        if vector is None or not search.coded:
            return None
        return Scan(search.space, vector, search.k, self._allowed(call, group), call.deadline_ns, call.pulse)

    def retrieve(self, call: Call, group: int) -> Candidates:
        search: Search = call.bound
        scan = call.scans.get(group)
        if scan is not None and scan.whole and scan.shortlist.missed:
            scan = scan.again()
        if scan is not None and not scan.shortlist.wide:
            if not scan.whole:
                call.degraded.append(f"deadline after {scan.reached} of {len(search.items)} rows")
            return Candidates(*search.among(scan.shortlist.rows(), scan.vector))
        vector = self._vector(call, group) if scan is None else scan.vector
        if vector is None:
            return Candidates.none()
        return Candidates(*search.all(call, vector, self._allowed(call, group)))

    def _vector(self, call: Call, group: int) -> np.ndarray | None:
        vector = query_vector(call, call.bound.space, self.query, group)
        return None if vector is None else np.ascontiguousarray(vector, dtype=np.float32)

    def _allowed(self, call: Call, group: int) -> np.ndarray | None:
        return call.allowed(group, call.items if self.query == "item" else None)


class Search(NamedTuple):
    """A space as this source searches it."""

    space: Space
    items: np.ndarray
    norms: np.ndarray | None
    keys: np.ndarray
    k: int

    @property
    def coded(self) -> bool:
        """Whether a look at the codes first pays."""
        return 0 < self.k * CODES_PAY <= len(self.items) and self.space.item_codes is not None

    def among(self, rows: np.ndarray, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of the best k out of a shortlist."""
        best = TopK(self.k)
        scan_listed(self.items, vector, best, self.keys, rows, metric=self.space.metric, norms=self.norms)
        return best.result()

    def all(self, call: Call, vector: np.ndarray, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of the best k out of all float32 rows, or of those reached by the deadline."""
        best = TopK(self.k)
        for start, stop in call.slices(len(self.items), max(1, SLICE_BYTES // (4 * self.space.dim))):
            scan(
                self.items,
                vector,
                best,
                self.keys,
                metric=self.space.metric,
                norms=self.norms,
                allowed=allowed,
                start=start,
                stop=stop,
            )
        return best.result()
