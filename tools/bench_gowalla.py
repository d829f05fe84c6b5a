"""``mixline bench gowalla``: the served top 20 of every user beside a float64 computation, and beside published tables.

Data: the LightGCN split (29,858 users, 40,981 places, 810,128 check-ins to learn from). A store is built from it with
learnt vectors, served, asked for all users over ZeroMQ with what they visited masked inside the scan, and judged.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np

from mixline.node.client import Client
from mixline.node.page import Page
from mixline.storage.epoch import Epoch
from mixline.storage.store import Store
from mixline.tools.bench import report
from mixline.tools.quality import gains
from mixline.tools.serving import serving

TOP = 20
PUBLISHED = {"MF-BPR": (0.1627, 0.1378), "LightGCN": (0.1824, 0.1547), "GF-CF": (0.1849, 0.1518)}
SPEC = """
[items]
path = "items.parquet"
id = "item"
[users]
path = "users.parquet"
id = "user"
[events]
path = "events.parquet"
user = "user"
item = "item"
[spaces.taste]
learn = "als"
dim = {dim}
iterations = {iterations}
regularization = {regularization}
alpha = {alpha}
seed = 7
"""
SURFACE = """
name = "nearest"
limit = 20
[[source]]
name = "taste"
kind = "nearest"
space = "taste"
limit = 20
[[filter]]
kind = "seen"
[[selector]]
kind = "topk"
by = "taste.score"
"""


def data_folder() -> Path:
    """``MIXLINE_DATA``, or the folder ``shared/data`` beside the checkout."""
    return Path(os.environ.get("MIXLINE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def write_inputs(folder: Path, split: Any, parameters: dict[str, Any]) -> None:
    """The split as the files a user would have."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    users, items = (int(size) for size in split["train_shape"])
    owner = np.repeat(np.arange(users, dtype=np.int64), np.diff(split["train_indptr"]))
    events = {"user": owner, "item": split["train_indices"].astype(np.int64)}
    pq.write_table(pa.table(events), folder / "events.parquet")
    pq.write_table(pa.table({"item": np.arange(items, dtype=np.int64)}), folder / "items.parquet")
    pq.write_table(pa.table({"user": np.arange(users, dtype=np.int64)}), folder / "users.parquet")
    (folder / "spec.toml").write_text(SPEC.format(**parameters))
    (folder / "surfaces").mkdir()
    (folder / "surfaces" / "nearest.toml").write_text(SURFACE)
    (folder / "node.toml").write_text('surfaces = "surfaces"\n')


def serve_all(store: Path, folder: Path, users: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Ids and scores (users, 20) as the node gives them, and pages per second."""
    asks = [{"surface": "nearest", "user": user, "limit": TOP, "deadline_ms": 30_000} for user in range(users)]
    with serving(store, folder, 2, folder / "node.toml") as (endpoint, _), Client(endpoint) as client:
        started = time.perf_counter()
        pages = client.ask_many(asks)
        elapsed = time.perf_counter() - started
    for page in pages:
        if not isinstance(page, Page) or page.status != "OK" or len(page) != TOP:
            raise click.ClickException(f"a user got {page!r}")
    return np.stack([page.ids for page in pages]), np.stack([page.scores for page in pages]), users / elapsed


def differences(epoch: Epoch, served: np.ndarray) -> tuple[int, int]:
    """Users whose order differs from float64 only by scores within 1e-5, and users that truly differ."""
    space = epoch.spaces["taste"]
    assert space.items is not None and space.users is not None
    items = space.items.astype(np.float64)
    swapped = wrong = 0
    for start in range(0, len(served), 512):
        scores = space.users[start : start + 512].astype(np.float64) @ items.T
        for at, row in enumerate(scores):
            row[epoch.seen(start + at)] = -np.inf
            best = np.lexsort((np.arange(len(row)), -row))[:TOP]
            mine = served[start + at].astype(np.int64)
            if not np.array_equal(best, mine):
                close = np.abs(row[best] - row[mine]) <= 1e-5 * np.maximum(np.abs(row[best]), 1e-12)
                swapped += bool(close.all())
                wrong += not close.all()
    return swapped, wrong


def judge(served: np.ndarray, split: Any) -> tuple[float, float]:
    """Recall@20 and NDCG@20, mean over users, as LightGCN's evaluation defines them; ids are rows here."""
    ends = split["test_indptr"].tolist()
    found = gains(list(served), [split["test_indices"][start:stop] for start, stop in pairwise(ends)], TOP)
    return float(found["recall"].mean()), float(found["ndcg"].mean())


@click.command()
@click.option("--dim", default=64, show_default=True)
@click.option("--iterations", default=5, show_default=True)
@click.option("--regularization", default=200.0, show_default=True)
@click.option("--alpha", default=80.0, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def gowalla(dim: int, iterations: int, regularization: float, alpha: float, as_json: bool) -> None:
    """All users of Gowalla over ZeroMQ: equal to the maths, and how good."""
    path = data_folder() / "gowalla" / "gowalla.npz"
    if not path.exists():
        raise click.UsageError(f"{path} is absent: set MIXLINE_DATA to the folder that holds gowalla/gowalla.npz")
    parameters = {"dim": dim, "iterations": iterations, "regularization": regularization, "alpha": alpha}
    with np.load(path, allow_pickle=False) as data:
        split = {name: data[name] for name in data.files}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, split, parameters)
        started = time.perf_counter()
        command = [sys.executable, "-m", "mixline.tools", "build", str(folder / "spec.toml")]
        subprocess.run([*command, "--out", str(folder / "store"), "--quiet"], check=True)
        build_s = time.perf_counter() - started
        served, _, pace = serve_all(folder / "store", folder, int(split["train_shape"][0]))
        with Store(folder / "store").open() as epoch:
            swapped, wrong = differences(epoch, served)
    recall, ndcg = judge(served, split)
    figures: dict[str, Any] = {**parameters, "users": len(served), "build_s": round(build_s, 1)}
    figures |= {"pages_per_s": round(pace, 1), "users_equal": len(served) - swapped - wrong}
    figures |= {"users_swapped_within_1e-5": swapped, "users_wrong": wrong}
    figures |= {"recall_at_20": round(recall, 4), "ndcg_at_20": round(ndcg, 4)}
    figures |= {f"published {name}": f"{r:.4f} / {n:.4f}" for name, (r, n) in PUBLISHED.items()}
    report(figures, as_json)
