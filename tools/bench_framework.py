"""``mixline bench framework``: what a request costs before any component runs, what the framework adds for components,
and how fast a worker starts.

For components a surface brings 2,000 candidates and orders them, once with nothing between and once with four
hydrators, four filters and four scorers that do nothing, each of which reads what one before it wrote.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from mixline.node.client import Client
from mixline.node.config import load_node_config
from mixline.node.engine import Engine
from mixline.node.inprocess import never
from mixline.node.request import prepare
from mixline.tools.bench import report
from mixline.tools.bench_store import sized_store
from mixline.tools.serving import serving

IDLE = "mixline.tools.framework_idle.Idle"
CANDIDATES, OF_EACH = 2000, 4
BARE = f'''
[[source]]
name = "items"
kind = "{IDLE}Source"
limit = {CANDIDATES}
'''
TOPK = '[[selector]]\nkind = "topk"\nby = "{by}"\n'


def idle() -> str:
    """Components that do nothing, as text of a surface file."""
    text = ""
    for at in range(OF_EACH):
        text += f'[[hydrator]]\nname = "h{at}"\nkind = "{IDLE}Hydrator"\n'
        text += f'[[filter]]\nname = "f{at}"\nkind = "{IDLE}Filter"\ncolumn = "h{at}"\n'
        text += f'[[scorer]]\nname = "s{at}"\nkind = "{IDLE}Scorer"\ncolumn = "{f"s{at - 1}" if at else "h0"}"\n'
    return text


def write_surfaces(folder: Path) -> Path:
    """A node file with surfaces of no components, of a source and an order, and of twelve more that do nothing."""
    (folder / "surfaces").mkdir()
    bare, whole = BARE + TOPK.format(by="items.score"), BARE + idle() + TOPK.format(by=f"s{OF_EACH - 1}")
    for name, text in (("empty", ""), ("bare", bare), ("idle", whole)):
        (folder / "surfaces" / f"{name}.toml").write_text(f'name = "{name}"\n{text}')
    config = folder / "node.toml"
    config.write_text('surfaces = "surfaces"\n')
    return config


def engine_cpu_us(store: Path, config: Path, surface: str, count: int) -> float:
    """Thread CPU of ``Engine.answer``."""
    engine = Engine.open(store, load_node_config(config))
    header, body = prepare(surface, user=3)
    deadline_ns = time.monotonic_ns() + 10**12
    for _ in range(1000):
        engine.answer(header, body, deadline_ns, never)
    started = time.thread_time_ns()
    for _ in range(count):
        engine.answer(header, body, deadline_ns, never)
    spent_us = (time.thread_time_ns() - started) / count / 1000
    engine.close()
    return spent_us


def worker_cpu_us(store: Path, config: Path, folder: Path, count: int) -> float:
    """CPU of the worker process per request, from /proc, everything between two requests included."""
    with serving(store, folder, 1, config) as (endpoint, _), Client(endpoint) as client:
        asks = [{"surface": "empty", "user": 3, "deadline_ms": 5000}] * count
        client.ask_many(asks[:2000])
        pid = next(w["pid"] for w in client.info()["workers"] if w["state"] == "ready")
        before = cpu_us(pid)
        pages = client.ask_many(asks)
        spent = cpu_us(pid) - before
    assert all(len(page) == 0 for page in pages)
    return spent / count


def cpu_us(pid: int) -> float:
    """CPU time that a process has had, from its scheduler statistics."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1000


def start_s(store: Path) -> float:
    """Exec to ready of what a worker does at its start, in a process of its own."""
    orders = json.dumps({"store": str(store)})
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "mixline.node.supervisor_rehearsal", orders], check=True)
    return time.perf_counter() - started


@click.command()
@click.option("--megabytes", default=1000, show_default=True, help="Size of the store's matrix.")
@click.option("--requests", default=20_000, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def framework(megabytes: int, requests: int, as_json: bool) -> None:
    """CPU of an empty surface and of components that do nothing, and the start of a worker on a large store."""
    store = sized_store(megabytes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write_surfaces(folder)
        empty, bare, whole = (engine_cpu_us(store, config, name, requests) for name in ("empty", "bare", "idle"))
        figures = {
            "engine_cpu_us": round(empty, 1),
            "bare_cpu_us": round(bare, 1),
            "twelve_components_cpu_us": round(whole - bare, 1),
            "worker_cpu_us": round(worker_cpu_us(store, config, folder, requests), 1),
            "worker_start_s": round(float(np.median([start_s(store) for _ in range(6)][1:])), 3),
        }
    report({"store_mb": megabytes, **figures}, as_json)
