"""From text to terms: segmentation, lower case and folding, stop words, stems, edge n-grams.

An :class:`Analyser` is made of what the manifest says, for the build, for what comes while a node serves, and for
queries alike, so the three can never differ. It looks at one word at a time; what it makes of a word is remembered by
whoever meets millions of them.
"""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import msgspec

from mixline.storage.errors import BadSpec
from mixline.storage.stop_words import STOP_WORDS
from mixline.storage.words import word_spans

Words = Literal["unicode", "spaces", "whole"]
STEMS = (
    "danish", "dutch", "english", "finnish", "french", "german", "hungarian", "italian", "norwegian", "porter",
    "portuguese", "romanian", "russian", "spanish", "swedish", "turkish",
)  # fmt: skip
WITHOUT_MARKS = ("english", "porter")  # whose stems know no accents: words are folded before, for the others after
WORD_MAX = 64  # code points of a word that count
GRAM_MAX = 32
SPREAD = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d", "ı": "i", "ё": "е"})
KEPT_MARK = "\u0306"  # й and ў are letters of their own


class AnalyserFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A chain, in the order in which it works.

    ``words``: how a text falls into words, by UAX 29, at white space, or not at all (then ``stem`` and ``grams`` see
    the whole text). ``stop``: words left out, lower-cased. ``stem``: a Snowball algorithm, or "". ``grams``: lengths
    of the beginnings of a word, from and to, that are found too.
    """

    words: Words = "unicode"
    fold: bool = True
    stop: tuple[str, ...] = ()
    stem: str = ""
    grams: tuple[int, int] | None = None


class Token(NamedTuple):
    """A word of a text: ``start`` .. ``end`` in code points, its place among the words, and the term it is found by,
    None for a stop word."""

    start: int
    end: int
    place: int
    term: str | None


class Analyser:
    """What text is found by. Equal facts give equal terms."""

    def __init__(self, facts: AnalyserFacts) -> None:
        self.facts = facts
        self._stop = frozenset(facts.stop)
        self._stem = stemmer(facts.stem)
        self._fold_first = facts.stem in WITHOUT_MARKS

    def term(self, word: str) -> str | None:
        """The term that a word is asked for by; None for a stop word."""
        lower = lowered(word[:WORD_MAX])
        if lower in self._stop:
            return None
        facts = self.facts
        if facts.fold and self._fold_first:
            lower = folded(lower)
        if facts.stem:
            lower = self._stem(without_genitive(lower) if self._fold_first else lower)
        if facts.fold and not self._fold_first:
            lower = folded(lower)
        return lower[:WORD_MAX] or None

    def expand(self, word: str) -> tuple[str, ...]:
        """The terms that an indexed word is found by: its own, and its beginnings."""
        term = self.term(word)
        if term is None:
            return ()
        if self.facts.grams is None:
            return (term,)
        least, most = self.facts.grams
        plain = self.plain(word)
        return (term, *(g for n in range(least, min(most, len(plain)) + 1) if (g := plain[:n]) != term))

    def plain(self, word: str) -> str:
        """A word as it is spelt: lower-cased and folded, never stemmed."""
        lower = lowered(word[:WORD_MAX])
        return (folded(lower) if self.facts.fold else lower)[:WORD_MAX]

    def tokens(self, text: str, most: int = -1) -> Iterator[Token]:
        """The words of a text with their places, stop words among them."""
        for place, (start, end) in enumerate(self.spans(text, most)):
            yield Token(start, end, place, self.term(text[start:end]))

    def spans(self, text: str, most: int = -1) -> list[tuple[int, int]]:
        """Where words lie."""
        if self.facts.words == "unicode":
            return word_spans(text, most).tolist()
        if self.facts.words == "whole":
            inside = text.strip()
            start = text.find(inside) if inside else 0
            return [(start, start + len(inside))] if inside else []
        found: list[tuple[int, int]] = []
        at = 0
        for word in text.split():
            if len(found) == most:
                break
            at = text.index(word, at)
            found.append((at, at + len(word)))
            at += len(word)
        return found


def lowered(word: str) -> str:
    """Full case folding; what looks alike (ligatures, full width) becomes the same."""
    if word.isascii():
        return word.lower()
    return unicodedata.normalize("NFKC", word).casefold().replace("\u2019", "'")


def folded(word: str) -> str:
    """Without accents, points and other marks above letters; marks that make vowels in Indic scripts stay."""
    if word.isascii():
        return word
    kept: list[str] = []
    for one in unicodedata.normalize("NFD", word):
        mark = "\u0300" <= one <= "\u036f" or "\u0591" <= one <= "\u05c7" or "\u064b" <= one <= "\u065f"
        if not mark or (one == KEPT_MARK and kept and kept[-1] in "иу"):
            kept.append(one)
    return unicodedata.normalize("NFC", "".join(kept)).translate(SPREAD)


def without_genitive(word: str) -> str:
    """English ``dog's`` is ``dog``."""
    return word[:-2] if word.endswith("'s") else word


def stemmer(name: str) -> Callable[[str], str]:
    """The stems of a Snowball algorithm; the words themselves for "". :class:`BadSpec` where PyStemmer is missing."""
    if not name:
        return lambda word: word
    if importlib.util.find_spec("Stemmer") is None:
        raise BadSpec(f"text: stem = {name!r} needs PyStemmer: pip install 'mixline[text]'")
    import Stemmer

    found = Stemmer.Stemmer(name)
    found.maxCacheSize = 0  # callers remember words themselves
    return found.stemWord


def stop_words(given: str | list[str]) -> tuple[str, ...]:
    """A list by the name of its language, or the words themselves, sorted."""
    words = STOP_WORDS[given] if isinstance(given, str) else {lowered(word) for word in given}
    return tuple(sorted(words))
