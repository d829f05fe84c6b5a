"""``mixline bench suggest``: how long completing takes, from a client over the socket to the page.

A store of made-up titles with popularity, and real past queries; what is asked are beginnings of both as somebody types
them, some with a slip. One request at a time: the figure is what a person waits for, beside the node's CPU time.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import click
import numpy as np

from mixline.node.client import Client
from mixline.tools.bench import report
from mixline.tools.bench_search import documents, real_queries
from mixline.tools.serving import COMMAND, serving

WORDS = (2, 7)  # of a title, from and below
EVENTS_EACH = 2  # of an item, in the mean
SLIPS = 0.2  # the share of requests with one
WARM = 200
DEADLINE_MS = 1000  # a slow one is measured, not refused
SPEC = """
[items]
path = "items.parquet"
id = "id"
columns = { title = "text" }
[events]
path = "events.parquet"
user = "user"
item = "item"
[text]
queries = "queries.csv"
queries_users = 1
"""


def write_inputs(folder: Path, count: int, queries: list[str]) -> list[str]:
    """Items, events that make some popular, past queries and the specification; returns the titles."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(5)
    texts = chain.from_iterable(documents(queries, count))
    many = rng.integers(*WORDS, count).tolist()
    titles = [" ".join(text.split()[:some]) for text, some in zip(texts, many, strict=True)]
    pq.write_table(pa.table({"id": np.arange(count, dtype=np.int64), "title": titles}), folder / "items.parquet")
    acts = EVENTS_EACH * count
    items = (count * rng.random(acts) ** 3).astype(np.int64)
    users = rng.integers(0, max(1, count // 20), acts)
    pq.write_table(pa.table({"user": users, "item": items}), folder / "events.parquet")
    asked = "".join(f"{query},{times}\n" for query, times in Counter(queries).items())
    (folder / "queries.csv").write_text("query,count\n" + asked)
    (folder / "spec.toml").write_text(SPEC)
    return titles


def typed(texts: list[str], count: int, seed: int = 6) -> list[str]:
    """Beginnings of 1 to 16 letters; some have a letter more, less or other, or two changed over, behind the first."""
    rng = np.random.default_rng(seed)
    found = []
    for at in rng.integers(0, len(texts), count).tolist():
        text = texts[at][: int(rng.integers(1, 17))]
        if len(text) >= 5 and rng.random() < SLIPS:
            place, kind, letter = int(rng.integers(1, len(text) - 1)), int(rng.integers(4)), chr(rng.integers(97, 123))
            head, tail = text[:place], text[place:]
            text = (head + letter + tail, head + tail[1:], head + letter + tail[1:], head + tail[1::-1] + tail[2:])[
                kind
            ]
        found.append(text)
    return found


def cpu_s(pid: int) -> float:
    """The CPU time of a process so far."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


@click.command()
@click.option("--titles", "count", default=1_000_000, show_default=True, type=click.IntRange(1000))
@click.option("--requests", default=5000, show_default=True, type=click.IntRange(100))
@click.option("--store", "kept", type=click.Path(file_okay=False), help="Build there, or use what lies there.")
@click.option("--json", "as_json", is_flag=True)
def suggest(count: int, requests: int, kept: str | None, as_json: bool) -> None:
    """Times of completions from a client, and the worker's CPU time for each."""
    queries = real_queries()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(kept) if kept else Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        titles = write_inputs(folder, count, queries)
        if not (folder / "store").exists():
            command = [*COMMAND, "build", str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"]
            subprocess.run(command, check=True)
        texts = [*titles[:: max(1, count // 20_000)], *queries]
        with serving(folder / "store", Path(scratch), 1) as (endpoint, pids), Client(endpoint) as client:
            for text in typed(texts, WARM, seed=7):
                client.ask("suggest", query=text, deadline_ms=DEADLINE_MS)
            spent: list[float] = []
            found, busy = 0, sum(map(cpu_s, pids))
            for text in typed(texts, requests):
                started = time.perf_counter()
                page = client.ask("suggest", query=text, deadline_ms=DEADLINE_MS)
                spent.append(time.perf_counter() - started)
                found += bool(page.suggestions)
            busy = sum(map(cpu_s, pids)) - busy
    p50, p99, p999 = (round(1e3 * float(one), 3) for one in np.quantile(spent, (0.5, 0.99, 0.999)))
    figures: dict[str, Any] = {"titles": count, "past_queries": len(set(queries)), "requests": requests}
    figures |= {"completed": round(found / requests, 4), "p50_ms": p50, "p99_ms": p99, "p999_ms": p999}
    report(figures | {"worker_cpu_ms": round(1e3 * busy / requests, 3)}, as_json)
