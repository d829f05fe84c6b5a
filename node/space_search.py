"""A space as one source searches it: every way that the planner may take, with the searchers that it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mixline.kernels.graph_search import GraphSearch, rerank_count
from mixline.kernels.ivf import ListSearch
from mixline.kernels.scan import scan, scan_listed
from mixline.kernels.topk import TopK
from mixline.node.block import Candidates
from mixline.node.retrieval_plan import Index, Offer, Plan, choose, exact_plan
from mixline.node.scans import SLICE_BYTES, Scan, Target
from mixline.storage.epoch import Epoch
from mixline.storage.live_view import LiveView
from mixline.storage.spaces import Space

if TYPE_CHECKING:
    from mixline.node.call import Call

SLICE_HOPS = 256  # of a walk, some microseconds each: about a millisecond
APART = 0.5  # of the allowed rows that lists hold whatever a filter means; fewer, and it goes against the query
PLANS_MAX = 1024  # kept: one for each number of rows that was allowed


class Stock(NamedTuple):
    """Rows of a space that are searched in one go: those of the build, or those that came later.

    ``first``: the number of the first in its catalogue; ``target``: their codes, None where they have none or, of what
    came later, where they do not pay.
    """

    items: np.ndarray
    norms: np.ndarray
    keys: np.ndarray
    metric: str
    first: int
    target: Target | None

    def among(self, rows: np.ndarray, vector: np.ndarray, k: int) -> Candidates:
        """The best ``k`` out of a shortlist."""
        best = TopK(k)
        scan_listed(self.items, vector, best, self.keys, rows, metric=self.metric, norms=self.norms)
        return self.result(best)

    def all(self, call: Call, vector: np.ndarray, k: int, allowed: np.ndarray | None) -> Candidates:
        """The best ``k`` out of all float32 rows, or of those reached by the deadline."""
        best = TopK(k)
        for start, stop in call.slices(len(self.items), max(1, SLICE_BYTES // (4 * self.items.shape[1]))):
            scan(
                self.items,
                vector,
                best,
                self.keys,
                metric=self.metric,
                norms=self.norms,
                allowed=allowed,
                start=start,
                stop=stop,
            )
        return self.result(best)

    def result(self, best: TopK) -> Candidates:
        """As rows of the catalogue; those without a vector in this space sank, and are left out."""
        rows, scores = best.result()
        if not self.first:
            return Candidates(rows, scores)
        there = np.isfinite(scores)
        return Candidates(rows[there] + np.uint32(self.first), scores[there])


class SpaceSearch:
    """Finds the best ``k`` of a space, in slices of about a millisecond. For one thread and one query at a time."""

    def __init__(self, epoch: Epoch, space: Space, k: int, index: Index, recall: float) -> None:
        assert space.items is not None and space.item_norms is not None
        self.space = space
        self.all_keys = epoch.items.keys
        codes = space.item_codes
        target = None if codes is None else Target(codes, space.count, space.code_norms, space.metric, space.frame)
        keys = self.all_keys[: space.count]
        self.stock = Stock(space.items, space.item_norms, keys, space.metric, 0, target)
        self.limit = k
        self.k = min(k, len(space.items))
        self.index, self.recall = index, recall
        self.offer = Offer(len(space.items), space.dim, space.item_codes is not None, space.indexes)
        lists, graph = space.item_lists, space.item_graph
        self.lists: ListSearch | None = None
        self.knows_lists = lists is not None and bool(len(lists.lists_of))
        self.graph: GraphSearch | None = None
        if lists is not None and index in ("auto", "ivf"):
            self.lists = ListSearch(
                *lists, matrix=space.items, keys=keys, matrix_norms=space.item_norms, metric=space.metric
            )
            self.slice_lists = max(1, SLICE_BYTES * (len(lists.starts) - 1) // max(1, lists.codes.nbytes))
        if graph is not None and index in ("auto", "graph"):
            self.graph = GraphSearch(*graph, metric=space.metric)
        self._plans: dict[tuple[int, int], Plan] = {}
        self._counted: tuple[np.ndarray | None, int] = None, 0
        self._late: tuple[LiveView, Stock] | None = None

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
            return len(self.stock.items)
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
            return self.stock.all(call, vector, self.k, allowed)
        degraded = len(call.degraded)
        if plan.way == "ivf":
            found = self.by_lists(call, plan, vector, allowed)
        else:
            found = self.by_graph(call, plan, vector, allowed)
        short = len(found.rows) < min(self.k, self._count(allowed))
        apart = plan.left and self.lists is not None and self.lists.sifted < APART * plan.left
        if len(call.degraded) == degraded and (short or apart):
            call.say("too few found: float32 rows")  # what is allowed lies where nobody looked
            return self.stock.all(call, vector, self.k, allowed)
        return found

    def by_lists(self, call: Call, plan: Plan, vector: np.ndarray, allowed: np.ndarray | None) -> Candidates:
        """The best k of the nearest lists."""
        lists = self.lists
        assert lists is not None
        by = plan.by if plan.by != "rows" or self.knows_lists else "places"
        call.say(f"ivf: {plan.width} lists" + ("" if by == "codes" else f", by {by}"))
        lists.begin(vector, self.k, plan.width, keep=plan.keep, allowed=allowed, by=by)
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
        return self.stock.among(graph.rows(rerank_count(self.k)), vector, self.k)

    def finish(self, call: Call, scan: Scan) -> Candidates:
        """The best k of a pass that is over, whole or cut short by the deadline."""
        stock = self.stock_of(call, scan)
        if stock is self.stock:
            call.say("exact: int8 codes")
        if scan.whole and scan.shortlist.missed:
            scan = scan.again()
        k, entry = scan.shortlist.k, call.entry
        entry.queries += 1
        entry.scanned += 1
        if scan.shortlist.wide:
            return stock.all(call, scan.vector, k, scan.allowed)
        if not scan.whole:
            call.degraded.append(f"deadline after {scan.reached} of {len(stock.items)} rows")
        rows = scan.shortlist.rows()
        entry.certified += scan.whole and scan.shortlist.certified
        entry.wanted += k
        entry.kept += len(rows)
        return stock.among(rows, scan.vector, k)

    def stock_of(self, call: Call, scan: Scan) -> Stock:
        """The rows that a scan went over."""
        if scan.target is self.stock.target:
            return self.stock
        late = self.late_stock(call)
        assert late is not None
        return late

    def late_stock(self, call: Call) -> Stock | None:
        """What came after the build, None where nothing did."""
        view, space, base = call.view, self.space, self.space.base
        if view is None or view.items_end <= base:
            return None
        if self._late is None or self._late[0] is not view:
            assert space.all_items is not None and space.all_norms is not None
            here = slice(base, view.items_end)
            coded = view.late_rows(space)
            target = None
            if coded is not None and self.codes_pay(coded.rows):
                target = Target(coded.codes, coded.rows, coded.norms, space.metric, space.frame)
            stock = Stock(space.all_items[here], space.all_norms[here], self.all_keys[here], space.metric, base, target)
            self._late = view, stock
        return self._late[1]

    def codes_pay(self, rows: int) -> bool:
        """Whether a scan of the codes of so many rows, and a second look, is the cheaper of the two exact ways."""
        return exact_plan(Offer(rows, self.space.dim, True), min(self.limit, rows), rows, 1).way == "codes"

    def late_allowed(self, call: Call, allowed: np.ndarray | None) -> np.ndarray:
        """The bitmap of what came after the build and is allowed."""
        view, first = call.view, self.space.base // 64
        assert view is not None and view.alive is not None
        coded = view.late_rows(self.space)
        if coded is None:
            return np.ascontiguousarray((view.alive if allowed is None else allowed)[first:])
        return coded.alive if allowed is None else allowed[first:] & coded.given

    def late_scans(self, call: Call, vectors: np.ndarray, allowed: np.ndarray | None) -> list[Scan]:
        """Scans of what came after the build, where its codes pay."""
        stock = self.late_stock(call)
        if stock is None or stock.target is None:
            return []
        words, k = self.late_allowed(call, allowed), min(self.limit, stock.target.rows)
        return [Scan(stock.target, vector, k, words, call.deadline_ns, call.pulse) for vector in vectors]

    def late(self, call: Call, vectors: np.ndarray, allowed: np.ndarray | None) -> list[Candidates]:
        """The best of what came after the build for each vector, by a scan of all of its float32 rows."""
        stock = self.late_stock(call)
        if stock is None:
            return []
        words, k = self.late_allowed(call, allowed), min(self.limit, len(stock.items))
        return [stock.all(call, vector, k, words) for vector in vectors]

    def score(self, vector: np.ndarray, row: int) -> float:
        """Of one item, of the build or later; NaN where it has no vector here."""
        space, best = self.space, TopK(1)
        assert space.all_items is not None and space.all_norms is not None
        here = slice(row, row + 1)
        scan(space.all_items[here], vector, best, self.all_keys[here], metric=space.metric, norms=space.all_norms[here])
        return float(best.result()[1][0])

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
