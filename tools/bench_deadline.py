"""``mixline bench deadline``: whether the deadline holds for the worst that somebody may type, over a big store.

Queries are made of what costs most: the commonest words, many at once, required, in phrases and near one another; short
beginnings; slips; texts as long as may be; letters of all planes. Each is asked of a node in this process, of a surface
that only searches, of one with a filter, and of one that counts facets and shows pieces as well. What counts is the
time until the page; beside it stands the CPU time, which others on the machine do not lengthen. With ``--verdict`` the
command fails where one of the two passes the deadline by more than it may.
"""

from __future__ import annotations

import gc
import resource
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from mixline.node import limits
from mixline.node.errors import BadRequest, RequestTimeout
from mixline.node.inprocess import Node
from mixline.tools.bench import report
from mixline.tools.bench_search import documents, real_queries
from mixline.tools.resilience_verdict import Bar, conclude
from mixline.tools.serving import COMMAND

KINDS_KEPT = 5  # of items
SPEC = """
[items]
path = "items.parquet"
id = "id"
columns = { text = "text", kind = "category" }
"""
PLAIN = 'name = "plain"\nlimit = 25\n[[source]]\nkind = "text"\n[[selector]]\nkind = "topk"\nby = "text.score"\n'
FULL = PLAIN.replace('"plain"', '"full"').replace(
    'kind = "text"\n', 'kind = "text"\nhighlight = ["*"]\nfacets = { kind = {} }\n', 1
)
FILTERED = PLAIN.replace('"plain"', '"filtered"').replace(
    "[[selector]]", '[[filter]]\nkind = "predicate"\nwhere = "kind == \'kind3\'"\n[[selector]]'
)
SURFACES = {"plain": PLAIN, "full": FULL, "filtered": FILTERED}
PLANES = (
    "".join(map(chr, range(0x20, 0x250))),
    "אבגדהאל\u202e\u202d\u200f مرحبا\u0301\u0308",
    "日本語カナひら한국어ไทย",
    "".join(map(chr, (*range(0x1F300, 0x1F400), *range(0x10000, 0x10100), 0x10FFFF))),
    'abc "\\"+-:*~\'',
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
BEYOND_P999_MS, BEYOND_MS = 1.0, 3.0  # that the deadline may be passed by: once in a thousand, and ever
MADE_UP = 20_000  # queries


class Answered(NamedTuple):
    """``status``, and how many items the page had."""

    status: str
    items: int = 0


def some_queries() -> list[str]:
    """Real ones where they are at hand, else of made-up words."""
    try:
        return real_queries()
    except click.UsageError:
        rng = np.random.default_rng(0)
        parts = np.array([a + b for a in "bcdfghlmnprstvw" for b in "aeiou"])
        words = ["".join(rng.choice(parts, int(rng.integers(1, 5)))) for _ in range(MADE_UP // 2)]
        chances = 1.0 / np.arange(10, len(words) + 10)
        drawn = rng.choice(words, (MADE_UP, 3), p=chances / chances.sum())
        return [" ".join(some) for some in drawn.tolist()]


def write_store(folder: Path, count: int) -> None:
    """Texts of some 40 words by Zipf's law, built."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [text for chunk in documents(some_queries(), count) for text in chunk]
    kinds = [f"kind{at % KINDS_KEPT}" for at in range(count)]
    pq.write_table(pa.table({"id": np.arange(count), "text": texts, "kind": kinds}), folder / "items.parquet")
    (folder / "spec.toml").write_text(SPEC)
    command = [*COMMAND, "build", str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"]
    subprocess.run(command, check=True)


def worst(common: list[str], count: int, seed: int) -> Iterator[str]:
    """Queries of which each kind comes as often."""
    rng = np.random.default_rng(seed)

    def some(low: int, high: int, among: int = 200) -> list[str]:
        return rng.choice(common[:among], int(rng.integers(low, high))).tolist()

    def slip(word: str) -> str:
        at = int(rng.integers(1, len(word) + 1))
        return word[:at] + str(rng.choice(list(LETTERS))) + word[at:]

    kinds = (
        lambda: " ".join(some(1, 9)),
        lambda: " ".join(common[: limits.query_words_max * 2]),
        lambda: " ".join(some(40, 90, 2000)),
        lambda: "+" + " +".join(some(2, 20)),
        lambda: f'"{" ".join(some(2, 16, 30))}"',
        lambda: f'"{" ".join(some(2, 8, 30))}"~{int(rng.integers(1, 99))}',
        lambda: " ".join(f"{one}*" for one in rng.choice(list(LETTERS), int(rng.integers(1, 30)))),
        lambda: " ".join(f"{slip(one)}~" for one in some(1, 40, 5000)),
        lambda: " ".join(map(slip, some(1, 60, 5000))),
        lambda: " ".join(some(1000, 9000, 20_000))[: limits.query_chars_max],
        lambda: " -".join(some(2, 20)),
        lambda: "".join(rng.choice(list(str(rng.choice(PLANES))), int(rng.choice([9, 90, 9000, 60_000]))).tolist()),
    )
    for at in range(count):
        yield kinds[at % len(kinds)]()


@click.command()
@click.option("--items", default=1_000_000, show_default=True, type=click.IntRange(1000))
@click.option("--queries", default=12_000, show_default=True, type=click.IntRange(12))
@click.option("--deadline-ms", default=20.0, show_default=True, type=click.FloatRange(1.0))
@click.option("--store", "kept", type=click.Path(file_okay=False), help="Build there, or use what lies there.")
@click.option("--seed", default=1, show_default=True)
@click.option("--verdict", type=click.Choice(["cpu", "clock"]), help="Fail where this time is beyond the bars.")
@click.option("--json", "as_json", is_flag=True)
def deadline(
    items: int, queries: int, deadline_ms: float, kept: str | None, seed: int, verdict: str | None, as_json: bool
) -> None:
    """The p99.9 and the longest of the worst queries under a deadline."""
    figures: dict[str, Any] = {"items": items, "queries": queries, "deadline_ms": deadline_ms}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(kept) if kept else Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "store").exists():
            write_store(folder, items)
        (folder / "surfaces").mkdir(exist_ok=True)
        for name, text in SURFACES.items():
            (folder / "surfaces" / f"{name}.toml").write_text(text)
        (folder / "NODE.toml").write_text('surfaces = "surfaces"\n')
        words = Counter(word for text in next(documents(some_queries(), 1000)) for word in text.split())
        common = [word for word, _ in words.most_common()]
        with Node.open(folder / "store", config=folder / "NODE.toml") as node:
            gc.collect()
            gc.freeze()  # as a worker does
            threshold = gc.get_threshold()
            gc.set_threshold(limits.collect_objects_min)
            for name in SURFACES:
                figures |= {f"{name}_{key}": one for key, one in asked(node, name, common, queries, deadline_ms, seed)}
            gc.set_threshold(*threshold)
            gc.unfreeze()
    if verdict:
        conclude("deadline", figures, bars_of(figures, deadline_ms, "_cpu" if verdict == "cpu" else ""), as_json)
    report(figures, as_json)


def bars_of(figures: dict[str, Any], deadline_ms: float, which: str) -> list[Bar]:
    """What each surface promises."""
    return [
        Bar(f"{name}: {what} ms", figures[f"{name}_{key}{which}_ms"], deadline_ms + beyond_ms)
        for name in SURFACES
        for what, key, beyond_ms in (("p99.9", "p999", BEYOND_P999_MS), ("the greatest", "most", BEYOND_MS))
    ]


def asked(
    node: Node, surface: str, common: list[str], count: int, deadline_ms: float, seed: int
) -> Iterator[tuple[str, Any]]:
    """What all queries took, and how they ended."""
    for query in worst(common, 120, seed + 1):  # which nobody times
        ask(node, surface, query, 1000.0)
    ended: Counter[str] = Counter()
    empty = 0
    spent, cpu, slowest, most = np.zeros(count), np.zeros(count), "", {}
    for at, query in enumerate(worst(common, count, seed)):
        before, started, began = resource.getrusage(resource.RUSAGE_THREAD), time.perf_counter(), time.thread_time()
        answered = ask(node, surface, query, deadline_ms)
        spent[at], cpu[at] = 1e3 * (time.perf_counter() - started), 1e3 * (time.thread_time() - began)
        ended[answered.status] += 1
        empty += answered.status == "DEGRADED" and not answered.items
        if cpu[at] == cpu.max():
            slowest, most = query, used_since(before)
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("most", 1.0)):
        yield f"{name}_ms", round(float(np.quantile(spent, share)), 2)
        yield f"{name}_cpu_ms", round(float(np.quantile(cpu, share)), 2)
    yield "slowest", slowest[:60]
    yield "slowest_used", most
    yield "ended", dict(ended.most_common())
    yield "empty", empty  # of the degraded pages


def used_since(before: resource.struct_rusage) -> dict[str, float]:
    """What this thread spent itself (``user_ms``), what the kernel spent for it, and how often it was held up."""
    now = resource.getrusage(resource.RUSAGE_THREAD)
    return {
        "user_ms": round(1e3 * (now.ru_utime - before.ru_utime), 1),
        "system_ms": round(1e3 * (now.ru_stime - before.ru_stime), 1),
        "faults": now.ru_minflt - before.ru_minflt,
        "reads": now.ru_majflt - before.ru_majflt,
        "preempted": now.ru_nivcsw - before.ru_nivcsw,
    }


def ask(node: Node, surface: str, query: str, deadline_ms: float) -> Answered:
    """How it ended."""
    try:
        page = node.ask(surface, query=query, deadline_ms=deadline_ms)
        return Answered(str(page.status), len(page))
    except BadRequest:
        return Answered("BAD_REQUEST")
    except RequestTimeout:
        return Answered("TIMEOUT")
