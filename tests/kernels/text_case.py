"""Texts made of few words, indexed by the real builder, and the same as plain lists of rows."""

from __future__ import annotations

import numpy as np

from mixline.kernels.postings import Postings
from mixline.storage.analysis import AnalyserFacts
from mixline.storage.progress import Silence
from mixline.storage.text_builder import TextBuilder
from mixline.storage.text_index import TextIndex
from mixline.storage.text_spec import TextFieldSpec, TextSpec


def texts(rng: np.random.Generator, count: int, words: int, length: float) -> list[str]:
    """Words of a Zipf vocabulary: w0 in nearly every text."""
    chances = 1.0 / np.arange(1, words + 1)
    chances /= chances.sum()
    lengths = rng.poisson(length, count)
    drawn = iter(rng.choice(words, int(lengths.sum()), p=chances).tolist())
    return [" ".join(f"w{next(drawn)}" for _ in range(n)) for n in lengths.tolist()]


class Case:
    """An index of ``columns`` of texts in ``folder``."""

    def __init__(self, folder, columns: dict[str, list[str]], positions: bool = True, run_bytes: int = 1 << 20) -> None:
        analyser = AnalyserFacts()
        weights = {name: 1.0 + at for at, name in enumerate(columns)}
        spec = TextSpec({name: TextFieldSpec(analyser, weights[name], positions) for name in columns})
        self.columns, self.count = columns, len(next(iter(columns.values())))
        builder = TextBuilder(folder / "epoch", folder / "scratch", spec, run_bytes)
        for start in range(0, self.count, 1000):
            here = {name: some[start : start + 1000] for name, some in columns.items()}
            builder.add(here, len(next(iter(here.values()))))
        self.index = TextIndex(folder / "epoch", builder.close(Silence()), self.count)
        self.keys = np.random.default_rng(0).permutation(self.count).astype(np.uint64)
        text = self.index
        self.postings = Postings(
            text.lists, text.positions, text.lengths, text.stored, text.facts.k1, self.keys, self.count
        )
        most = int(np.iinfo(text.lengths[0].dtype).max)
        norms = [text.norms(at, weights[name], most) for at, name in enumerate(columns)]
        self.views = [tuple(norms), tuple(one if at == 0 else None for at, one in enumerate(norms))]

    def lists(self, words: list[str], views: list[int] | None = None) -> list[tuple]:
        """The lists of words, each a group of its own."""
        found = []
        for at, word in enumerate(words):
            rows, start, _, places = self.index.terms.find(word.encode())
            found.append((start, rows, places, self.index.weight(rows), views[at] if views else 0, at))
        return found
