"""A query as terms of an index: each word with the lists that it is found by, and what is required of it.

The analysers are those that the texts went through. A word is a group of readings: one for each chain of the fields
that are asked, and where it is a prefix or misspelt one for each word that it may stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import log
from time import monotonic_ns
from typing import NamedTuple

import numpy as np

from mixline.kernels.maxscore import KINDS, LISTS_MAX, WORDS_MAX
from mixline.node import limits
from mixline.node.errors import BadRequest
from mixline.node.slips import slip_cost
from mixline.node.text_query import Clause, parse_query
from mixline.storage.analysis import WORD_MAX
from mixline.storage.dictionary import Dictionary
from mixline.storage.text_builder import LENGTH_MAX
from mixline.storage.text_index import Found, TextIndex

TermList = tuple[int, int, int, float, int, int]  # as the kernel takes a list, and a view of fields
View = tuple[np.ndarray | None, ...]
FUZZY_FROM, FUZZY_TWICE_FROM = 4, 8  # characters from which a word may have one slip, and two
MEANT_FROM = 3  # and one that no text has may lack a letter, or have two changed over
LIKELY, LIKELY_MAX = 5.0, 4  # what is less likely than the likeliest by such a factor (a logarithm) is not meant
RARE = 50  # a word that is so much rarer than one that is spelt nearly alike is taken for a slip
SELDOM = 3  # times: words that came more often are no slips
NEAR_MAX = 16  # words of a query for which others that are spelt nearly so are looked for
FOREVER = 1 << 62  # ns of the monotonic clock
SURE = 8  # words that are read whatever the time
COMMON = 10  # a word that more than one in so many items has says nothing of what it stands beside
SAME = 1  # characters at the beginning that a slip leaves alone


def never() -> bool:
    """The pulse of what nobody gives up."""
    return False


class Reading(NamedTuple):
    """One way to find a word. ``factor``: of its weight, below 1 for what was not asked for exactly."""

    term: str
    chain: int
    fields: tuple[int, ...]
    found: Found | None
    factor: float = 1.0
    prefix: bool = False


class Group(NamedTuple):
    """A word of the query; ``kind`` as of :data:`mixline.kernels.maxscore.KINDS`."""

    kind: int
    readings: tuple[Reading, ...]


class Phrase(NamedTuple):
    """``words``: by reading (number of group, chain, place)."""

    unwanted: bool
    slop: int
    words: tuple[tuple[tuple[int, int, int], ...], ...]


class Terms(NamedTuple):
    """``times``: how often each group stands in the query. ``spelling``: the query as it was probably meant, or "".
    ``cut``: there was no time for all of the query."""

    groups: list[Group]
    times: list[int]
    phrases: list[Phrase]
    spelling: str
    cut: bool = False


class Correction(NamedTuple):
    """What may be meant by the word in ``start`` .. ``end`` of a query, whose group is ``group``: how likely each is (a
    logarithm), the likeliest first."""

    start: int
    end: int
    meant: list[tuple[float, str]]
    group: Group


class Asked(NamedTuple):
    """What the kernel takes; ``possible``: whether any row of the build can match at all."""

    possible: bool
    lists: list[TermList]
    kinds: list[int]
    phrases: list[tuple[bool, int, list[list[tuple[int, int]]]]]


class Translator:
    """Makes terms of queries for one index and some of its fields."""

    def __init__(self, index: TextIndex, fields: Sequence[str], weights: Sequence[float], *, fuzzy: bool) -> None:
        self.index, self.fuzzy = index, fuzzy
        self.fields = [index.names.index(name) for name in fields]
        self.weights = dict(zip(self.fields, weights, strict=True))
        facts = list(dict.fromkeys(one.facts for one in index.analysers))
        self.chain_of = [facts.index(one.facts) for one in index.analysers]
        self.analysers = [index.analysers[self.chain_of.index(chain)] for chain in range(len(facts))]
        self.views: list[View] = []
        self._views: dict[tuple[int, ...], int] = {}
        self._long: dict[int, np.ndarray] = {}
        self._until_ns, self._pulse, self._cut = FOREVER, never, False
        self._alikes: dict[str, list[tuple[int, str, int]]] = {}  # of the query that is read
        self.came: Callable[[str], bool] = lambda _: False  # whether what came since the build has a term
        # Whether an item has one and another, as far as that is known by a time.
        self.together: Callable[[Group, list[Group], int], bool] = lambda *_: False

    def view(self, fields: tuple[int, ...]) -> int:
        """The number of the view of some fields."""
        found = self._views.get(fields)
        if found is None:
            lengths = self.index.lengths
            made = [
                self.index.norms(at, self.weights.get(at, 1.0), int(np.iinfo(lengths[at].dtype).max))
                if at in fields
                else None
                for at in range(len(lengths))
            ]
            self.views.append(tuple(made))
            found = self._views[fields] = len(self.views) - 1
        return found

    def long_norms(self, field: int) -> np.ndarray:
        """Norms of a field by length, of the longest texts too, times its weight (float32)."""
        if field not in self._long:
            self._long[field] = self.index.norms(field, self.weights.get(field, 1.0), LENGTH_MAX)[1:]
        return self._long[field]

    def terms(self, query: str, until_ns: int = FOREVER, pulse: Callable[[], bool] = never) -> Terms:
        """The groups of a query; those beyond what the kernel takes are left out, the commonest first. Once the
        monotonic clock comes to ``until_ns``, or ``pulse`` says so, the rest is left out, and the terms are ``cut``."""
        self._until_ns, self._pulse, self._cut, self._alikes = until_ns, pulse, False, {}
        groups: dict[Group, int] = {}
        phrases: list[Phrase] = []
        corrections: list[Correction] = []
        for clause in parse_query(query, self.index.names):
            fields = [self.index.names.index(clause.field)] if clause.field else self.fields
            chains = {
                self.chain_of[at]: tuple(f for f in fields if self.chain_of[f] == self.chain_of[at]) for at in fields
            }
            if len(groups) >= SURE and self._over():
                break
            if clause.phrase:
                self._phrase(clause, chains, groups, phrases)
            else:
                self._words(clause, chains, groups, corrections)
        kept = self._bounded(groups)
        corrections = [one for one in corrections if not self._fits(one, kept)]
        spelling = query
        for one in sorted(corrections, key=lambda one: -one.start):
            spelling = spelling[: one.start] + self._likeliest(one, kept) + spelling[one.end :]
        numbers = {group: at for at, group in enumerate(kept)}
        order = {at: numbers.get(group, -1) for at, group in enumerate(groups)}
        phrases = [
            Phrase(one.unwanted, one.slop, tuple(tuple((order[g], c, p) for g, c, p in words) for words in one.words))
            for one in phrases
        ]
        return Terms(kept, [groups[group] for group in kept], phrases, spelling if corrections else "", self._cut)

    def _over(self) -> bool:
        """Whether there is no more time."""
        self._cut = self._cut or self._pulse() or monotonic_ns() >= self._until_ns
        return self._cut

    def _fits(self, correction: Correction, groups: Iterable[Group]) -> bool:
        """Whether a word that is taken for a slip is none, since an item has it beside another word of the query."""
        if not any(one.found and one.factor == 1.0 for one in correction.group.readings) or self._over():
            return False
        others = self._telling(correction.group, groups)
        return bool(others) and self.together(correction.group, others, self._until_ns)

    def _telling(self, but: Group, groups: Iterable[Group]) -> list[Group]:
        """Words of the query beside one that say something, being not too common."""
        return [
            group
            for group in groups
            if group is not but
            and group.kind in (KINDS["should"], KINDS["must"])
            and 0 < COMMON * sum(one.found[0] for one in group.readings if one.found) <= self.index.count
        ]

    def _likeliest(self, correction: Correction, groups: Iterable[Group]) -> str:
        """Of what may be meant the first that an item has beside another word of the query, else the likeliest."""
        first, others = correction.meant[0][1], self._telling(correction.group, groups)
        if len(correction.meant) == 1 or not others:
            return first
        like = correction.group.readings[0]
        for _, word in correction.meant:
            term = self.analysers[like.chain].term(word)
            if self._over():
                break
            if term is not None:
                group = Group(KINDS["must"], (self._reading(term, like.chain, like.fields),))
                if self.together(group, others, self._until_ns):
                    return word
        return first

    def _bounded(self, groups: dict[Group, int]) -> list[Group]:
        """As many groups as their lists are few enough."""
        demanded = [group for group in groups if group.kind != KINDS["should"]]
        if len(demanded) > limits.query_words_max:
            raise BadRequest(
                f"query: {len(demanded)} words that are required, forbidden, or in phrases; "
                f"at most {limits.query_words_max}"
            )
        wished = [group for group in groups if group.kind == KINDS["should"]]
        wished.sort(key=self._commonness)
        kept, lists = [], 0
        for group in demanded + wished:
            lists += max(1, len(group.readings))
            if lists > LISTS_MAX and group.kind != KINDS["should"]:
                raise BadRequest(f"query: its required words stand for more than {LISTS_MAX} terms; ask for fewer")
            if lists > LISTS_MAX:
                break
            kept.append(group)
        return kept

    def _commonness(self, group: Group) -> tuple[bool, int]:
        """Words that nothing has come last, the others as many items have them."""
        known = any(one.found or self.came(one.term) for one in group.readings)
        return not known, sum(one.found[0] for one in group.readings if one.found)

    def _words(
        self,
        clause: Clause,
        chains: dict[int, tuple[int, ...]],
        groups: dict[Group, int],
        corrections: list[Correction],
    ) -> None:
        spans = self.analysers[next(iter(chains))].spans(clause.text, limits.query_words_max * 256)
        for at, (start, end) in enumerate(spans):
            if len(groups) >= SURE and self._over():
                return
            word, last = clause.text[start:end], at == len(spans) - 1
            prefix, fuzzy = clause.prefix and last, clause.fuzzy and last
            number = any(one.isdigit() for one in word)  # another number is another thing
            meant: list[tuple[float, str]] = []
            readings = [
                reading
                for chain, fields in chains.items()
                for reading in (self._prefix(word, chain, fields) if prefix else self._word(word, chain, fields))
            ]
            if not prefix and (fuzzy or not any(one.found or self.came(one.term) for one in readings)) and readings:
                near = [one for chain, fields in chains.items() for one in self._near(word, chain, fields)]
                readings += near if fuzzy or (self.fuzzy and not number) else []
            if not prefix and not number and clause.demand != "not" and readings:
                came = any(self.came(one.term) for one in readings)
                meant = [] if came else self._meant(word, next(iter(chains)))
            unique = {(one.term, one.chain): one for one in reversed(readings)}
            if unique or (clause.demand == "must" and prefix):
                group = Group(KINDS[clause.demand], tuple(reversed(unique.values())))
                if meant:
                    corrections.append(Correction(clause.start + start, clause.start + end, meant, group))
                groups[group] = groups.get(group, 0) + 1

    def _phrase(
        self,
        clause: Clause,
        chains: dict[int, tuple[int, ...]],
        groups: dict[Group, int],
        phrases: list[Phrase],
    ) -> None:
        worded = {chain: fields for chain, fields in chains.items() if self.analysers[chain].facts.words != "whole"}
        chains = worded or chains
        by_span: dict[tuple[int, int], list[tuple[Reading, int]]] = {}
        for chain, fields in chains.items():
            for token in self.analysers[chain].tokens(clause.text, limits.query_words_max + 1):
                if token.term is not None:
                    reading = self._reading(token.term, chain, fields)
                    by_span.setdefault((token.start, token.end), []).append((reading, token.place))
        if not by_span:
            return
        if len(by_span) > WORDS_MAX:
            raise BadRequest(f"query: a phrase of more than {WORDS_MAX} words: {clause.text[:80]!r}")
        unwanted, alone = clause.demand == "not", len(by_span) == 1
        kind = KINDS["not"] if unwanted and alone else KINDS["part"] if unwanted else KINDS["must"]
        numbers: dict[tuple[int, int], int] = {}
        for span, readings in by_span.items():
            whole = len(readings) == len(chains)  # else a stop word of some chain, which a row need not have
            group = Group(kind if whole or unwanted else KINDS["should"], tuple(one for one, _ in readings))
            groups[group] = groups.get(group, 0) + 1
            numbers[span] = list(groups).index(group)
        if alone:
            return
        words = tuple(
            tuple(
                (numbers[span], chain, place) for span, some in by_span.items() for r, place in some if r.chain == chain
            )
            for chain in chains
        )
        phrases.append(Phrase(unwanted, clause.slop, tuple(one for one in words if one)))

    def _reading(self, term: str, chain: int, fields: tuple[int, ...], factor: float = 1.0) -> Reading:
        return Reading(term, chain, fields, self.index.terms.find(term.encode("utf-8", "surrogatepass")), factor)

    def _word(self, word: str, chain: int, fields: tuple[int, ...]) -> Iterable[Reading]:
        term = self.analysers[chain].term(word)
        return [] if term is None else [self._reading(term, chain, fields)]

    def _prefix(self, word: str, chain: int, fields: tuple[int, ...]) -> Iterable[Reading]:
        """The commonest terms that begin so, whichever fields have them."""
        plain = self.analysers[chain].plain(word)
        raw = plain.encode("utf-8", "surrogatepass")
        found = self.index.terms.beginning(raw, limits.prefix_terms_max, limits.prefix_looks_max)
        exact = [self._reading(plain, chain, fields)._replace(prefix=True)]
        return exact + [
            Reading(term.decode("utf-8", "surrogatepass"), chain, fields, (rows, start, size, places))
            for term, rows, start, size, places in found
        ]

    def _near(self, word: str, chain: int, fields: tuple[int, ...]) -> Iterable[Reading]:
        """Terms of words that are spelt nearly so."""
        analyser = self.analysers[chain]
        plain = analyser.plain(word)
        for distance, near, _ in self._alike(plain)[:8] if len(plain) >= FUZZY_FROM else ():
            term = analyser.term(near)
            if term is not None:
                yield self._reading(term, chain, fields, 1.0 / (1.0 + distance))

    def _alike(self, plain: str) -> list[tuple[int, str, int]]:
        """Words within as many slips as their length allows; the nearest, then the commonest."""
        slips = (len(plain) >= MEANT_FROM) + (len(plain) >= FUZZY_TWICE_FROM)
        words = self.index.words or self.index.terms
        if not slips or len(plain) >= WORD_MAX - 2:
            return []
        if plain not in self._alikes:
            if len(self._alikes) >= NEAR_MAX or self._over():
                return []
            self._alikes[plain] = self._look_for(words, plain, slips)
        return self._alikes[plain]

    def _look_for(self, words: Dictionary, plain: str, slips: int) -> list[tuple[int, str, int]]:
        found = words.near(plain, slips, SAME, 32, limits.prefix_looks_max, self._until_ns)
        self._over()  # which may have cut this short
        return [(distance, word.decode("utf-8", "surrogatepass"), count) for distance, word, count in found]

    def _meant(self, word: str, chain: int) -> list[tuple[float, str]]:
        """What a user may have meant by a word that is not known, or much rarer than one nearly alike: how likely each
        is, by how common it is and by its slip, the likeliest first; of what is left far behind nothing."""
        words = self.index.words
        if words is None:
            return []
        plain = self.analysers[chain].plain(word)
        known = words.find(plain.encode("utf-8", "surrogatepass"))
        if known is not None and (known[0] > SELDOM or len(plain) < FUZZY_FROM):
            return []
        likely = [
            (log(count) - slip_cost(plain, near, distance), near)
            for distance, near, count in self._alike(plain)
            if near != plain
            and (known is None or (distance == 1 and count >= RARE * known[0]))
            and (len(plain) >= FUZZY_FROM or len(near) > len(plain) or sorted(near) == sorted(plain))
        ]
        likely.sort(reverse=True)
        return [one for one in likely[:LIKELY_MAX] if one[0] >= likely[0][0] - LIKELY]

    # For the kernel

    def asked(self, terms: Terms) -> Asked:
        """The lists of the build. What no row has makes the query impossible where it is required, else is left out."""
        lists: list[TermList] = []
        kinds: list[int] = []
        places: dict[tuple[int, int], int] = {}
        possible = True
        for number, (group, times) in enumerate(zip(terms.groups, terms.times, strict=True)):
            there = [one for one in group.readings if one.found]
            if not there:
                possible &= group.kind != KINDS["must"]
                continue
            for one in there:
                assert one.found is not None
                rows, start, _, positions = one.found
                places.setdefault((number, one.chain), len(lists))
                weight = self.index.weight(rows) * times * one.factor
                lists.append((start, rows, positions, weight, self.view(one.fields), len(kinds)))
            kinds.append(group.kind)
        phrases = []
        for phrase in terms.phrases if any(self.index.stored) else ():
            readings = [
                [(places[group, chain], place) for group, chain, place in words]
                for words in phrase.words
                if all((group, chain) in places for group, chain, _ in words)
            ]
            possible &= bool(readings) or phrase.unwanted
            if readings:
                phrases.append((phrase.unwanted, phrase.slop, readings))
        wanted = any(kinds[one[5]] in (KINDS["should"], KINDS["must"]) for one in lists)
        return Asked(possible and wanted, lists, kinds, phrases)
