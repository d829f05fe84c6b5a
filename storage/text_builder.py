"""The inverted index of the items' texts, made while the items are read: runs in a scratch folder, then one merge.

A run is at most ``RUN_BYTES`` of postings, sorted by term and mapped when lists are written, so memory is bounded by
the run and the vocabulary, whatever the input. What is written does not depend on where runs end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mixline.storage.analysis import Analyser
from mixline.storage.arrays import ArrayWriter, map_array
from mixline.storage.completions import CompletionsWriter
from mixline.storage.dictionary import write_dictionary
from mixline.storage.inverting import Inverter
from mixline.storage.manifest import TextFacts, TextFieldFacts
from mixline.storage.postings_writer import ListWriter
from mixline.storage.progress import Progress
from mixline.storage.text_spec import TextSpec

RUN_BYTES = 96 << 20
TERMS_TOGETHER = 1 << 14
LENGTH_MAX = 0xFFFF  # words of a text that count for its length
PADDING = 32  # bytes behind the last list, so that whole vectors can be read
TEXT = "text"


class TextBuilder:
    """Takes the texts of items in the order of their rows."""

    def __init__(self, folder: Path, scratch: Path, spec: TextSpec, run_bytes: int = RUN_BYTES) -> None:
        self.spec, self.folder, self.scratch = spec, folder / TEXT, scratch / TEXT
        self.run_bytes = run_bytes
        facts = list(dict.fromkeys(field.analyser for field in spec.fields.values()))
        chains = [facts.index(field.analyser) for field in spec.fields.values()]
        stored = [field.positions for field in spec.fields.values()]
        self._inverter = Inverter([Analyser(one) for one in facts], chains, stored, spec.spelling)
        self._lengths = {name: ArrayWriter(self.scratch / f"{name}.npy", "<u4") for name in spec.fields}
        self._runs: list[tuple[np.ndarray, ...]] = []
        self._count = 0
        self.completions = CompletionsWriter(folder, scratch) if spec.suggest else None

    def add(self, texts: Mapping[str, Sequence[str | None]], count: int) -> None:
        """The texts of the next ``count`` rows, by column."""
        if self.completions is not None:
            self.completions.add(self._count, texts[self.spec.suggest])
        lengths = {name: np.zeros(count, dtype=np.uint32) for name in self.spec.fields}
        columns = [(texts[name], lengths[name]) for name in self.spec.fields]
        at = 0
        while at < count:
            at = self._inverter.add_rows(self._count, columns, at, count, self.run_bytes, LENGTH_MAX)
            if self._inverter.bytes >= self.run_bytes:
                self._set_aside()
        for name, found in lengths.items():
            self._lengths[name].append(found)
        self._count += count

    def _set_aside(self) -> None:
        run: list[np.ndarray] = []
        parts: tuple[np.ndarray, ...] = self._inverter.take_run()
        for at, part in enumerate(parts):
            path = self.scratch / f"run{len(self._runs):04d}.{at}.npy"
            np.save(path, part)
            run.append(map_array(path) if len(part) else part)
        self._runs.append(tuple(run))

    def close(self, progress: Progress) -> TextFacts:
        """Merge the runs and write all files."""
        self._set_aside()
        if self.completions is not None:
            self.completions.end_rows()
        fields = {}
        lengths, norms = [], []
        for name, field in self.spec.fields.items():
            self._lengths[name].close()
            found = map_array(self.scratch / f"{name}.npy")
            total = int(found.sum(dtype=np.int64))
            average = total / self._count if total else 1.0
            most = int(found.max(initial=0))
            writer = ArrayWriter(self.folder / f"{name}.lengths.npy", "u1" if most < 256 else "<u2")
            writer.append(found)
            writer.close()
            lengths.append(found)
            norms.append(length_norms(most, average, self.spec.b))
            fields[name] = TextFieldFacts(field.analyser, field.weight, field.positions, total)
        terms, postings = self._write_lists(lengths, norms, progress)
        words = self._write_words() if self.spec.spelling else 0
        spec = self.spec
        return TextFacts(fields, spec.k1, spec.b, terms, postings, words, spec.suggest, spec.queries_users)

    def _write_lists(self, lengths: list[np.ndarray], norms: list[np.ndarray], progress: Progress) -> tuple[int, int]:
        terms = sorted((term.encode("utf-8", "surrogatepass"), number) for term, number in self._inverter.terms.items())
        self._inverter.terms.clear()
        stored = [field.positions for field in self.spec.fields.values()]
        lists = ArrayWriter(self.folder / "postings.npy", "u1")
        places = ArrayWriter(self.folder / "positions.npy", "u1")
        writer = ListWriter(self._runs, lengths, norms, stored)
        counts = np.zeros(len(terms), dtype=np.uint32)
        sizes = np.zeros((2, len(terms)), dtype=np.uint64)
        order = np.array([number for _, number in terms], dtype=np.uint32)
        progress.phase("writing postings", len(terms))
        for start in range(0, len(terms), TERMS_TOGETHER):
            here = slice(start, start + TERMS_TOGETHER)
            writer.write(order[here], counts[here], sizes[0, here], sizes[1, here])
            for ends in (sizes[0, here], sizes[1, here]):
                ends[1:] = np.diff(ends)
            lists.append(writer.lists.take())
            places.append(writer.positions.take())
            progress.advance(len(order[here]))
        lists.append(np.zeros(PADDING, dtype=np.uint8))
        for file in (lists, places):
            file.close()
        self._write_dictionary("terms", [term for term, _ in terms], counts, sizes)
        return len(terms), int(counts.sum(dtype=np.int64))

    def _write_words(self) -> int:
        """Words as they are spelt, with how often they came."""
        counts = self._inverter.word_counts()
        words = sorted((word.encode("utf-8", "surrogatepass"), at) for word, at in self._inverter.words.items() if word)
        order = np.array([at for _, at in words], dtype=np.int64)
        found = np.minimum(counts[order], 0xFFFFFFFF).astype(np.uint32)
        none = np.zeros((2, len(words)), dtype=np.uint64)
        self._write_dictionary("words", [word for word, _ in words], found, none)
        return len(words)

    def _write_dictionary(self, name: str, words: list[bytes], counts: np.ndarray, sizes: np.ndarray) -> None:
        index, heap = write_dictionary(words, counts, *sizes)
        for ending, part, dtype, width in (("index", index, "<u8", 3), ("bytes", heap, "u1", None)):
            writer = ArrayWriter(self.folder / f"{name}.{ending}.npy", dtype, width)
            writer.append(part)
            writer.close()


def length_norms(most: int, average: float, b: float) -> np.ndarray:
    """What a word counts in a text of each length (float32): 1 / (1 - b + b * length / average), as in BM25."""
    lengths = np.arange(most + 1, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return (1.0 / (1.0 - b + b * lengths / average)).astype(np.float32)
