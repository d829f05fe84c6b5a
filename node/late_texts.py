"""The texts of items that came after the build, indexed by each worker as it meets them.

A row never changes, so what came since the last look is added: a few microseconds a row, by the request that meets it
first. Scores use the build's numbers of rows and average lengths, so an item scores as it will after a fold as long as
these stay; a word that the build does not know is weighted by how many late rows have it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mixline.kernels.bitmap import holds_rows
from mixline.kernels.maxscore import KINDS
from mixline.kernels.postings import UNITS
from mixline.node.block import Candidates
from mixline.node.text_terms import Phrase, Reading, Terms, Translator
from mixline.storage.completions import plain_words
from mixline.storage.epoch import Epoch
from mixline.storage.text_builder import LENGTH_MAX

if TYPE_CHECKING:
    from mixline.storage.live_view import LiveView

FIELD_BITS = 8
ROWS_MAX = 1 << 24


class Matching(NamedTuple):
    """Rows of the catalogue (uint32, ascending) that match, with their sums in units."""

    rows: np.ndarray
    sums: np.ndarray


NO_MATCHES = Matching(np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.int64))


class LateTexts:
    """For one thread. ``count``: late rows that are in."""

    def __init__(self, epoch: Epoch) -> None:
        index = epoch.text
        assert index is not None
        self.epoch, self.index, self.count = epoch, index, 0
        columns = list(epoch.items.facts.columns)
        self._places = [columns.index(name) for name in index.names]
        self._lengths = [array("I") for _ in index.names]
        self._terms: dict[str, tuple[array, array]] = {}  # (row << 8 | field, how often)
        self._sorted: list[str] = []  # of these

    def follow(self, view: LiveView, stopped: Callable[[], bool]) -> bool:
        """Take what came since the last look; whether there was time for all."""
        items = self.epoch.items
        for at in range(self.count, view.items_end - items.base):
            if stopped():
                return False
            record = items.stored_record(items.base + at)
            for field, place in enumerate(self._places):
                text = record[place] if place < len(record) else None
                self._lengths[field].append(self._add(at, field, text) if isinstance(text, str) else 0)
            self.count = at + 1
        return True

    def has(self, term: str) -> bool:
        """Whether any late row had a term."""
        return term in self._terms

    def _add(self, at: int, field: int, text: str) -> int:
        analyser, length = self.index.analysers[field], 0
        counts: dict[str, int] = {}
        for start, end in analyser.spans(text):
            terms = analyser.expand(text[start:end])
            length += bool(terms)
            for term in terms:
                counts[term] = counts.get(term, 0) + 1
        for term, times in counts.items():
            known = self._terms.get(term)
            if known is None:
                known = self._terms[term] = array("Q"), array("I")
                insort(self._sorted, term)
            known[0].append(at << FIELD_BITS | field)
            known[1].append(times)
        return min(length, LENGTH_MAX)

    def matching(
        self,
        view: LiveView,
        terms: Terms,
        translator: Translator,
        allowed: np.ndarray | None,
        stopped: Callable[[], bool],
    ) -> Matching | None:
        """The late rows of this state that match, of those allowed; None where there was no time to know them."""
        count, base = view.items_end - self.epoch.items.base, self.epoch.items.base
        assert view.alive is not None
        words = (view.alive if allowed is None else allowed)[base // 64 :]
        matches = np.unpackbits(words.view(np.uint8), bitorder="little")[:count].astype(bool)
        sums = np.zeros(count, dtype=np.int64)
        for group, times in zip(terms.groups, terms.times, strict=True):
            found = np.zeros(count, dtype=np.int64)
            for reading in self._readings(group.readings, translator):
                if stopped():
                    return None
                found += self._worths(reading, times, translator, count)
            if group.kind == KINDS["must"]:
                matches &= found > 0
            elif group.kind == KINDS["not"]:
                matches &= found == 0
            if group.kind in (KINDS["should"], KINDS["must"]):
                sums += found
        rows = np.flatnonzero(matches & (sums > 0))
        if terms.phrases:
            holding = []
            for at in rows:
                if stopped():
                    break
                holding.append(all(self._holds(one, terms, int(at)) != one.unwanted for one in terms.phrases))
            if len(holding) < len(rows):
                return None
            rows = rows[np.array(holding, dtype=bool)]
        return Matching((rows + base).astype(np.uint32), sums[rows])

    def best(self, found: Matching, k: int) -> Candidates:
        """The best ``k`` of what matches."""
        scores = (found.sums / UNITS).astype(np.float32)
        if len(scores) > 2 * k:
            few = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
            found, scores = Matching(found.rows[few], found.sums[few]), scores[few]
        order = np.lexsort((self.epoch.items.keys[found.rows], -scores))[:k]
        return Candidates(found.rows[order], scores[order])

    def _readings(self, given: tuple[Reading, ...], translator: Translator) -> list[Reading]:
        """Readings of a prefix stand for late words too."""
        if not given or not given[0].prefix:
            return list(given)
        known = {one.term for one in given}
        beginning, more = given[0].term, []
        for at in range(bisect_left(self._sorted, beginning), len(self._sorted)):
            term = self._sorted[at]
            if not term.startswith(beginning):
                break
            if term not in known:
                more.append(given[0]._replace(term=term, found=None))
        return [*given, *more]

    def _worths(self, reading: Reading, times: int, translator: Translator, count: int) -> np.ndarray:
        """What each late row is worth for one reading, as the kernel has it (in units)."""
        known = self._terms.get(reading.term)
        if known is None:
            return np.zeros(count, dtype=np.int64)
        places = np.frombuffer(known[0], dtype=np.uint64)
        often = np.frombuffer(known[1], dtype=np.uint32)
        rows, fields = (places >> np.uint64(FIELD_BITS)).astype(np.int64), (places & np.uint64(255)).astype(np.int64)
        shares = np.zeros(count, dtype=np.float32)
        for field in reading.fields:
            here = np.flatnonzero((fields == field) & (rows < count))
            lengths = np.frombuffer(self._lengths[field], dtype=np.uint32)
            norms = translator.long_norms(field)[lengths[rows[here]]]
            shares[rows[here]] += often[here].astype(np.float32) * norms
        having = reading.found[0] if reading.found else int((shares > 0).sum())
        scale = np.float32(np.float32(self.index.weight(having) * times * reading.factor) * np.float32(UNITS))
        k1 = np.float32(self.index.facts.k1)
        found = (scale * (shares / (shares + k1)) + np.float32(0.5)).astype(np.int64)
        return found + ((found == 0) & (shares > 0))

    def _holds(self, phrase: Phrase, terms: Terms, at: int) -> bool:
        """Whether a phrase stands in some field of a late row, read again."""
        record = self.epoch.items.stored_record(self.epoch.items.base + at)
        for words in phrase.words:
            readings = [
                (next(r for r in terms.groups[group].readings if r.chain == chain), place)
                for group, chain, place in words
            ]
            for field in readings[0][0].fields:
                text = record[self._places[field]]
                if isinstance(text, str) and stands(self.index.analysers[field].tokens(text), readings, phrase.slop):
                    return True
        return False


def stands(tokens, readings: list[tuple[Reading, int]], slop: int) -> bool:
    """Whether one place can be taken for each word so that all lie within ``slop`` of where the phrase has them."""
    places: dict[str, list[int]] = {}
    for token in tokens:
        if token.term is not None:
            places.setdefault(token.term, []).append(token.place)
    lists = [[at - place for at in places.get(reading.term, ())] for reading, place in readings]
    if not all(lists):
        return False
    every = sorted({at for one in lists for at in one})
    return any(all(any(low <= at <= low + slop for at in one) for one in lists) for low in every)


class LateTitles:
    """The texts of one column of late rows, to complete what is typed; few, so that they are gone through."""

    def __init__(self, epoch: Epoch, column: str) -> None:
        self._items, self._titles = epoch.items, list[str]()
        self._place = list(epoch.items.facts.columns).index(column)

    def best(self, view: LiveView, typed: str, allowed: np.ndarray | None, count: int) -> list[int]:
        """The newest rows with a word from which on they begin so."""
        base, end = self._items.base, view.items_end - self._items.base
        for at in range(len(self._titles), end):
            text = self._items.stored_record(base + at)[self._place]
            self._titles.append(" " + " ".join(plain_words(text)) if isinstance(text, str) else "")
        wanted = " " + " ".join(plain_words(typed))
        if end <= 0 or view.alive is None or wanted == " ":
            return []
        found = [base + at for at in range(end - 1, -1, -1) if wanted in self._titles[at]]
        rows = np.array(found, dtype=np.uint32)
        return rows[holds_rows(view.alive if allowed is None else allowed, rows)][:count].tolist()
