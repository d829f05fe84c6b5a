"""Years, and values of the store's own columns, that stand in a query: as parameters of the request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from mixline.node.components.base import QueryHydrator
from mixline.storage.analysis import Analyser, AnalyserFacts, stemmer
from mixline.storage.epoch import Epoch
from mixline.storage.errors import BadSpec

if TYPE_CHECKING:
    from mixline.node.call import Call

LABELS_MAX = 100_000  # of a column
WORDS_MAX = 64  # of a query that are looked at
YEAR = re.compile(r"(1[89]|20)(\d\d)(s?)|(\d0)s")


class Known(NamedTuple):
    """By parameter the labels by their words, and of how many words the longest is."""

    analyser: Analyser
    labels: dict[str, dict[tuple[str, ...], str]]
    longest: int


class DetectQueryHydrator(QueryHydrator, frozen=True, kw_only=True):
    """Finds what a query names: sets parameters for predicates, `conditions` and your own components.

    - `labels`: parameter to category or tags column, as `{ genre = "genres" }`: `params.genre` is the first label of
      the column that stands in the query, of several from one word on the longest, or `""`.
    - `years`: the beginning of two parameters, as `"year"`: `params.year_from` and `params.year_to` are the year that
      stands in the query (1800 to 2099), both ends of a decade (`1990s`, `90s`), or 0.
    - `stem`: words are compared by their stems (a Snowball stemmer, as in a build).
    - `remove`: take the words that were found out of the query, unless nothing would be left.

    What the request's own `params` say stays. Labels that came since the build are not known. The coverage says what
    was found (`how`).
    """

    labels: dict[str, str] = {}
    years: str = ""
    stem: str = ""
    remove: bool = False

    def wrong(self) -> Iterator[str]:
        yield from QueryHydrator.wrong(self)
        for name in (*self.labels, *([self.years] if self.years else ())):
            if not name.isidentifier():
                yield f"{name!r}: a parameter's name has letters, digits and '_'"
        if not self.labels and not self.years:
            yield "labels, years: name something to find"
        try:
            stemmer(self.stem)
        except (BadSpec, KeyError) as error:
            yield f"stem: {error}"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        columns = epoch.items.columns
        for parameter, name in self.labels.items():
            kind = columns.kind_of(name) if name in columns else "not there"
            if kind not in ("category", "tags"):
                yield f"labels.{parameter}: column {name!r} is {kind}; category or tags are looked for"
            elif len(columns[name].codes) > LABELS_MAX:
                yield f"labels.{parameter}: column {name!r} has {len(columns[name].codes)} labels; at most {LABELS_MAX}"

    def parameters(self) -> set[str]:
        return {*self.labels, *(self._ends() if self.years else ())}

    def bind(self, epoch: Epoch) -> Known:
        analyser = Analyser(AnalyserFacts(stem=self.stem))
        found: dict[str, dict[tuple[str, ...], str]] = {}
        for parameter, name in self.labels.items():
            by_words = ((words_of(analyser, label), label) for label in sorted(epoch.items.columns[name].codes))
            found[parameter] = {tuple(word for word, _, _ in words): label for words, label in by_words if words}
        return Known(analyser, found, max((len(words) for some in found.values() for words in some), default=0))

    def way(self, bound: Known) -> str:
        return ", ".join(f"{len(some)} labels of {self.labels[name]}" for name, some in bound.labels.items())

    def hydrate_query(self, call: Call) -> None:
        known: Known = call.bound
        query = call.ask.query or ""
        words = words_of(known.analyser, query)
        params: dict[str, bool | int | float | str] = dict.fromkeys(self.labels, "")
        taken: list[tuple[int, int]] = []
        for name, labels in known.labels.items():
            label, first, stop = longest_label(labels, [word for word, _, _ in words], known.longest)
            if label:
                params[name] = label
                taken.append((words[first][1], words[stop - 1][2]))
                call.say(f"{name} {label}")
        if self.years:
            years = next(
                ((found, start, end) for _, start, end in words if (found := years_of(query[start:end]))), None
            )
            params |= zip(self._ends(), years[0] if years else (0, 0), strict=True)
            if years:
                taken.append(years[1:])
                call.say(f"{self.years} {years[0][0]}..{years[0][1]}")
        call.enrich(query=without(query, taken) if self.remove and taken else None, params=params)

    def _ends(self) -> tuple[str, str]:
        return f"{self.years}_from", f"{self.years}_to"


def words_of(analyser: Analyser, text: str) -> list[tuple[str, int, int]]:
    """Words as they are compared, and where they lie in the text."""
    return [(one.term or "", one.start, one.end) for one in analyser.tokens(text, WORDS_MAX)]


def longest_label(labels: dict[tuple[str, ...], str], words: list[str], longest: int) -> tuple[str, int, int]:
    """The label whose words begin first, and which words these are; "" where there is none."""
    for first in range(len(words)):
        for stop in range(min(first + longest, len(words)), first, -1):
            if label := labels.get(tuple(words[first:stop])):
                return label, first, stop
    return "", 0, 0


def years_of(word: str) -> tuple[int, int] | None:
    """The years that a word names, from and to."""
    found = YEAR.fullmatch(word.lower().replace("'", ""))
    if found is None:
        return None
    if found[4]:
        first = (2000 if found[4] < "30" else 1900) + int(found[4])
        return first, first + 9
    year = int(found[1] + found[2])
    if not found[3]:
        return year, year
    return (year, year + 9) if found[2][1] == "0" else None


def without(query: str, taken: list[tuple[int, int]]) -> str:
    """The query less some places; as it is, where nothing but these is there."""
    left = query
    for start, end in sorted(taken, reverse=True):
        left = f"{left[:start]} {left[end:]}"
    left = " ".join(left.split())
    return left if any(one.isalnum() for one in left) else query
