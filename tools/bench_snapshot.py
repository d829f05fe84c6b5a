"""``mixline bench snapshot``: what a snapshot costs those who are served meanwhile.

A node at half of its pace is asked in rounds: alone, while snapshots are taken by links within the store, and while
they are taken as a stream that reads and sends every byte. Each round has its ratios, and their median counts: where
the machine stands still for a moment it spoils one of them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from mixline.tools.bench import report
from mixline.tools.bench_warm import asks, fly, latencies, warm_data
from mixline.tools.serving import serving
from mixline.tools.serving_data import USERS
from mixline.tools.volley import Volley
from mixline.tools.volley_zmq import ZmqTransport

PACE_S, IN_FLIGHT = 3.0, 8
LOOK_S = 0.05
WAYS = ("linked", "stream")
COMMAND = (sys.executable, "-m", "mixline.tools", "snapshot")


class Taker:
    """Takes snapshots until told to end, at least one whole; counts the whole ones."""

    def __init__(self, store: Path, folder: Path, stream: bool) -> None:
        self.folder = folder
        where = ["--out", str(folder / "it.tar" if stream else folder)]
        self.command = [*COMMAND, "create", str(store), *where, "--json"]
        self.taken, self.spent_s = 0, 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.is_set():
            started_s = time.monotonic()
            with subprocess.Popen(self.command, stdout=subprocess.DEVNULL) as child:
                while child.poll() is None:
                    time.sleep(LOOK_S)
                    if self.taken and self._over.is_set():
                        child.terminate()
                        return
            if child.returncode:
                return  # taken says so
            self.spent_s += time.monotonic() - started_s
            self.taken += 1

    def __enter__(self) -> Taker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if not self.taken:
            raise click.ClickException(f"{' '.join(self.command)}: failed")


def pace_of(endpoint: str) -> float:
    """Pages per second in a closed loop."""
    transport = ZmqTransport(endpoint, asks())
    try:
        which = np.resize(np.random.default_rng(3).permutation(USERS).astype(np.uint32), 1 << 14)
        return float(Volley(transport).closed(which, IN_FLIGHT, PACE_S).pace)
    finally:
        transport.close()


def round_of(endpoint: str, rate: float, seconds: float, store: Path, folder: Path) -> dict[str, Any]:
    """One flight alone and one by each way."""
    found: dict[str, Any] = {"calm": latencies(fly(endpoint, rate, seconds))}
    for way in WAYS:
        place = folder / way
        place.mkdir()
        with Taker(store, place, way == "stream") as taker:
            flown = latencies(fly(endpoint, rate, seconds))
        mean_s = round(taker.spent_s / taker.taken, 2)
        found[way] = {"snapshots": taker.taken, "seconds_each": mean_s, **flown}
        found[f"p99_{way}_to_calm"] = round(flown["p99_ms"] / found["calm"]["p99_ms"], 3)
        shutil.rmtree(place)
    return found


@click.command()
@click.option("--items", default=1_000_000, show_default=True, type=click.IntRange(1000))
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(0.5), help="Each flight.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Of three flights each.")
@click.option("--json", "as_json", is_flag=True)
def snapshot(items: int, workers: int, seconds: float, rounds: int, as_json: bool) -> None:
    """p99 of a node at half of its pace while snapshots are taken, against the same without."""
    data = warm_data(items)
    result: dict[str, Any] = {"items": items, "workers": workers, "seconds": seconds}
    with tempfile.TemporaryDirectory(prefix="mixline-bench-", dir=data) as name:
        folder = Path(name)
        (folder / "node.toml").write_text(f'surfaces = "{data / "surfaces"}"\n[warm]\n')
        with serving(data / "store", folder, workers, folder / "node.toml") as (endpoint, _):
            rate = pace_of(endpoint) / 2
            result["rate"] = round(rate, 1)
            fly(endpoint, rate, min(2.0, seconds))
            found = [round_of(endpoint, rate, seconds, data / "store", folder) for _ in range(rounds)]
    result["rounds"] = found
    for name in (f"p99_{way}_to_calm" for way in WAYS):
        result[name] = median(one[name] for one in found)
    report(result, as_json)
