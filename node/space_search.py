"""A space as one source searches it: every way that the planner may take, with the searchers that it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.graph_search import GraphSearch, rerank_count
from mixline.kernels.ivf import ListSearch
from mixline.kernels.scan import scan, scan_listed
from mixline.kernels.topk import TopK
from mixline.node.block import Candidates
from mixline.node.retrieval_plan import Index, Offer, Plan, choose
from mixline.node.scans import SLICE_BYTES, Scan
from mixline.storage.epoch import Epoch
from mixline.storage.spaces import Space

if TYPE_CHECKING:
    from mixline.node.call import Call

SLICE_HOPS = 256  # of a walk, some microseconds each: about a millisecond
PLANS_MAX = 1024  # kept: one for each number of rows that was allowed


class SpaceSearch:
    """Finds the best ``k`` of a space, in slices of about a millisecond. For one thread and one query at a time."""

    def __init__(self, epoch: Epoch, space: Space, k: int, index: Index, recall: float) -> None:
        assert space.items is not None and space.item_norms is not None
        self.space = space
        self.items, self.norms, self.all_keys = space.items, space.item_norms, epoch.items.keys
        self.keys = self.all_keys[: space.count]
        self.limit = k
        self.k = min(k, len(space.items))
        self.index, self.recall = index, recall
        self.offer = Offer(len(space.items), space.dim, space.item_codes is not None, space.indexes)
        lists, graph = space.item_lists, space.item_graph
        self.lists: ListSearch | None = None
        self.graph: GraphSearch | None = None
        if lists is not None and index in ("auto", "ivf"):
            self.lists = ListSearch(
                *lists, matrix=self.items, keys=self.keys, matrix_norms=self.norms, metric=space.metric
            )
            self.slice_lists = max(1, SLICE_BYTES * (len(lists.starts) - 1) // max(1, lists.codes.nbytes))
        if graph is not None and index in ("auto", "graph"):
            self.graph = GraphSearch(*graph, metric=space.metric)
        self._plans: dict[tuple[int, int], Plan] = {}
        self._counted: tuple[np.ndarray | None, int] = None, 0

    def plan(self, allowed: np.ndarray | None, together: int) -> Plan:
        """The way to go when the rows of this bitmap (None: all) are allowed and so many queries share a pass."""
        key = self._count(allowed), together
        found = self._plans.get(key)
        if found is None:
            if len(self._plans) >= PLANS_MAX:
                self._plans.clear()
            found = self._plans[key] = choose(self.offer, self.k, key[0], self.recall, self.index, together)
        return found

    def _count(self, allowed: np.ndarray | None) -> int:
        """How many rows are allowed; asked several times a query, and counted once."""
        if allowed is None:
            return len(self.items)
        if allowed is not self._counted[0]:
            self._counted = allowed, int(np.bitwise_count(allowed).sum())
        return self._counted[1]

    def with_vectors(self, call: Call, allowed: np.ndarray | None) -> np.ndarray | None:
        """Of the rows that are allowed (None: all) those that have a vector."""
        given = self.space.item_given
        if given is None:
            return allowed
        words = call.everything() if allowed is None else allowed.copy()
        words[: len(given)] &= given
        return words

    @property
    def shares(self) -> bool:
        """Whether requests without filters make passes that are best made together."""
        return self.plan(None, 1).way == "codes"

    def run(self, call: Call, plan: Plan, vector: np.ndarray, allowed: np.ndarray | None) -> Candidates:
        """The best k by a way that needs no shared pass."""
        call.entry.queries += 1
        if plan.exact:
            call.say("exact: float32 rows")
            return self.all(call, vector, allowed)
        degraded = len(call.degraded)
        if plan.way == "ivf":
            found = self.by_lists(call, plan, vector, allowed)
        else:
            found = self.by_graph(call, plan, vector, allowed)
        if len(call.degraded) == degraded and len(found.rows) < min(self.k, self._count(allowed)):
            call.say("too few found: float32 rows")  # what is allowed lies where nobody looked
            return self.all(call, vector, allowed)
        return found

    def by_lists(self, call: Call, plan: Plan, vector: np.ndarray, allowed: np.ndarray | None) -> Candidates:
        """The best k of the nearest lists."""
        lists = self.lists
        assert lists is not None
        call.say(f"ivf: {plan.width} lists")
        lists.begin(vector, self.k, plan.width, keep=plan.keep, allowed=allowed)
        while lists.advance(self.slice_lists):
            if call.stopped():
                call.degraded.append(f"deadline after {lists.scored} rows of the lists")
                break
        return Candidates(*lists.result())

    def by_graph(self, call: Call, plan: Plan, vector: np.ndarray, allowed: np.ndarray | None) -> Candidates:
        """The best k of what a walk comes to."""
        graph = self.graph
        assert graph is not None
        call.say(f"graph: width {plan.width}")
        graph.start(vector, plan.width, allowed=allowed)
        while not graph.run(SLICE_HOPS):
            if call.stopped():
                call.degraded.append(f"deadline after {graph.scored} rows of the walk")
                break
        return self.among(graph.rows(rerank_count(self.k)), vector)

    def finish(self, call: Call, scan: Scan) -> Candidates:
        """The best k of a pass that is over, whole or cut short by the deadline."""
        call.say("exact: int8 codes")
        if scan.whole and scan.shortlist.missed:
            scan = scan.again()
        entry = call.entry
        entry.queries += 1
        entry.scanned += 1
        if scan.shortlist.wide:
            return self.all(call, scan.vector, scan.allowed)
        if not scan.whole:
            call.degraded.append(f"deadline after {scan.reached} of {len(self.items)} rows")
        rows = scan.shortlist.rows()
        entry.certified += scan.whole and scan.shortlist.certified
        entry.wanted += self.k
        entry.kept += len(rows)
        return self.among(rows, scan.vector)

    def among(self, rows: np.ndarray, vector: np.ndarray) -> Candidates:
        """The best k out of a shortlist."""
        best = TopK(self.k)
        scan_listed(self.items, vector, best, self.keys, rows, metric=self.space.metric, norms=self.norms)
        return Candidates(*best.result())

    def all(self, call: Call, vector: np.ndarray, allowed: np.ndarray | None) -> Candidates:
        """The best k out of all float32 rows, or of those reached by the deadline."""
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
        return Candidates(*best.result())

    def late(self, call: Call, queries: list[tuple[np.ndarray, np.ndarray | None]]) -> list[Candidates]:
        """The best of what came after the build for each vector, out of those that its bitmap allows: all are scored,
        by the same kernel as the others, so that nothing tells them apart."""
        view, space = call.view, self.space
        base = space.base
        if view is None or view.items_end <= base:
            return []
        assert space.all_items is not None and space.all_norms is not None
        items, norms = space.all_items[base : view.items_end], space.all_norms[base : view.items_end]
        keys = self.all_keys[base : view.items_end]
        found = []
        for vector, allowed in queries:
            words = view.alive if allowed is None else allowed
            assert words is not None
            words = np.ascontiguousarray(words[base // 64 :])
            best = TopK(min(self.limit, len(items)))
            for start, stop in call.slices(len(items), max(1, SLICE_BYTES // (4 * space.dim))):
                scan(items, vector, best, keys, metric=space.metric, norms=norms, allowed=words, start=start, stop=stop)
            rows, scores = best.result()
            there = np.isfinite(scores)  # those without a vector in this space sank
            found.append(Candidates(rows[there] + np.uint32(base), scores[there]))
        return found

    def best_of(self, found: list[Candidates]) -> Candidates:
        """The best k by the best score of several queries, each item once."""
        if len(found) == 1:
            return found[0]
        rows = np.concatenate([one.rows for one in found])
        scores = np.concatenate([one.scores for one in found])
        order = np.lexsort((-scores, rows))
        rows, scores = rows[order], scores[order]
        first = np.ones(len(rows), dtype=bool)
        first[1:] = rows[1:] != rows[:-1]
        rows, scores = np.ascontiguousarray(rows[first]), np.ascontiguousarray(scores[first])
        best = TopK(min(self.limit, len(rows)))
        best.offer(scores, rows, self.all_keys[rows])
        return Candidates(*best.result())
