"""``mixline bench spelling``: how good "did you mean" is, on words that people would have typed rightly.

Queries are one to three words of one text, drawn from all that a collection has. In half of them one word is misspelt,
as typists do (Damerau 1964: a letter more, less, other, or two changed over; of letters more and other most are the
same letter twice, or its neighbour on the keyboard); long words have two slips every fourth time. What becomes another
word of the collection is drawn again. Of the others nothing is to be corrected.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from mixline.node.inprocess import Node
from mixline.node.slips import NEIGHBOURS
from mixline.tools.bench import report
from mixline.tools.bench_gowalla import data_folder
from mixline.tools.bench_hybrid import films
from mixline.tools.search_quality import lines_of
from mixline.tools.serving import COMMAND

COLLECTIONS = ("films", "vaswani", "cacm")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORD = re.compile(r"[a-z]+")
WORD_MIN, TWICE_FROM = 4, 8  # letters of a word that is misspelt, and of one that may be so twice
TWICE = 0.25
SPEC = """
[items]
path = "items.parquet"
id = "id"
columns = { text = "text" }
[text]
stem = "english"
stop = "english"
"""
SURFACE = 'limit = 1\n[[source]]\nkind = "text"\n[[selector]]\nkind = "topk"\nby = "text.score"\n'


class Typed(NamedTuple):
    """``query`` as it was typed and as it was ``meant``; ``slips``: how many of one word."""

    query: str
    meant: str
    slips: int


def collection(name: str) -> list[str]:
    """The texts of one."""
    if name == "films":
        return [f"{film.title} {film.plot}" for film in films()]
    folder = data_folder() / name
    if not folder.is_dir():
        raise click.UsageError(f"{folder} is absent: set MIXLINE_DATA to the folder that holds {name}")
    return [" ".join(line[1:]) for line in lines_of(folder / "docs.tsv.gz")]


def beside(letter: str) -> str:
    """The neighbours of a letter on the keyboard."""
    return "".join(other for other in LETTERS if letter + other in NEIGHBOURS and other != letter)


def misspelt(word: str, rng: np.random.Generator) -> str:
    """With one slip behind the first letter."""
    at, kind = int(rng.integers(1, len(word))), int(rng.choice(4, p=[0.25, 0.3, 0.3, 0.15]))
    near = str(rng.choice(list(beside(word[at]) if rng.random() < 0.7 else LETTERS)))
    if kind == 0:
        return word[:at] + (word[at - 1] if rng.random() < 0.5 else near) + word[at:]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[:at] + near + word[at + 1 :]
    at = min(at, len(word) - 2)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def queries(texts: list[str], count: int, seed: int) -> Iterator[Typed]:
    """Half of them misspelt."""
    rng = np.random.default_rng(seed)
    split = [WORD.findall(text.lower()) for text in texts]
    known = Counter(word for words in split for word in words)
    for turn in range(count):
        long: list[int] = []
        while not long:
            words = split[int(rng.integers(len(split)))]
            start = int(rng.integers(max(1, len(words))))
            words = words[start : start + int(rng.integers(1, 4))]
            long = [at for at, word in enumerate(words) if len(word) >= WORD_MIN]
        meant, slips = " ".join(words), 0
        if turn % 2:
            at = int(rng.choice(long))
            slips = 1 + (len(words[at]) >= TWICE_FROM and rng.random() < TWICE)
            while True:
                wrong = misspelt(words[at], rng)
                wrong = misspelt(wrong, rng) if slips == 2 else wrong
                if wrong not in known:
                    break
            words = [*words[:at], wrong, *words[at + 1 :]]
        yield Typed(" ".join(words), meant, slips)


@contextmanager
def serving_texts(texts: list[str]) -> Iterator[Node]:
    """A node in this process over a store of these texts, with a surface ``spelling``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pq.write_table(pa.table({"id": np.arange(len(texts)), "text": texts}), folder / "items.parquet")
        (folder / "spec.toml").write_text(SPEC)
        command = [*COMMAND, "build", str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"]
        subprocess.run(command, check=True)
        (folder / "surfaces").mkdir()
        (folder / "surfaces" / "spelling.toml").write_text(f'name = "spelling"\n{SURFACE}')
        (folder / "NODE.toml").write_text('surfaces = "surfaces"\n')
        with Node.open(folder / "store", config=folder / "NODE.toml") as node:
            yield node


def judged(node: Node, asked: Iterator[Typed]) -> dict[str, float]:
    """``precision``: of the corrections of misspelt queries, those that are what was meant; ``recall``: of misspelt
    queries, those that are corrected so; ``meddling``: of right ones, those that are "corrected"."""
    told: Counter[str] = Counter()
    for one in asked:
        said = node.ask("spelling", query=one.query, deadline_ms=10_000).spelling
        kind = f"slips_{one.slips}" if one.slips else "right"
        told[kind] += 1
        told[f"{kind} corrected"] += bool(said)
        told[f"{kind} well"] += bool(said) and said == one.meant
    wrong = [kind for kind in ("slips_1", "slips_2") if told[kind]]
    every, corrected, well = (sum(told[f"{kind}{end}"] for kind in wrong) for end in ("", " corrected", " well"))
    found = {"precision": well / max(1, corrected), "recall": well / max(1, every)}
    found |= {f"recall_{kind}": told[f"{kind} well"] / told[kind] for kind in wrong}
    return {**found, "meddling": told["right corrected"] / max(1, told["right"])}


@click.command()
@click.option("--collection", "names", multiple=True, type=click.Choice(COLLECTIONS), help="Only these.")
@click.option("--queries", "count", default=4000, show_default=True, type=click.IntRange(20))
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def spelling(names: tuple[str, ...], count: int, seed: int, as_json: bool) -> None:
    """Precision and recall of the spelling suggestion, and how often a right query is corrected."""
    figures: dict[str, Any] = {"queries": count}
    for name in names or COLLECTIONS:
        texts = collection(name)
        with serving_texts(texts) as node:
            found = judged(node, queries(texts, count, seed))
        figures |= {f"{name}_{key}": round(value, 4) for key, value in found.items()}
    report(figures, as_json)
