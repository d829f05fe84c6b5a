"""Texts that complete what somebody types: those of one column at each of their words, and past queries.

An entry is the beginning of what follows where a word begins, lower-cased and folded; entries are sorted, so those that
begin with what was typed lie side by side. Of each 64 the greatest weight is kept, so the best of any stretch are found
without looking at all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixline.storage.analysis import Analyser, AnalyserFacts
from mixline.storage.arrays import ArrayWriter, map_array
from mixline.storage.strings import StringTable, StringTableWriter

KEY = 32  # bytes of an entry that are compared
WORDS_MAX = 8  # of a text that it can be found from
PART = 64
SHORT = 256  # entries of a stretch that is looked at with others
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 '"
SLIPS_FROM = 4  # characters typed, from which one may be wrong
COMPLETIONS = "completions"
QUERY = 1 << 31  # numbers of past queries begin here, those of rows at 0
PLAIN = Analyser(AnalyserFacts())


def plain_words(text: str) -> list[str]:
    """The words of a text as they are compared."""
    return [PLAIN.plain(text[start:end]) for start, end in PLAIN.spans(text, WORDS_MAX)]


def keys_of(words: Sequence[str]) -> list[bytes]:
    """What follows at each word."""
    return [" ".join(words[at:]).encode("utf-8", "surrogatepass")[:KEY] for at in range(len(words))]


class CompletionsWriter:
    """Takes texts row by row; sorts them at the end, in about 80 bytes for each word."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder, self.scratch = folder / "text", scratch / "text"
        self._keys = ArrayWriter(self.scratch / "completions.keys.npy", f"S{KEY}")
        self._texts = ArrayWriter(self.scratch / "completions.texts.npy", "<u4")

    def add(self, first: int, texts: Sequence[str | None]) -> None:
        """The texts of the rows from ``first`` on."""
        keys, numbers = entries_of(first, texts)
        if len(keys):
            self._keys.append(keys)
            self._texts.append(numbers)

    def end_rows(self) -> None:
        """No more rows come; what is missing is learnt later."""
        for writer in (self._keys, self._texts):
            writer.close()

    def close(
        self, count: int, popularity: np.ndarray | None, queries: dict[str, float], public: np.ndarray | None = None
    ) -> None:
        """Write all files. ``popularity`` of the ``count`` rows; ``queries`` with how often each was asked; either is
        weighed as a share of its greatest. ``public``: which queries complete at all (bool); all where left out."""
        self.end_rows()
        told = np.ones(len(queries), dtype=bool) if public is None else public
        more = entries_of(QUERY, [query if shown else None for query, shown in zip(queries, told, strict=True)])
        keys = np.concatenate((map_array(self._keys.path), more[0]))
        texts = np.concatenate((map_array(self._texts.path), more[1]))
        asked = np.array([*queries.values()], dtype=np.float64)
        weights = np.concatenate([shares(popularity, count), shares(np.where(told, asked, 0.0), len(queries))])
        order = np.lexsort((texts, keys))
        numbers = texts[order].astype(np.int64)
        found = weights[np.where(numbers >= QUERY, numbers - QUERY + count, numbers)]
        tops = np.zeros(-(-len(found) // PART) * PART, dtype=np.float32)
        tops[: len(found)] = found
        for name, part, dtype in (
            ("keys", keys[order], f"S{KEY}"),
            ("texts", texts[order], "<u4"),
            ("weights", found, "<f4"),
            ("queries", asked, "<f8"),
            ("tops", tops.reshape(-1, PART).max(axis=1), "<f4"),
        ):
            out = ArrayWriter(self.folder / f"{COMPLETIONS}.{name}.npy", dtype)
            out.append(part)
            out.close()
        table = StringTableWriter(self.folder, "queries.")
        table.extend(list(queries))
        table.close()


def entries_of(first: int, texts: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Keys (S32) and numbers (uint32) of texts that are numbered from ``first`` on."""
    keys: list[bytes] = []
    numbers: list[int] = []
    for at, text in enumerate(texts, first):
        if text:
            found = keys_of(plain_words(text))
            keys += found
            numbers += [at] * len(found)
    return np.array(keys, dtype=f"S{KEY}"), np.array(numbers, dtype=np.uint32)


def shares(values: np.ndarray | None, count: int) -> np.ndarray:
    """Of the greatest (float32)."""
    if values is None or not len(values):
        return np.zeros(count, dtype=np.float32)
    found = values[:count].astype(np.float64)
    return (found / max(float(found.max(initial=0.0)), 1e-300)).astype(np.float32)


class Completion(NamedTuple):
    """``text``: a row of the items, or from QUERY on a past query. ``slips``: how many were forgiven."""

    text: int
    weight: float
    slips: int


class Completions:
    """The entries of an epoch."""

    def __init__(self, epoch: Path) -> None:
        self._folder = epoch / "text"
        parts = (map_array(self._folder / f"{COMPLETIONS}.{name}.npy") for name in ("keys", "texts", "weights", "tops"))
        self.keys, self.texts, self.weights, self.tops = parts

    @cached_property
    def queries(self) -> StringTable:
        """Past queries by number."""
        return StringTable.open(self._folder, "queries.")

    def past_queries(self) -> dict[str, float]:
        """Past queries with how often each was asked."""
        asked = map_array(self._folder / f"{COMPLETIONS}.queries.npy")
        return dict(zip(self.queries.to_list(), asked.tolist(), strict=True))

    def best(self, typed: str, count: int, *, forgive: bool = True) -> list[Completion]:
        """The most popular texts with a word from which on they begin so; then, if there are fewer, those that would
        but for one slip behind the first letter."""
        plain = " ".join(plain_words(typed)) + (" " if typed[-1:].isspace() else "")
        key = plain.encode("utf-8", "surrogatepass")[:KEY]
        if not key.strip():
            return []
        found: dict[int, Completion] = {}
        for start, stop in self._between(np.array([key], dtype=f"S{KEY}")):
            found = {text: Completion(text, weight, 0) for text, weight in self._stretch(start, stop, count)}
        if len(found) < count and forgive and len(plain) >= SLIPS_FROM:
            for text, weight in self._of_all(dict.fromkeys(self._between(variants(plain))), count):
                found.setdefault(text, Completion(text, weight, 1))
        return sorted(found.values(), key=lambda one: (one.slips, -one.weight, one.text))[:count]

    def _between(self, keys: np.ndarray) -> list[tuple[int, int]]:
        """Where entries begin with each key (S32), of those with which some do."""
        if not len(self.keys):
            return []
        starts = np.searchsorted(self.keys, keys)
        first = self.keys[np.minimum(starts, len(self.keys) - 1)]
        letters = letters_of(keys)
        having = np.flatnonzero(((letters_of(first) == letters) | (letters == 0)).all(axis=1))
        high = np.where(letters[having] == 0, np.uint8(0xFF), letters[having]).view(f"S{KEY}").ravel()
        stops = np.searchsorted(self.keys, high, side="right")
        return list(zip(starts[having].tolist(), stops.tolist(), strict=True))

    def _of_all(self, stretches: Iterable[tuple[int, int]], count: int) -> list[tuple[int, float]]:
        """The heaviest texts of many stretches; all short ones are looked at together."""
        short = np.array([one for one in stretches if one[1] - one[0] <= SHORT], dtype=np.int64).reshape(-1, 2)
        found = [one for a, b in stretches if b - a > SHORT for one in self._stretch(a, b, count)]
        if len(short):
            many = short[:, 1] - short[:, 0]
            places = np.repeat(short[:, 1] - np.cumsum(many), many) + np.arange(int(many.sum()))
            best = places[top(self.weights[places], count * WORDS_MAX)]
            found += zip(self.texts[best].tolist(), self.weights[best].tolist(), strict=True)
        return sorted(set(found), key=lambda one: (-one[1], one[0]))[:count]

    def _stretch(self, start: int, stop: int, count: int) -> list[tuple[int, float]]:
        """The heaviest texts of some entries, each once. Of one text a few entries may lie there."""
        wanted = count * 2
        if stop - start > 64 * PART:
            # What is among the heaviest lies in one of as many parts whose tops are the greatest, or at the ends.
            first, last = -(-start // PART), stop // PART
            parts = first + top(self.tops[first:last], wanted)
            places = (parts[:, None] * PART + np.arange(PART)).ravel()
            ends = np.concatenate((np.arange(start, first * PART), np.arange(last * PART, stop)))
            places = np.concatenate((places, ends))
        else:
            places = np.arange(start, stop)
        weights = self.weights[places]
        best = places[top(weights, wanted)]
        order = np.lexsort((self.texts[best], -self.weights[best]))
        heaviest = dict.fromkeys(self.texts[best[order]].tolist())
        by_text = dict(zip(self.texts[best].tolist(), self.weights[best].tolist(), strict=True))
        return [(text, by_text[text]) for text in heaviest][:count]


def top(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the greatest ``count``, of equal ones the first."""
    if len(values) <= count:
        return np.arange(len(values))
    bar = np.partition(values, len(values) - count)[len(values) - count]
    above = np.flatnonzero(values > bar)
    return np.concatenate((above, np.flatnonzero(values == bar)[: count - len(above)]))


def letters_of(keys: np.ndarray) -> np.ndarray:
    """The bytes of keys (n, 32), 0 behind their ends."""
    return np.ascontiguousarray(keys).view(np.uint8).reshape(-1, KEY)


def variants(plain: str) -> np.ndarray:
    """What else may have been meant, with one slip behind the first letter: keys (S32), some of them twice."""
    return ascii_variants(plain) if plain.isascii() else np.array(other_variants(plain), dtype=f"S{KEY}")


def ascii_variants(plain: str) -> np.ndarray:
    """Of letters of one byte, all at once."""
    raw = np.zeros(KEY + 2, dtype=np.uint8)
    given = np.frombuffer(plain[: KEY + 1].encode(), dtype=np.uint8)
    raw[: len(given)] = given
    letters = np.frombuffer(LETTERS.encode(), dtype=np.uint8)
    place, slip = np.arange(KEY), np.arange(1, min(len(given), KEY))[:, None]
    less = np.where(place < slip, raw[place], raw[place + 1])
    over = np.where(place == slip, raw[place + 1], np.where(place == slip + 1, raw[place - 1], raw[place]))
    over[raw[slip.ravel() + 1] == 0] = raw[:KEY]  # there is no letter behind to change with
    more = np.where(place <= slip, raw[place], raw[place - 1])
    typed = [less, over]
    for start in (np.broadcast_to(raw[:KEY], more.shape), more):
        each = np.repeat(start[:, None], len(letters), axis=1)
        each[np.arange(len(slip))[:, None], np.arange(len(letters)), slip] = letters
        typed.append(each.reshape(-1, KEY))
    every = np.concatenate(typed)
    return every[(every != raw[:KEY]).any(axis=1)].view(f"S{KEY}").ravel()


def other_variants(plain: str) -> list[bytes]:
    """Of any letters."""
    found = set()
    for at in range(1, len(plain)):
        head, tail = plain[:at], plain[at:]
        found.add(head + tail[1:])
        found.add(head + tail[1:2] + tail[:1] + tail[2:])
        for letter in LETTERS:
            found.add(head + letter + tail[1:])
            found.add(head + letter + tail)
    found.discard(plain)
    return [one.encode("utf-8", "surrogatepass")[:KEY] for one in found if one.strip()]
