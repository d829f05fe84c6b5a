"""``mixline bench replay``: journalled requests asked again, under the same configuration and under another one."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from mixline.node.config import load_node_config
from mixline.node.inprocess import Node
from mixline.storage.journal_reader import Journal
from mixline.tools.bench import report
from mixline.tools.replaying import compare, replay
from mixline.tools.serving_data import USERS, serving_data

EFFECT = '\n[[side_effect]]\nkind = "journal"\n'


@click.command("replay")
@click.option("--requests", default=10_000, show_default=True, type=click.IntRange(min=100))
@click.option("--json", "as_json", is_flag=True)
def replay_bench(requests: int, as_json: bool) -> None:
    """20,000 items x 64: 500 candidates by an exact scan, 16 features, a weighted sum, 50 out; all journalled."""
    data = serving_data()
    with tempfile.TemporaryDirectory(prefix="mixline-replay-bench-") as name:
        folder = Path(name)
        text = (data / "surfaces" / "exact.toml").read_text()
        configs = {}
        for which, weight in (("served", "1.0"), ("other", "0.5")):
            (folder / which / "surfaces").mkdir(parents=True)
            changed = text.replace('"taste.score" = 1.0', f'"taste.score" = {weight}') + EFFECT
            (folder / which / "surfaces" / "exact.toml").write_text(changed)
            configs[which] = folder / which / "node.toml"
            configs[which].write_text(f'surfaces = "surfaces"\n[journal]\npath = "{folder}/journal"\n')
        store = folder / "store"
        shutil.copytree(data / "store", store)
        report(measure(store, folder, configs, requests), as_json)


def measure(store: Path, folder: Path, configs: dict[str, Path], requests: int) -> dict[str, Any]:
    """Write the journal with and without, then ask it again twice."""
    figures: dict[str, Any] = {"requests": requests}
    took = {}
    for effects in (False, True):
        with Node.open(store, configs["served"], effects=effects) as node:
            spent = []
            for at in range(requests if effects else requests // 4):
                began = time.thread_time_ns()
                node.ask("exact", user=at % USERS, request_id=at, deadline_ms=10_000)
                spent.append(time.thread_time_ns() - began)
        took[effects] = float(np.median(spent)) / 1000
    figures["ask_cpu_us"] = round(took[False], 1)
    figures["journal_cpu_us"] = round(took[True] - took[False], 1)  # after the reply
    figures["journal_bytes_a_request"] = sum(p.stat().st_size for p in (folder / "journal").iterdir()) // requests
    started = time.monotonic()
    entries = Journal(folder / "journal").last(requests)
    figures["read_s"] = round(time.monotonic() - started, 2)
    for which in ("served", "other"):
        started = time.monotonic()
        found = compare(replay(store, entries, load_node_config(configs[which])))
        figures[f"{which}_s"] = round(time.monotonic() - started, 2)
        figures[f"{which}_same"] = found.same
        figures[f"{which}_overlap"] = round(found.overlap, 4)
        figures[f"{which}_moved"] = round(found.moved, 2)
    assert figures["served_same"] == len(entries) == requests
    return figures
