"""``mixline bench warm``: the first minute of a node whose store was on the disk only, warmed and not.

Between two runs every page of the store is dropped, which is checked. Both get the same asks at the same open-loop
rate from the moment they are ready, so that what the one spends before READY and the other in its pages stand beside
each other. The disk decides: its rate is reported too.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from mixline.ipc.residency import resident_bytes
from mixline.ipc.warming import forget, populate
from mixline.ipc.wire import Status
from mixline.node.request import prepare
from mixline.storage.store import Store
from mixline.tools.bench import report
from mixline.tools.bench_store import cache_folder
from mixline.tools.flight import Flight
from mixline.tools.load import schedule
from mixline.tools.serving import serving
from mixline.tools.serving_data import LAYOUT, USERS, make_store
from mixline.tools.volley import Volley
from mixline.tools.volley_zmq import ZmqTransport

DEADLINE_MS = 5000.0  # a page that waits for the disk shall show how long, and not as a TIMEOUT
COLD_SHARE_MAX = 0.02
FIRST_S = 5.0
SURFACE = "approximate"


def warm_data(items: int) -> Path:
    """The folder with a store and surfaces: that of ``bench serving`` where there is one, else without its peers'."""
    theirs = cache_folder() / f"serving-{items}-{LAYOUT}"
    folder = theirs if (theirs / "complete").exists() else cache_folder() / f"warm-{items}-{LAYOUT}"
    if (folder / "complete").exists():
        return folder
    make_store(folder, items)
    (folder / "complete").write_text("")
    return folder


def files_of(store: Path) -> list[Path]:
    """Every file of the active epoch."""
    with Store(store).open() as epoch:
        return [epoch.path / name for name in epoch.manifest.files]


def cool(files: Sequence[Path]) -> int:
    """Drop every page; the bytes that were dropped from. ClickException when the kernel keeps them."""
    total = sum(path.stat().st_size for path in files)
    for path in files:
        forget(path)
    kept = sum(resident_bytes(path) or 0 for path in files)
    if kept > COLD_SHARE_MAX * total:
        raise click.ClickException(f"{kept} of {total} bytes stay in memory: another process maps them, or it is tmpfs")
    return total


def asks() -> list[tuple[bytes, bytes]]:
    """Frames by user."""
    prepared = [prepare(SURFACE, user=user, deadline_ms=DEADLINE_MS) for user in range(USERS)]
    return [(header.pack(), body) for header, body in prepared]


def fly(endpoint: str, rate: float, seconds: float) -> Flight:
    """Open loop; every user in turn."""
    transport = ZmqTransport(endpoint, asks())
    try:
        due_ns = schedule(rate, seconds)
        which = np.resize(np.random.default_rng(2).permutation(USERS).astype(np.uint32), len(due_ns))
        return Volley(transport).open(due_ns, which, DEADLINE_MS / 1000)
    finally:
        transport.close()


def latencies(flight: Flight) -> dict[str, Any]:
    """Percentiles of the whole and of its first seconds; pages only, with the rest counted."""
    early = flight.due_ns < FIRST_S * 1e9
    pages = np.isin(flight.status, (Status.OK.code, Status.DEGRADED.code))
    found: dict[str, Any] = {"not_pages": int((~pages).sum())}
    for name, chosen in (("", pages), (f"first_{FIRST_S:g}s_", pages & early)):
        ms = flight.latency_ns[chosen] / 1e6
        for percent in (50, 99):
            found[f"{name}p{percent}_ms"] = round(float(np.percentile(ms, percent)), 2) if len(ms) else None
        found[f"{name}max_ms"] = round(float(ms.max()), 1) if len(ms) else None
    return {**found, "bottleneck": flight.bottleneck}


def first_minute(data: Path, files: Sequence[Path], warmed: bool, workers: int, rate: float, seconds: float) -> dict:
    """One node from a cold store."""
    cool(files)
    with tempfile.TemporaryDirectory(prefix="mixline-bench-") as name:
        folder = Path(name)
        config = folder / "node.toml"
        config.write_text(f'surfaces = "{data / "surfaces"}"\n' + ("[warm]\n" if warmed else ""))
        started_s = time.monotonic()
        with serving(data / "store", folder, workers, config) as (endpoint, _):
            ready_s = time.monotonic() - started_s
            flight = fly(endpoint, rate, seconds)
    return {"ready_s": round(ready_s, 2), **latencies(flight)}


@click.command("warm")
@click.option("--items", default=1_000_000, show_default=True, type=click.IntRange(1000))
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--rate", default=200.0, show_default=True, type=click.FloatRange(1), help="Asks per second.")
@click.option("--seconds", default=60.0, show_default=True, type=click.FloatRange(0.5))
@click.option("--json", "as_json", is_flag=True)
def warm_up(items: int, workers: int, rate: float, seconds: float, as_json: bool) -> None:
    """p99 of a node's first minute on a cold store, warmed before READY against not warmed."""
    data = warm_data(items)
    files = files_of(data / "store")
    size = cool(files)
    started_s = time.monotonic()
    for path in files:
        populate(path, size, lambda _: None)
    disk = size / (time.monotonic() - started_s)
    cold = first_minute(data, files, False, workers, rate, seconds)
    warm = first_minute(data, files, True, workers, rate, seconds)
    result = {
        "items": items,
        "store_bytes": size,
        "disk_mb_per_s": round(disk / 1e6),
        "rate": rate,
        "seconds": seconds,
        "workers": workers,
        "cold": cold,
        "warmed": warm,
        "p99_warmed_to_cold": ratio(warm["p99_ms"], cold["p99_ms"]),
        "first_p99_warmed_to_cold": ratio(warm[f"first_{FIRST_S:g}s_p99_ms"], cold[f"first_{FIRST_S:g}s_p99_ms"]),
    }
    report(result, as_json)


def ratio(one: float | None, other: float | None) -> float | None:
    """None where there was no page."""
    return round(one / other, 3) if one is not None and other else None
