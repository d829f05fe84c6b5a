"""``mixline bench homefeed``: what a whole page costs, in CPU time, and which component takes it.

A feed as products have it: five sources, 2,000 candidates, features, filters, a forest on the best 500, a varied slate
with caps, 50 out. One request after the other in one process, so the process's CPU time is the requests'.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from mixline.node.inprocess import Node
from mixline.tools.bench import report
from mixline.tools.serving import COMMAND

FEATURES, TREES, LEAVES = 40, 500, 64
SPEC = """
[items]
path = "items.parquet"
id = "item"
columns = {{ kind = "category", {columns} }}
[users]
path = "users.parquet"
id = "user"
[events]
path = "events.parquet"
user = "user"
item = "item"
time = "time"
[spaces.taste]
items = "items.npy"
users = "users.npy"
"""
SURFACE = """
name = "feed"
deadline_ms = 10000
limit = 50
[[source]]
name = "taste"
kind = "nearest"
limit = 800
[[source]]
name = "session"
kind = "nearest"
query = "recent"
limit = 600
[[source]]
name = "similar"
kind = "item_to_item"
query = "recent"
limit = 400
[[source]]
name = "walk"
kind = "walk"
query = "recent"
steps = 10000
limit = 200
[[source]]
name = "popular"
kind = "popular"
limit = 400
[[filter]]
kind = "seen"
[[filter]]
kind = "blocked"
[[filter]]
kind = "predicate"
where = "f0 > -100"
[[hydrator]]
kind = "recent"
recent = { items = 20 }
columns = { kind = { of = "share", column = "kind" } }
[[scorer]]
name = "first"
kind = "dot"
[[scorer]]
name = "rank"
kind = "forest"
model = "ranker.txt"
output = "raw"
best = { count = 500, by = "first" }
[[selector]]
kind = "topk"
by = "rank"
limit = 500
[[selector]]
kind = "ssd"
by = "rank"
pool = 500
limit = 100
[[selector]]
kind = "category_cap"
column = "kind"
max = 10
"""


def make(folder: Path, items: int, users: int, dim: int) -> None:
    """Items in clusters with features, users near the clusters of what they acted on, and a forest of noise."""
    import lightgbm
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(1)
    centers = rng.standard_normal((500, dim), dtype=np.float32)
    cluster = rng.integers(0, len(centers), items)
    own = rng.integers(0, len(centers), users)
    np.save(folder / "items.npy", centers[cluster] + 0.5 * rng.standard_normal((items, dim), dtype=np.float32))
    np.save(folder / "users.npy", centers[own] + 0.3 * rng.standard_normal((users, dim), dtype=np.float32))
    table = {f"f{at}": rng.standard_normal(items, dtype=np.float32) for at in range(FEATURES)}
    kinds = np.array([f"kind {at}" for at in range(30)])[rng.integers(0, 30, items)]
    pq.write_table(pa.table({"item": np.arange(items), "kind": kinds, **table}), folder / "items.parquet")
    pq.write_table(pa.table({"user": np.arange(users)}), folder / "users.parquet")
    by_cluster = np.argsort(cluster, kind="stable")
    starts, sizes = np.searchsorted(cluster[by_cluster], np.arange(len(centers))), np.bincount(cluster)
    owner = np.repeat(np.arange(users), 40)
    place = (rng.random(len(owner)) ** 3 * sizes[own[owner]]).astype(np.int64)
    acted = by_cluster[starts[own[owner]] + place]
    events = {"user": owner, "item": acted, "time": 1_700_000_000 + rng.permutation(len(owner))}
    pq.write_table(pa.table(events), folder / "events.parquet")
    columns = ", ".join(f'f{at} = "f32"' for at in range(FEATURES))
    (folder / "spec.toml").write_text(SPEC.format(columns=columns))
    rows = rng.standard_normal((20_000, FEATURES))
    data = lightgbm.Dataset(rows, rows[:, 0] + rng.standard_normal(len(rows)), feature_name=[*table])
    booster = lightgbm.train({"num_leaves": LEAVES, "verbose": -1, "num_threads": 2, "seed": 1}, data, TREES)
    (folder / "surfaces").mkdir()
    booster.save_model(folder / "surfaces" / "ranker.txt")
    (folder / "surfaces" / "feed.toml").write_text(SURFACE)
    (folder / "node.toml").write_text('surfaces = "surfaces"\n')


@click.command()
@click.option("--items", default=1_000_000, show_default=True, type=click.IntRange(min=5000))
@click.option("--users", default=50_000, show_default=True, type=click.IntRange(min=100))
@click.option("--dim", default=64, show_default=True, type=click.IntRange(1, 1024))
@click.option("--requests", default=300, show_default=True, type=click.IntRange(min=10))
@click.option("--json", "as_json", is_flag=True)
def homefeed(items: int, users: int, dim: int, requests: int, as_json: bool) -> None:
    """CPU milliseconds of a whole feed, and microseconds of each component."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, items, users, dim)
        command = [*COMMAND, "build", str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"]
        subprocess.run(command, check=True)
        with Node.open(folder / "store", folder / "node.toml") as node:
            for user in range(30):
                node.ask("feed", user=user)
            taken: defaultdict[str, list[int]] = defaultdict(list)
            candidates, began_s = 0, time.process_time()
            for user in range(30, 30 + requests):
                page = node.ask("feed", user=user)
                if page.status != "OK" or len(page) != 50:
                    raise click.ClickException(f"user {user} got {page!r}: {page.coverage}")
                candidates += sum(entry.taken for entry in page.coverage if entry.stage == "source")
                for entry in page.coverage:
                    taken[f"{entry.stage} {entry.name}"].append(entry.us)
            cpu_ms = (time.process_time() - began_s) * 1000 / requests
    figures: dict[str, Any] = {"items": items, "dim": dim, "requests": requests}
    figures |= {"candidates_each": round(candidates / requests), "cpu_ms_each": round(cpu_ms, 3)}
    report({**figures, **{f"{one} us": round(float(np.median(us))) for one, us in taken.items()}}, as_json)
