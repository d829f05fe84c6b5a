"""Items whose texts match a query, by BM25F over the epoch's inverted index and what came since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixline.node.block import Candidates
from mixline.node.components.base import Source
from mixline.node.facets import EVERY, Count, Facet, expanded, facet_faults, facet_misfits
from mixline.node.text_search import TextSearch
from mixline.node.text_terms import Terms
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

COUNTING = 2  # what counting may take of the time that is left is one in so many parts


class TextSource(Source, frozen=True, kw_only=True):
    """Items whose texts match the request's `query`; the score is BM25F with the build's `k1`, `b` and statistics.

    - `fields`: text columns to search; left out, all that the build made searchable.
    - `weights`: how much a field counts, where other than the build says.
    - `fuzzy`: whether a word that no text has stands for those that are spelt nearly so, at a half or a third of
      their weight.
    - `facets`: column to how it is counted over all items that match, such as
      `{ genres = {}, year = { ranges = [1980, 2000] } }`; of categories and tags the `limit` (20) commonest values.
      `"*"` is every column of categories or tags with at most 10,000 labels.
    - `highlight`: text columns of which the reply shows a piece with the words that match; `["*"]` is all.
    - `total`: whether the reply says how many items match; it does with facets.
    - `limit`: candidates per user.

    The reply also has the query as it was probably meant (`spelling`), where a word is known to no text, or hardly
    any, and one spelt nearly alike is. The [guide](search.md) has the syntax. What filters such as `seen` and
    `predicate` drop is left out inside the search. Without a query it brings nothing. At the deadline the best so far
    is returned and the source is degraded.
    """

    fields: list[str] = []
    weights: dict[str, float] = {}
    fuzzy: bool = True
    facets: dict[str, Facet] = {}
    highlight: list[str] = []
    total: bool = False

    def wrong(self) -> Iterator[str]:
        yield from Source.wrong(self)
        for name, weight in self.weights.items():
            if not 0 < weight < float("inf"):
                yield f"weights: {name} = {weight}: a weight is a number above 0"
        for name, facet in self.facets.items():
            yield from facet_faults(name, facet)

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        if epoch.text is None:
            return
        for name, facet in self.facets.items():
            yield from facet_misfits(name, facet, epoch)
        for key, names in (("fields", self.fields), ("weights", self.weights), ("highlight", self._shown(()))):
            for name in names:
                if name not in epoch.text.names:
                    have = ", ".join(epoch.text.names)
                    yield f"{key}: no searchable column {name!r}; there are {have}"

    def disabled(self, epoch: Epoch) -> str:
        return "" if epoch.text is not None else "the store was built without text columns"

    def bind(self, epoch: Epoch) -> TextSearch:
        index = epoch.text
        assert index is not None
        names = self.fields or index.names
        weights = [self.weights.get(name, index.facts.fields[name].weight) for name in names]
        return TextSearch(epoch, names, weights, fuzzy=self.fuzzy)

    def way(self, bound: TextSearch) -> str:
        facts = bound.index.facts
        return f"{len(bound.translator.fields)} fields, {facts.terms} terms, {facts.postings} postings"

    def retrieve(self, call: Call, group: int) -> Candidates:
        search: TextSearch = call.bound
        if not call.ask.query:
            return Candidates.none()
        terms, allowed = search.terms(call), call.allowed(group)
        if not group:
            call.told["spelling"] = terms.spelling
        if (self.facets or self.total) and not group:
            deadline_ns = call.deadline_ns
            call.deadline_ns = call.until(COUNTING)
            try:
                self._count(call, search, terms, allowed)
            finally:
                call.deadline_ns = deadline_ns
        return search.best(call, terms, self.limit, allowed)

    def _count(self, call: Call, search: TextSearch, terms: Terms, allowed: np.ndarray | None) -> None:
        """Tell how many items match, and how many of which value."""
        found = search.all_matching(call, terms, allowed)
        call.told["total"] = found.total
        call.told["facets"] = facets = {}
        for name, facet in expanded(self.facets, call.epoch).items():
            if call.stopped():
                call.degraded.append(f"deadline: {name} and what follows are not counted")
                break
            count = Count(call.epoch, name, facet)
            count.add(found, call.stopped)
            facets[name] = count.entries()
            if count.done < 1.0:
                call.degraded.append(f"deadline after {count.done:.0%} of the items were counted by {name}")

    def present(self, call: Call, rows: np.ndarray) -> None:
        if self.highlight and call.ask.query:
            search: TextSearch = call.bound
            call.told["highlights"] = search.highlights(call, search.terms(call), rows, self._shown(search.index.names))

    def _shown(self, every: Sequence[str]) -> Sequence[str]:
        """The columns of which pieces are shown."""
        return every if self.highlight == [EVERY] else self.highlight

    def score_of(self, call: Call, group: int, row: int) -> float | None:
        search: TextSearch = call.bound
        if not call.ask.query or row >= search.index.count:
            return None
        worth = float(search.worth(search.terms(call), np.array([row], dtype=np.uint32))[0])
        return worth or None
