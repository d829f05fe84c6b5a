"""The inverted index of an epoch as it is mapped: dictionaries, lists, lengths, and the numbers that BM25 needs.

A list is found by its term; which fields count, and how much, is the query's to say, as a view: norms by length, times
the field's weight.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path

import numpy as np

from mixline.storage.analysis import Analyser
from mixline.storage.arrays import map_array
from mixline.storage.dictionary import Dictionary
from mixline.storage.manifest import TextFacts
from mixline.storage.text_builder import TEXT, length_norms

Found = tuple[int, int, int, int]  # rows that have a term, start and bytes of its list, start of its positions


class TextIndex:
    """``names``: the fields in their order; ``analysers``: by field; ``count``: rows of the build."""

    def __init__(self, epoch: Path, facts: TextFacts, count: int) -> None:
        self._folder, self.facts, self.count = epoch / TEXT, facts, count
        self.names = list(facts.fields)
        made = {one.analyser: Analyser(one.analyser) for one in facts.fields.values()}
        self.analysers = [made[one.analyser] for one in facts.fields.values()]
        self.stored = [one.positions for one in facts.fields.values()]
        self.averages = [one.words / count if one.words else 1.0 for one in facts.fields.values()]

    def _map(self, name: str) -> np.ndarray:
        return map_array(self._folder / f"{name}.npy")

    @cached_property
    def terms(self) -> Dictionary:
        """What can be found, with the number of rows that have it."""
        return Dictionary(self._map("terms.index"), self._map("terms.bytes"), self.facts.terms)

    @cached_property
    def words(self) -> Dictionary | None:
        """Words as they are spelt, with how often they came; None where the build kept none."""
        if not self.facts.words:
            return None
        return Dictionary(self._map("words.index"), self._map("words.bytes"), self.facts.words)

    @cached_property
    def lists(self) -> np.ndarray:
        return self._map("postings")

    @cached_property
    def positions(self) -> np.ndarray:
        return self._map("positions")

    @cached_property
    def lengths(self) -> list[np.ndarray]:
        """Words of each row's text (uint8 or uint16), by field."""
        return [self._map(f"{name}.lengths") for name in self.names]

    def norms(self, field: int, weight: float, most: int) -> np.ndarray:
        """``weight``, and behind it what a word counts in a text of 0 .. ``most`` words, times the weight (float32)."""
        found = length_norms(most, self.averages[field], self.facts.b) * np.float32(weight)
        return np.concatenate((np.array([weight], dtype=np.float32), found))

    def weight(self, rows: int) -> float:
        """The weight of a term that so many rows have: log(1 + (N - n + .5) / (n + .5)), as Lucene has it."""
        return math.log1p((max(self.count, rows) - rows + 0.5) / (rows + 0.5))
