"""``mixline bench live``: how soon an update is in the next page, how many a second are durable, what an overlay costs.

A served node on real sockets, with pages asked for in the background by the compiled load generator. Each probe checks
the page: an update that is acknowledged and not there ends the run.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from mixline.ipc.wire import Status
from mixline.node import AsyncClient, Client
from mixline.node.request import prepare
from mixline.tools.bench import report
from mixline.tools.bench_shared import DEADLINE_MS, SEEN, USERS, good, shared_store, surface, users_in_turn
from mixline.tools.flight import Flight
from mixline.tools.load import schedule
from mixline.tools.serving import serving
from mixline.tools.volley import Volley
from mixline.tools.volley_zmq import ZmqTransport

WRITERS, BATCH_EVENTS, EVENT_USERS = 32, 500, 20_000
EVENTS_PER_S = 50_000  # beside pages
NEW_ID = 1 << 40
UPSERTS = 400  # of one batch, well below what a request may have
RESERVED = USERS // 2  # users from here on are the probes' own


class Bench:
    """A node on a copy of the store whose epoch is the cached one's."""

    def __init__(self, client: Client, volley: Volley, rows: int, vectors: np.ndarray) -> None:
        self.client, self.volley, self.rows, self.vectors = client, volley, rows, vectors
        self.fresh = NEW_ID

    def closed(self, in_flight: int, seconds: float) -> tuple[float, np.ndarray]:
        """Pages a second and their latencies in milliseconds."""
        flight = self.volley.closed(users_in_turn(1 << 14) % RESERVED, in_flight, seconds)
        return flight.pace, good(flight, "pages")

    @contextmanager
    def background(self, rate: float, seconds: float) -> Iterator[list[Flight]]:
        """Pages at a rate while the block runs; what became of them afterwards."""
        found: list[Flight] = []

        def fly() -> None:
            due_ns = schedule(rate, seconds, 3)
            shots = users_in_turn(len(due_ns)) % RESERVED
            found.append(self.volley.open(due_ns, shots, DEADLINE_MS / 1000))

        thread = threading.Thread(target=fly)
        thread.start()
        try:
            yield found
        finally:
            thread.join()

    def event_probe(self, at: int) -> tuple[float, float]:
        """Record that a user acted on the first of his page, and ask again."""
        user = RESERVED + at % (USERS - RESERVED)
        first = int(self.client.ask("scan", user=user, limit=1).ids[0])
        began = time.perf_counter()
        self.client.record(user, first, "view")
        acknowledged = time.perf_counter()
        if first in self.client.ask("scan", user=user).ids:
            raise click.ClickException(f"user {user} is shown item {first}, an event after its acknowledgement")
        return acknowledged - began, time.perf_counter() - began

    def item_probe(self, at: int) -> tuple[float, float]:
        """Upsert an item right where a user looks, and ask."""
        user, one = RESERVED + at % (USERS - RESERVED), self.fresh
        self.fresh += 1
        vector = self.vectors[user] * (10 + at // (USERS - RESERVED))
        began = time.perf_counter()
        self.client.apply([{"op": "upsert_item", "id": one, "vectors": {"taste": vector}}])
        acknowledged = time.perf_counter()
        if one not in self.client.ask("scan", user=user).ids:
            raise click.ClickException(f"user {user} is not shown item {one}, after its acknowledgement")
        return acknowledged - began, time.perf_counter() - began

    def probes(self, probe: Callable[[int], tuple[float, float]], seconds: float) -> dict[str, Any]:
        """Percentiles of a probe repeated for some seconds."""
        end = time.perf_counter() + seconds
        found: list[tuple[float, float]] = []
        while time.perf_counter() < end:
            found.append(probe(len(found)))
        acks, pages = np.array(found).T * 1000
        return {
            "probes": len(found),
            **{f"ack_p{q}_ms": round(float(np.percentile(acks, q)), 2) for q in (50, 99)},
            **{f"in_page_p{q}_ms": round(float(np.percentile(pages, q)), 2) for q in (50, 99)},
        }

    def events(self, seconds: float, rate: float) -> float:
        """Durable events a second from many clients, each with one batch under way; ``rate`` is what they aim at."""
        return asyncio.run(write_events(self.client.endpoint, self.rows, seconds, rate))

    def make_users(self) -> None:
        """Those whose events are written, so that what is measured is events alone."""
        ids = np.arange(USERS, USERS + EVENT_USERS, dtype="<u8")
        for part in np.array_split(ids, 20):
            items = np.zeros(len(part), dtype="<u8").tobytes()
            self.client.apply([{"op": "events", "users": part.tobytes(), "items": items}])

    def fill(self, count: int) -> None:
        """Add items near to nobody in particular."""
        rng = np.random.default_rng(5)
        for start in range(0, count, UPSERTS):
            many = min(UPSERTS, count - start)
            rows = rng.standard_normal((many, self.vectors.shape[1])).astype(np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            ids = range(self.fresh, self.fresh + many)
            self.fresh += many
            self.client.apply(
                {"op": "upsert_item", "id": one, "vectors": {"taste": row}} for one, row in zip(ids, rows, strict=True)
            )


def p99_ms(flight: Flight) -> float:
    """Of the pages that came."""
    return float(np.percentile(flight.latency_us(Status.OK.code), 99)) / 1000


async def write_events(endpoint: str, rows: int, seconds: float, rate: float) -> float:
    """All clients until the time is over."""
    began = time.perf_counter()

    async def one(client: AsyncClient, seed: int) -> int:
        rng, written = np.random.default_rng(seed), 0
        while (now := time.perf_counter() - began) < seconds:
            ahead = written * WRITERS / rate - now
            if ahead > 0:
                await asyncio.sleep(ahead)
            users = rng.integers(USERS, USERS + EVENT_USERS, BATCH_EVENTS).astype("<u8").tobytes()
            items = rng.integers(0, rows, BATCH_EVENTS).astype("<u8").tobytes()
            await client.apply([{"op": "events", "users": users, "items": items, "actions": "view"}])
            written += BATCH_EVENTS
        return written

    async with AsyncClient(endpoint) as client:
        written = await asyncio.gather(*(one(client, seed) for seed in range(WRITERS)))
    return sum(written) / (time.perf_counter() - began)


@contextmanager
def node(rows: int, dim: int, workers: int) -> Iterator[Bench]:
    """Started on a store of its own, whose epoch is linked and not copied."""
    data = shared_store(rows, dim)
    with tempfile.TemporaryDirectory(prefix="mixline-bench-", dir=data.parent) as name:
        folder = Path(name)
        shutil.copytree(data / "store", folder / "store", copy_function=link, ignore=shutil.ignore_patterns("live"))
        (folder / "surfaces").mkdir()
        (folder / "surfaces" / "scan.toml").write_text(surface(SEEN))
        (folder / "node.toml").write_text('surfaces = "surfaces"\n')
        with (
            serving(folder / "store", folder, workers, folder / "node.toml") as (endpoint, _),
            Client(endpoint) as client,
        ):
            asks = [prepare("scan", user=user, deadline_ms=DEADLINE_MS) for user in range(USERS)]
            transport = ZmqTransport(endpoint, [(header.pack(), body) for header, body in asks])
            try:
                yield Bench(client, Volley(transport), rows, np.load(data / "users.npy", allow_pickle=False))
            finally:
                transport.close()


def link(source: str, target: str) -> str:
    """A hard link: epochs never change."""
    Path(target).hardlink_to(source)
    return target


@click.command()
@click.option("--rows", default=100_000, show_default=True, type=click.IntRange(2000), help="Items of the epoch.")
@click.option("--dim", default=64, show_default=True, type=click.IntRange(1, 2048))
@click.option("--overlay", default=10_000, show_default=True, type=click.IntRange(1, 1_000_000), help="New items.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(0.1), help="Of each measurement.")
@click.option("--json", "as_json", is_flag=True)
def live(rows: int, dim: int, overlay: int, workers: int, seconds: float, as_json: bool) -> None:
    """From an update to the page that shows it, durable events a second, and what new items cost a scan."""
    with node(rows, dim, workers) as bench:
        bench.client.record(0, 0)  # the writer starts
        bench.closed(16, min(1.0, seconds))
        capacity, _ = bench.closed(16, seconds)
        result: dict[str, Any] = {"rows": rows, "dim": dim, "workers": workers, "pages_per_s": round(capacity, 1)}
        for load in (0.0, 0.5):
            for name, probe in (("event", bench.event_probe), ("new_item", bench.item_probe)):
                if load:
                    with bench.background(load * capacity, seconds):
                        result[f"{name}_at_half_load"] = bench.probes(probe, 0.9 * seconds)
                else:
                    result[f"{name}_alone"] = bench.probes(probe, seconds)
        bench.make_users()
        with bench.background(0.3 * capacity, seconds) as quiet:
            pass
        with bench.background(0.3 * capacity, seconds) as busy:
            written = bench.events(0.9 * seconds, EVENTS_PER_S)
        quiet_ms, busy_ms = (p99_ms(flight) for flight in (*quiet, *busy))
        result["events"] = {
            "durable_per_s": round(written),
            "clients": WRITERS,
            "batch": BATCH_EVENTS,
            "pages_p99_ms_without": round(quiet_ms, 2),
            "pages_p99_ms_with": round(busy_ms, 2),
            "p99_ratio": round(busy_ms / quiet_ms, 2),
            "pages_refused_with": round(1 - busy[0].counts.get(Status.OK.code, 0) / busy[0].sent, 4),
        }
        result["events_alone_per_s"] = round(bench.events(seconds, 1e12))
    with node(rows, dim, workers) as bench:
        bench.client.record(0, 0)
        bench.closed(1, min(1.0, seconds))
        calm = bench.closed(1, seconds)[1]
        bench.fill(overlay)
        bench.closed(1, min(1.0, seconds))
        more = bench.closed(1, seconds)[1]
        before, after = float(np.median(calm)), float(np.median(more))
        result["overlay"] = {
            "items": overlay,
            "page_ms_without": round(before, 3),
            "page_ms_with": round(after, 3),
            "ratio": round(after / before, 2),
        }
    report(result, as_json)
