"""``mixline bench shared``: many clients that want scans of one space, with and without shared passes.

The same node, store and clients twice, and only ``share_scans`` differs: how many pages a closed loop brings, and the
99th percentile at 80 % of what the node does that shares nothing. Rounds take turns, since a machine's speed wanders.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from mixline.ipc.wire import Status
from mixline.node import Client
from mixline.node.request import prepare
from mixline.tools.bench import report
from mixline.tools.bench_store import cache_folder
from mixline.tools.flight import Flight
from mixline.tools.load import schedule, statuses
from mixline.tools.processes import Neighbours, family
from mixline.tools.retrieval_data import Truth, clustered
from mixline.tools.serving import serving
from mixline.tools.volley import Volley
from mixline.tools.volley_zmq import ZmqTransport

USERS, CANDIDATES, CHECKED = 1000, 100, 16
DEADLINE_MS = 10_000  # never the limit: what is measured is the pace
WARM_S = 1.0
MODES = {"shared": True, "alone": False}
SPEC = """
[items]
path = "items.csv"
id = "id"
[users]
path = "users.csv"
id = "id"
[spaces.taste]
items = "items.npy"
users = "users.npy"
metric = "dot"
index = "exact"
"""
SURFACE = """
name = "scan"
deadline_ms = 10000
limit = %d
unknown_user = "error"

[[source]]
name = "taste"
kind = "nearest"
space = "taste"
query = "user"
limit = %d
index = "exact"
%s
[[selector]]
kind = "topk"
by = "taste.score"
"""
SEEN = '[[filter]]\nkind = "seen"\n'
LAYOUT = "1"  # changes when what is written below does


def shared_store(rows: int, dim: int) -> Path:
    """The folder with the store and both node files; complete or made anew."""
    folder = cache_folder() / f"shared-{rows}x{dim}-{LAYOUT}"
    if (folder / "complete").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "surfaces").mkdir(parents=True)
    data = clustered(rows, dim, USERS)
    np.save(folder / "items.npy", data.rows)
    np.save(folder / "users.npy", data.queries)
    for name, count in (("items", rows), ("users", USERS)):
        with open(folder / f"{name}.csv", "w") as file:
            file.write("id\n")
            file.writelines(f"{at}\n" for at in range(count))
    (folder / "spec.toml").write_text(SPEC)
    (folder / "surfaces" / "scan.toml").write_text(surface())
    for mode, shares in MODES.items():
        (folder / f"{mode}.toml").write_text(f'surfaces = "surfaces"\nshare_scans = {str(shares).lower()}\n')
    command = [sys.executable, "-m", "mixline.tools", "build", str(folder / "spec.toml")]
    subprocess.run([*command, "--out", str(folder / "store"), "--quiet"], check=True)
    least = Truth(data._replace(queries=data.queries[:CHECKED]), CANDIDATES, None).least
    np.save(folder / "least.npy", np.array(least))
    (folder / "complete").write_text("")
    return folder


def surface(filters: str = "") -> str:
    """A page of the nearest, less what the filters drop."""
    return SURFACE % (CANDIDATES, CANDIDATES, filters)


def check(client: Client, data: Path, mode: str) -> None:
    """ClickException unless of a sample of pages the last has the score that float64 says."""
    least = np.load(data / "least.npy", allow_pickle=False)
    pages = client.ask_many({"surface": "scan", "user": user, "limit": CANDIDATES} for user in range(CHECKED))
    for user, page in enumerate(pages):
        if isinstance(page, Exception):
            raise click.ClickException(f"{mode}: user {user}: {page}")
        if len(page) != CANDIDATES or abs(float(page.scores[-1]) - least[user]) > 1e-5:
            raise click.ClickException(f"{mode}: user {user}: other items than the float64 reference")


class Node:
    """A node that runs, in one of the modes."""

    def __init__(self, volley: Volley, root: int) -> None:
        self.volley, self.root = volley, root

    def closed(self, in_flight: int, seconds: float) -> Flight:
        """As many in flight as there are clients."""
        return self.volley.closed(users_in_turn(1 << 14), in_flight, seconds)

    def at(self, rate: float, seconds: float, seed: int) -> Flight:
        """Open loop, arrivals as of independent clients."""
        due_ns = schedule(rate, seconds, seed)
        return self.volley.open(due_ns, users_in_turn(len(due_ns)), DEADLINE_MS / 1000)


def users_in_turn(count: int) -> np.ndarray:
    """Every user as often as every other."""
    return np.resize(np.random.default_rng(2).permutation(USERS).astype(np.uint32), count)


@contextmanager
def node(data: Path, mode: str, workers: int) -> Iterator[Node]:
    """Started, checked and warm."""
    with (
        tempfile.TemporaryDirectory(prefix="mixline-bench-") as folder,
        serving(data / "store", Path(folder), workers, data / f"{mode}.toml") as (endpoint, _),
        Client(endpoint) as client,
    ):
        check(client, data, mode)
        root = client.info(5000)["supervisor_pid"]
        asks = [prepare("scan", user=user, limit=CANDIDATES, deadline_ms=DEADLINE_MS) for user in range(USERS)]
        transport = ZmqTransport(endpoint, [(header.pack(), body) for header, body in asks])
        try:
            yield Node(Volley(transport), root)
        finally:
            transport.close()


def good(flight: Flight, mode: str) -> np.ndarray:
    """Latencies in milliseconds; ClickException when anything but pages came."""
    if flight.counts.keys() != {Status.OK.code}:
        raise click.ClickException(f"{mode}: replies were {statuses(flight)}, {flight.unanswered} had none")
    return flight.latency_us(Status.OK.code) / 1000


def figures(latency_ms: np.ndarray, flight: Flight) -> dict[str, Any]:
    """Percentiles, and the generator's limit where it was one."""
    p50, p99 = np.percentile(latency_ms, [50, 99])
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2), "bottleneck": flight.bottleneck}


def closed_loop(running: Node, mode: str, clients: int, seconds: float) -> dict[str, Any]:
    """Pages per second, their latencies, and what they cost."""
    running.closed(clients, min(WARM_S, seconds))
    pids = family([running.root])
    neighbours = Neighbours(pids)
    flight = running.closed(clients, seconds)
    latency_ms = good(flight, mode)
    return {
        "pages_per_s": round(flight.pace, 1),
        **figures(latency_ms, flight),
        "cpu_us_per_page": round(neighbours.spent_us(pids) / max(1, flight.sent)),
        "cores_of_others": neighbours.cores(pids),
    }


def medians(rounds: list[dict[str, Any]], by: str) -> dict[str, Any]:
    """The round in the middle, with what all rounds gave."""
    middle = sorted(rounds, key=lambda one: one[by])[(len(rounds) - 1) // 2]
    return {**middle, "rounds": [one[by] for one in rounds]}


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, type=click.IntRange(2000), help="Items of the space.")
@click.option("--dim", default=128, show_default=True, type=click.IntRange(1, 2048))
@click.option("--clients", default=64, show_default=True, type=click.IntRange(1, 512), help="Requests in flight.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(0.1), help="Of each measurement.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 20), help="Medians of so many.")
@click.option("--json", "as_json", is_flag=True)
def shared(rows: int, dim: int, clients: int, workers: int, seconds: float, rounds: int, as_json: bool) -> None:
    """Pages per second of a node whose requests share passes over a space, and of one whose requests do not."""
    data = shared_store(rows, dim)
    closed: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    for mode in [*MODES] * rounds:
        with node(data, mode, workers) as running:
            closed[mode].append(closed_loop(running, mode, clients, seconds))
    result: dict[str, Any] = {mode: medians(seen, "pages_per_s") for mode, seen in closed.items()}
    rate = 0.8 * min(one["pages_per_s"] for one in result.values())
    steady: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    for at, mode in enumerate([*MODES] * rounds):
        with node(data, mode, workers) as running:
            running.closed(clients, min(WARM_S, seconds))
            pids = family([running.root])
            neighbours = Neighbours(pids)
            flight = running.at(rate, seconds, 1 + at // len(MODES))
            cores = neighbours.cores(pids)
            steady[mode].append({**figures(good(flight, mode), flight), "cores_of_others": cores})
    for mode in MODES:
        result[mode]["at_common_rate"] = medians(steady[mode], "p99_ms")
    report(
        {
            "rows": rows,
            "dim": dim,
            "clients": clients,
            "workers": workers,
            "common_rate": round(rate, 1),
            "common_rate_is_80_percent_of": "the lower pace",
            **result,
            "pace_to_alone": round(result["shared"]["pages_per_s"] / result["alone"]["pages_per_s"], 2),
            "cpu_alone_to_shared": round(result["alone"]["cpu_us_per_page"] / result["shared"]["cpu_us_per_page"], 2),
            "p99_to_alone": round(
                result["shared"]["at_common_rate"]["p99_ms"] / result["alone"]["at_common_rate"]["p99_ms"], 3
            ),
        },
        as_json,
    )
