"""``mixline bench search``: text search against tantivy, bm25s and SQLite FTS5, same documents, words and queries.

Documents are made of the words of real queries by Zipf's law, with a tail of made-up words; every engine splits them at
spaces and keeps frequencies but no positions. One thread; a query is timed from its text to its best 100.
"""

from __future__ import annotations

import gzip
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from mixline.kernels.maxscore import Search
from mixline.kernels.postings import Postings
from mixline.node.text_terms import Translator
from mixline.storage.analysis import AnalyserFacts
from mixline.storage.progress import Silence
from mixline.storage.text_builder import TextBuilder
from mixline.storage.text_index import TextIndex
from mixline.storage.text_spec import TextFieldSpec, TextSpec
from mixline.tools.bench import report
from mixline.tools.bench_gowalla import data_folder
from mixline.tools.search_quality import judged

K = 100
BUCKETS = 10  # of which a filter keeps one
TAIL = 200_000  # words that no query has
CHUNK = 20_000
WARM = 50  # queries that nobody times


def real_queries() -> list[str]:
    """Those of ``webqueries``, lower-cased words only."""
    path = data_folder() / "webqueries" / "queries.tsv.gz"
    if not path.exists():
        raise click.UsageError(f"{path} is absent: set MIXLINE_DATA to the folder that holds webqueries")
    with gzip.open(path, "rt") as file:
        texts = [line.rstrip("\n").split("\t")[2].lower() for line in file]
    found = [" ".join(word for word in text.split() if word.isalnum() and word.isascii()) for text in texts]
    return [text for text in found if text]


def documents(queries: list[str], count: int, seed: int = 1) -> Iterator[list[str]]:
    """Texts of about 40 words in chunks."""
    rng = np.random.default_rng(seed)
    words = [word for word, _ in Counter(word for text in queries for word in text.split()).most_common()]
    words += [f"zz{at}" for at in range(TAIL)]
    chances = np.cumsum(1.0 / np.arange(10, len(words) + 10))
    chances /= chances[-1]
    for start in range(0, count, CHUNK):
        lengths = np.clip(rng.lognormal(3.5, 0.6, min(CHUNK, count - start)), 3, 250).astype(int)
        drawn = np.searchsorted(chances, rng.random(int(lengths.sum())))
        ends = np.cumsum(lengths).tolist()
        text = [words[at] for at in drawn.tolist()]
        yield [" ".join(text[end - length : end]) for end, length in zip(ends, lengths.tolist(), strict=True)]


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class Spent:
    """Seconds, and seconds of CPU of all threads, from now until it is stopped."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def stop(self) -> Spent:
        self.wall, self.cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return self

    def less(self, making: Spent, name: str) -> dict[str, float]:
        """What a build took, without the documents that were made for it."""
        wall, cpu = self.wall - making.wall, self.cpu - making.cpu
        return {f"{name}_build_s": round(wall, 1), f"{name}_build_cpu_s": round(cpu, 1)}


class Ours:
    """The index as a build makes it, and queries as the source ``text`` runs them."""

    def __init__(self, folder: Path, chunks: Iterator[list[str]]) -> None:
        field = TextFieldSpec(AnalyserFacts(words="spaces", fold=False), positions=False)
        builder = TextBuilder(
            folder / "epoch", folder / "scratch", TextSpec({"text": field}, 1.2, 0.75, spelling=False)
        )
        count = 0
        for texts in chunks:
            builder.add({"text": texts}, len(texts))
            count += len(texts)
        self.index = TextIndex(folder / "epoch", builder.close(Silence()), count)
        self.bytes = size_of(folder / "epoch")
        index = self.index
        keys = np.arange(count, dtype=np.uint64)
        self.postings = Postings(index.lists, index.positions, index.lengths, [False], index.facts.k1, keys, count)
        self.translator = Translator(index, ["text"], [1.0], fuzzy=False)
        bits = np.zeros(-(-count // 64) * 64, dtype=bool)
        bits[3:count:BUCKETS] = True
        self.tenth = np.packbits(bits, bitorder="little").view(np.uint64)

    def query(self, text: str, allowed: np.ndarray | None = None) -> np.ndarray:
        asked = self.translator.asked(self.translator.terms(text))
        if not asked.possible:
            return np.zeros(0, dtype=np.uint32)
        search = Search(self.postings, K, asked.lists, self.translator.views, asked.kinds, asked.phrases, allowed)
        search.advance()
        return search.result()[0]


class Tantivy:
    """Through its own Python package; one writer thread, so that there are few segments."""

    def __init__(self, folder: Path, chunks: Iterator[list[str]]) -> None:
        import tantivy

        self._tantivy = tantivy
        folder.mkdir()
        schema = tantivy.SchemaBuilder()
        schema.add_text_field("text", stored=False, tokenizer_name="whitespace", index_option="freq")
        schema.add_unsigned_field("bucket", stored=False, indexed=True)
        self._index = tantivy.Index(schema.build(), path=str(folder))
        writer = self._index.writer(heap_size=1_000_000_000, num_threads=1)
        row = 0
        for texts in chunks:
            for text in texts:
                one = tantivy.Document(text=text)
                one.add_unsigned("bucket", row % BUCKETS)  # as a keyword it would be signed, which the field is not
                writer.add_document(one)
                row += 1
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()
        self._searcher = self._index.searcher()
        self.segments = self._searcher.num_segments
        self.bytes = size_of(folder)
        schema_of = self._index.schema
        term = tantivy.Query.term_query(schema_of, "bucket", 3)
        self._tenth = tantivy.Query.const_score_query(term, 0.0)

    def query(self, text: str, filtered: bool = False) -> Any:
        query = self._index.parse_query(text, ["text"])
        if filtered:
            must = self._tantivy.Occur.Must
            query = self._tantivy.Query.boolean_query([(must, query), (must, self._tenth)])
        return self._searcher.search(query, K, count=False)


class Sqlite:
    """FTS5 without content and without positions."""

    def __init__(self, folder: Path, chunks: Iterator[list[str]]) -> None:
        folder.mkdir()
        self._database = sqlite3.connect(folder / "fts.db")
        self._database.execute("CREATE VIRTUAL TABLE d USING fts5(text, content='', detail=column)")
        row = 0
        for texts in chunks:
            self._database.executemany("INSERT INTO d(rowid, text) VALUES (?, ?)", enumerate(texts, row))
            row += len(texts)
        self._database.execute("INSERT INTO d(d) VALUES ('optimize')")
        self._database.commit()
        self.bytes = size_of(folder)

    def query(self, text: str) -> list:
        match = " OR ".join(f'"{word}"' for word in dict.fromkeys(text.split()))
        return self._database.execute(
            "SELECT rowid FROM d WHERE d MATCH ? ORDER BY rank LIMIT 100", (match,)
        ).fetchall()


class Bm25s:
    """Scores all documents that a word has, eagerly, with NumPy."""

    def __init__(self, folder: Path, chunks: Iterator[list[str]]) -> None:
        import bm25s

        corpus = [text.split() for texts in chunks for text in texts]
        self._engine = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
        self._engine.index(corpus, show_progress=False)
        del corpus
        folder.mkdir()
        self._engine.save(str(folder))
        self.bytes = size_of(folder)

    def query(self, text: str) -> Any:
        return self._engine.retrieve([text.split()], k=K, show_progress=False, n_threads=0)


PEERS: dict[str, tuple[type, int]] = {"tantivy": (Tantivy, 1), "sqlite_fts5": (Sqlite, 10), "bm25s": (Bm25s, 10)}


def rates(runs: dict[str, Callable[[str], Any]], queries: list[str]) -> dict[str, float]:
    """Queries a second, and the times of single ones; they take turns, so that what else runs slows all alike."""
    for text in queries[:WARM]:
        for run in runs.values():
            run(text)
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for text in queries:
        for name, run in runs.items():
            started = time.perf_counter()
            run(text)
            spent[name].append(time.perf_counter() - started)
    figures = {}
    for name, times in spent.items():
        figures[f"{name}_qps"] = round(len(times) / sum(times), 1)
        figures[f"{name}_p50_ms"] = round(1e3 * float(np.median(times)), 3)
        figures[f"{name}_p99_ms"] = round(1e3 * float(np.quantile(times, 0.99)), 3)
    return figures


def compare(ours: Ours, name: str, peer: Any, queries: list[str]) -> dict[str, float]:
    """Both on the same queries; with tantivy also those that a filter lets a tenth of the documents through."""
    figures = rates({"ours": ours.query, name: peer.query}, queries)
    figures["ratio"] = round(figures["ours_qps"] / figures[f"{name}_qps"], 2)
    if isinstance(peer, Tantivy):
        runs = {
            "ours_filtered": lambda text: ours.query(text, ours.tenth),
            "tantivy_filtered": lambda text: peer.query(text, filtered=True),
        }
        figures |= rates(runs, queries) | {"segments": peer.segments}
        figures["filtered_ratio"] = round(figures["ours_filtered_qps"] / figures["tantivy_filtered_qps"], 2)
    return figures


@click.command()
@click.option("--documents", "count", default=1_000_000, show_default=True, type=click.IntRange(1000))
@click.option("--queries", "asked", default=2000, show_default=True, type=click.IntRange(100))
@click.option("--peer", "peers", multiple=True, type=click.Choice(list(PEERS)), help="Default: all.")
@click.option("--json", "as_json", is_flag=True)
def search(count: int, asked: int, peers: tuple[str, ...], as_json: bool) -> None:
    """Build, size, queries per second, without and with a filter that keeps a tenth."""
    texts = real_queries()
    rng = np.random.default_rng(2)
    queries = [texts[at] for at in rng.choice(len(texts), asked).tolist()]
    figures: dict[str, Any] = {"documents": count, "queries": asked, "k": K}
    with tempfile.TemporaryDirectory() as folder:
        making = Spent()
        for _ in documents(texts, count):
            pass
        making.stop()
        building = Spent()
        ours = Ours(Path(folder) / "ours", documents(texts, count))
        figures |= building.stop().less(making, "ours")
        figures["ours_mib"] = round(ours.bytes / 2**20, 1)
        for name in peers or PEERS:
            made, share = PEERS[name]
            building = Spent()
            peer = made(Path(folder) / name, documents(texts, count))
            figures |= building.stop().less(making, name)
            figures[f"{name}_mib"] = round(peer.bytes / 2**20, 1)
            figures[f"{name}_size_ratio"] = round(ours.bytes / peer.bytes, 2)
            figures[name] = compare(ours, name, peer, queries[::share])
            del peer
    for collection in ("cacm", "vaswani"):
        precision, at_30 = judged(data_folder() / collection)
        figures[collection] = {"map": round(precision, 4), "p30": round(at_30, 4)}
    report(figures, as_json)
