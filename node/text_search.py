"""Text of a store as one source searches it: the lists of the build, and what came since."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from time import monotonic_ns
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.maxscore import KINDS, LISTS_MAX, Search
from mixline.kernels.postings import Postings
from mixline.kernels.topk import TopK
from mixline.node.block import Candidates
from mixline.node.facets import Found
from mixline.node.highlights import highlight
from mixline.node.late_texts import NO_MATCHES, LateTexts, Matching
from mixline.node.text_terms import Asked, Group, TermList, Terms, Translator
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call
    from mixline.storage.live_view import LiveView

SLICE_WINDOWS = 16  # of 4096 rows, looked at between two beats of the heart; the kernel looks at the clock itself
SLICE_LISTS = 4  # that are read through between two beats
KEPT = 64  # queries whose terms are remembered
READING = 2  # what reading a query may take of the time that is left is one in so many parts


class TextSearch:
    """Finds the best rows for a query. For one thread."""

    def __init__(self, epoch: Epoch, fields: Sequence[str], weights: Sequence[float], *, fuzzy: bool) -> None:
        index = epoch.text
        assert index is not None
        self.epoch, self.index = epoch, index
        self.translator = Translator(index, fields, weights, fuzzy=fuzzy)
        self._terms: dict[str, Terms] = {}
        self._cut: tuple[Call, Terms] | None = None  # a query that there was no time for
        self._late = LateTexts(epoch)
        self.translator.came, self.translator.together = self._late.has, self.together
        self._asked: tuple[Terms, Asked] | None = None
        self._matching: tuple[LiveView, Terms, np.ndarray | None, Matching] | None = None

    @cached_property
    def postings(self) -> Postings:
        """The lists, as the kernel reads them."""
        index = self.index
        keys = self.epoch.items.keys
        return Postings(index.lists, index.positions, index.lengths, index.stored, index.facts.k1, keys, index.count)

    def terms(self, call: Call) -> Terms:
        """The terms of a request's query; asked several times for one request, and made once."""
        query = call.ask.query or ""
        until_ns = call.until(READING)
        if call.view is not None and call.view.items_end > self.epoch.items.base + self._late.count:
            self._terms.clear()
            if not self._late.follow(call.view, lambda: call.pulse() or monotonic_ns() >= until_ns):
                call.degraded.append(f"deadline after {self._late.count} of the texts that came since the build")
        found = self._terms.get(query)
        if found is None and self._cut is not None and self._cut[0] is call:
            return self._cut[1]
        if found is None:
            found = self.translator.terms(query, until_ns, call.pulse)
            if found.cut:
                self._cut = call, found
                call.degraded.append("deadline while the query was read")
                return found
            if len(self._terms) >= KEPT:
                self._terms.clear()
            self._terms[query] = found
        return found

    def together(self, word: Group, others: list[Group], until_ns: int) -> bool:
        """Whether an item of the build has a word and one of some others, as far as is known by then."""
        one, rest = (self.translator.asked(Terms(some, [1] * len(some), [], "")).lists for some in ([word], others))
        if not one or not rest:
            return False
        both = [*((*found[:5], 0) for found in one), *((*found[:5], 1) for found in rest)][:LISTS_MAX]
        search = Search(self.postings, 1, both, self.translator.views, [KINDS["must"]] * 2)
        while search.advance(1, until_ns):
            if len(search.result()[0]):
                return True
            if monotonic_ns() >= until_ns:
                return False
        return len(search.result()[0]) > 0

    def asked(self, terms: Terms) -> Asked:
        """The lists of a request's terms; made once as well."""
        if self._asked is None or self._asked[0] is not terms:
            self._asked = terms, self.translator.asked(terms)
        return self._asked[1]

    def late(self, call: Call, terms: Terms, allowed: np.ndarray | None) -> Matching | None:
        """What came after the build and matches; None where nothing came."""
        view = call.view
        if view is None or view.items_end <= self.epoch.items.base:
            return None
        kept = self._matching
        if kept is None or kept[0] is not view or kept[1] is not terms or kept[2] is not allowed:
            found = self._late.matching(view, terms, self.translator, allowed, call.stopped)
            if found is None:
                call.degraded.append("deadline: what came since the build was not searched")
                found = NO_MATCHES
            kept = self._matching = view, terms, allowed, found
        return kept[3]

    def best(self, call: Call, terms: Terms, k: int, allowed: np.ndarray | None) -> Candidates:
        """The best ``k`` of all rows."""
        found = self.find(call, terms, k, allowed)
        late = self.late(call, terms, allowed)
        if late is None or not len(late.rows):
            return found
        best = TopK(k)
        for one in (found, self._late.best(late, k)):
            best.offer(one.scores, one.rows, self.epoch.items.keys[one.rows])
        return Candidates(*best.result())

    def find(self, call: Call, terms: Terms, k: int, allowed: np.ndarray | None) -> Candidates:
        """The best ``k`` rows of the build, or of those reached by the deadline."""
        asked = self.asked(terms)
        k = min(k, self.index.count)
        if not asked.possible or not k:
            return Candidates.none()
        if terms.phrases and not any(self.index.stored):
            call.say("no positions: words of phrases may stand apart")
        search = Search(self.postings, k, asked.lists, self.translator.views, asked.kinds, asked.phrases, allowed)
        self._advance(call, search, "rows")
        return Candidates(*search.result())

    def _advance(self, call: Call, search: Search, what: str) -> None:
        """To its end, or to the deadline."""
        while search.advance(SLICE_WINDOWS, call.deadline_ns):
            if call.stopped():
                call.degraded.append(f"deadline after {search.next} of {self.index.count} {what}")
                break

    def matches(self, call: Call, terms: Terms, allowed: np.ndarray | None) -> np.ndarray:
        """Bitmap (uint64 words) of all rows of the build that match, or of those that there was time for."""
        asked = self.asked(terms)
        words = -(-self.index.count // 64)
        none = np.zeros(words, dtype=np.uint64)
        if not asked.possible:
            return none
        found: np.ndarray | None = None
        for kind, some in by_group(asked):
            if kind == KINDS["must"]:
                rows = self._rows_with(call, some)
                found = rows if found is None else found & rows
        if found is None:
            wished = [one for kind, some in by_group(asked) if kind == KINDS["should"] for one in some]
            found = self._rows_with(call, wished) if wished else none
        for kind, some in by_group(asked):
            if kind == KINDS["not"]:
                found = found & ~self._rows_with(call, some)
        if allowed is not None:
            found = found & allowed[:words]
        if not asked.phrases or not found.any():
            return found
        views = self.translator.views
        search = Search(self.postings, 1, asked.lists, views, asked.kinds, asked.phrases, found, marks=none)
        self._advance(call, search, "rows of phrases")
        return none

    def _rows_with(self, call: Call, lists: list[TermList]) -> np.ndarray:
        """Bitmap (uint64 words) of the rows that any of these lists has; of those that there was time for."""
        found = np.zeros(-(-self.index.count // 64), dtype=np.uint64)
        for start in range(0, len(lists), SLICE_LISTS):
            some = lists[start : start + SLICE_LISTS]
            done = self.postings.mark(found, some, self.translator.views, call.deadline_ns)
            if call.stopped() and start + done < len(lists):
                done += start
                call.degraded.append(f"deadline after {done} of {len(lists)} lists: more items match than are counted")
                break
        return found

    def all_matching(self, call: Call, terms: Terms, allowed: np.ndarray | None) -> Found:
        """Every row that matches."""
        words, late = self.matches(call, terms, allowed), self.late(call, terms, allowed)
        return Found(words, NO_MATCHES.rows if late is None else late.rows)

    def highlights(self, call: Call, terms: Terms, rows: np.ndarray, fields: Sequence[str]) -> list[dict[str, str]]:
        """For each row a piece of each field that has words of the query, as HTML; of as many as there is time for."""
        records = self.epoch.items.records(rows, fields)
        shown: dict[str, tuple[set[str], tuple[str, ...]]] = {}
        for name in fields:
            field = self.index.names.index(name)
            readings = [
                one
                for group in terms.groups
                if group.kind in (KINDS["should"], KINDS["must"])
                for one in group.readings
                if field in one.fields
            ]
            shown[name] = {one.term for one in readings}, tuple(one.term for one in readings if one.prefix)
        found: list[dict[str, str]] = [{} for _ in rows]
        for name in fields:
            analyser = self.index.analysers[self.index.names.index(name)]
            for at, (entry, text) in enumerate(zip(found, records[name], strict=True)):
                if call.stopped():
                    call.degraded.append(f"deadline after pieces of {at} of {len(rows)} texts of {name}")
                    break
                piece = highlight(text, analyser, *shown[name], call.stopped) if isinstance(text, str) else ""
                if piece:
                    entry[name] = piece
        return found

    def worth(self, terms: Terms, rows: np.ndarray) -> np.ndarray:
        """The score of each of ascending rows of the build, whether or not they match as a whole (float32)."""
        asked = self.asked(terms)
        counted = [one for one in asked.lists if asked.kinds[one[5]] in (KINDS["should"], KINDS["must"])]
        return self.postings.worth(counted, self.translator.views, rows)


def by_group(asked: Asked) -> list[tuple[int, list]]:
    """Kind and lists of each group."""
    some: list[list] = [[] for _ in asked.kinds]
    for one in asked.lists:
        some[one[5]].append(one)
    return list(zip(asked.kinds, some, strict=True))
