"""How well text search ranks: collections with judgements, by mean average precision and precision at 30."""

from __future__ import annotations

import gzip
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from mixline.kernels.maxscore import Search
from mixline.kernels.postings import Postings
from mixline.node.text_terms import Translator
from mixline.storage.analysis import AnalyserFacts, stop_words
from mixline.storage.progress import Silence
from mixline.storage.text_builder import TextBuilder
from mixline.storage.text_index import TextIndex
from mixline.storage.text_spec import TextFieldSpec, TextSpec

DEPTH = 1000  # of a ranking that counts


def lines_of(path: Path) -> list[list[str]]:
    """Cells of a gzipped TSV file."""
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
        return [line.rstrip("\n").split("\t") for line in file]


def plain(text: str) -> str:
    """A topic without what would be syntax."""
    return "".join(one if one.isalnum() or one in "'." else " " for one in text)


def judged(folder: Path, k1: float = 0.9, b: float = 0.4, stem: str = "porter") -> tuple[float, float]:
    """MAP and P30 over the topics that have judgements; Lucene's stop list, one field."""
    documents = lines_of(folder / "docs.tsv.gz")
    relevant: dict[str, set[str]] = defaultdict(set)
    for topic, document, grade in lines_of(folder / "qrels.tsv.gz"):
        if int(grade) > 0:
            relevant[topic].add(document)
    analyser = AnalyserFacts(stop=stop_words("english"), stem=stem)
    spec = TextSpec({"text": TextFieldSpec(analyser, positions=False)}, k1, b, spelling=False)
    precisions, at_30 = [], []
    with tempfile.TemporaryDirectory() as scratch:
        builder = TextBuilder(Path(scratch) / "epoch", Path(scratch) / "scratch", spec)
        builder.add({"text": [text for _, text in documents]}, len(documents))
        index = TextIndex(Path(scratch) / "epoch", builder.close(Silence()), len(documents))
        keys = np.arange(len(documents), dtype=np.uint64)
        lists = Postings(index.lists, index.positions, index.lengths, index.stored, k1, keys, len(documents))
        translator = Translator(index, ["text"], [1.0], fuzzy=False)
        for topic, text in lines_of(folder / "topics.tsv.gz"):
            if not relevant[topic]:
                continue
            asked = translator.asked(translator.terms(plain(text)))
            search = Search(lists, DEPTH, asked.lists, translator.views, asked.kinds, asked.phrases)
            search.advance()
            hits = np.array([documents[row][0] in relevant[topic] for row in search.result()[0].tolist()])
            found = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            precisions.append(float(found[hits].sum()) / len(relevant[topic]))
            at_30.append(hits[:30].sum() / 30)
    return float(np.mean(precisions)), float(np.mean(at_30))
