"""Nearest items of an embedding space: exactly, by inverted lists or by a graph, as the planner finds cheapest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.node.block import Candidates
from mixline.node.components.base import Source
from mixline.node.components.vectors import QueryKind, find_space, query_vectors, space_misfits
from mixline.node.retrieval_plan import Index, Plan
from mixline.node.scans import Scan
from mixline.node.session import Recent
from mixline.node.space_search import SpaceSearch
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class NearestSource(Source, frozen=True, kw_only=True):
    """Items nearest to a vector under the space's metric (dot, cosine, or l2 as minus the squared distance).

    - `space`: the embedding space; left out, the first of the store that fits.
    - `query`: `"user"` (the user's vector), `"item"` (the vector of `item`, the mean of `items`), `"recent"` (the
      session vector), `"given"` (the request's `vector`), `"text"` (the same, or what an `encoder` made of the
      request's `query`; without either it brings nothing).
    - `recent`: of the session vector, the mean of the newest `items` different items that the user acted on: an item
      counts half for every `half_life` that it is older than the newest, times the weight of the action in `actions`
      (`{ buy = 3.0, view = 1.0 }`; others count 1, and 0 leaves one out; of several the weightiest counts).
    - `limit`: candidates per user.
    - `index`: `"exact"` gives what a scan of all float32 rows gives, certified; `"ivf"` and `"graph"` use that index;
      `"auto"` takes what is cheapest for the query out of what the build made, and is exact where it made no index.
    - `recall`: the mean share of the true nearest that an index must find, as measured by the build; 1 is exact.

    Of several vectors (a user's or given ones) an item has the best score. What `seen` and a `predicate` on stored
    columns drop is left out inside the search, and so are the items asked about. Where few items are allowed these are
    scanned, whatever `index` says. At the deadline the best so far is returned and the source is degraded.
    """

    space: str = ""
    query: QueryKind = "user"
    recent: Recent = Recent()
    index: Index = "auto"
    recall: float = 0.99

    def wrong(self) -> Iterator[str]:
        yield from Source.wrong(self)
        yield from self.recent.faults()
        if not 0 < self.recall <= 1:
            yield f"recall = {self.recall}: must lie above 0 and not above 1"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        yield from space_misfits(epoch, self.space, self.query)
        space = find_space(epoch, self.space, self.query)
        if space is None or self.index in ("auto", "exact"):
            return
        kinds = [facts.kind for facts in space.indexes]
        if self.index not in kinds:
            yield (
                f"index = {self.index!r}: space {space.name!r} has {' and '.join(kinds) or 'no index'}; "
                f'build it with index = "{self.index}", or leave the choice to "auto"'
            )

    def disabled(self, epoch: Epoch) -> str:
        return "" if find_space(epoch, self.space, self.query) else "the store has no space for it"

    def bind(self, epoch: Epoch) -> SpaceSearch:
        space = find_space(epoch, self.space, self.query)
        assert space is not None
        return SpaceSearch(epoch, space, self.limit, self.index, self.recall)

    def way(self, bound: SpaceSearch) -> str:
        found = bound.plan(None, 1)
        how = {
            "rows": "exact: float32 rows",
            "codes": "exact: int8 codes, in passes that requests share",
            "ivf": f"ivf: {found.width} lists",
            "graph": f"graph: width {found.width}",
        }
        return f"space {bound.space.name!r}, {how[found.way]}, about {found.ns / 1000:.0f} us where nothing is filtered"

    def shares(self, bound: SpaceSearch) -> bool:
        return bound.shares

    def scans(self, call: Call, group: int) -> list[Scan]:
        search: SpaceSearch = call.bound
        vectors, allowed, plan = call.wished[group] = self._query(call, group)
        if not len(vectors):
            return []
        found = search.late_scans(call, vectors, allowed)
        target, k = search.stock.target, search.k
        if target is not None and plan.way == "codes":
            found += [Scan(target, vector, k, allowed, call.deadline_ns, call.pulse) for vector in vectors]
        return found

    def retrieve(self, call: Call, group: int) -> Candidates:
        search: SpaceSearch = call.bound
        scans = call.scans.get(group, ())
        found = [search.finish(call, scan) for scan in scans]
        built = any(scan.target is search.stock.target for scan in scans)
        late = any(scan.target is not search.stock.target for scan in scans) or search.late_stock(call) is None
        if built and late:
            return search.best_of(found)
        vectors, allowed, plan = call.wished[group] if group in call.wished else self._query(call, group)
        if not len(vectors):
            return Candidates.none()
        if not late:
            found += search.late(call, vectors, allowed)
        if not built:
            found += self._run(call, vectors, allowed, plan)
        return search.best_of(found)

    def score_of(self, call: Call, group: int, row: int) -> float | None:
        search: SpaceSearch = call.bound
        scores = [search.score(vector, row) for vector in self._query(call, group)[0]]
        return max((one for one in scores if one == one), default=None)

    def _run(self, call: Call, vectors: np.ndarray, allowed: np.ndarray | None, plan: Plan) -> list[Candidates]:
        """The best of the build's items for each vector, by a way that needs no pass."""
        search: SpaceSearch = call.bound
        found: list[Candidates] = []
        for vector in vectors:
            if found and call.stopped():
                call.degraded.append(f"deadline after {len(found)} of {len(vectors)} vectors")
                break
            found.append(search.run(call, plan, vector, allowed))
        return found

    def _query(self, call: Call, group: int) -> tuple[np.ndarray, np.ndarray | None, Plan]:
        """Vectors to ask with, the bitmap of what may be found, and the way."""
        search: SpaceSearch = call.bound
        vectors = query_vectors(call, search.space, self.query, group, self.recent)
        allowed = call.allowed(group, call.items if self.query == "item" else None)
        allowed = search.with_vectors(call, allowed)
        return vectors, allowed, search.plan(allowed, call.groups * len(vectors))
