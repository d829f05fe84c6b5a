"""``mixline bench deaths``: kill -9 a random worker every few seconds at half capacity, and account for every ask.

Each ask must end in exactly one correct page or typed error by its deadline; correct means the ids and the bits of
score that the engine gives in this process. Capacity is the highest open-loop rate with p99 within the surface's
deadline and no error, found first on the same node; latency counts from the intended send time.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
import numpy as np

from mixline.ipc.wire import Status
from mixline.node import Client, Node
from mixline.node.page import Answer
from mixline.node.request import Prepared, prepare
from mixline.tools.bench import report
from mixline.tools.bench_store import sized_store
from mixline.tools.demo import serving
from mixline.tools.flight import Flight
from mixline.tools.load import OK_CODES, Load, statuses

SURFACE, USERS, LIMIT = "homefeed", 200, 25
STORE_MB = 16
CLOCK_GRACE_S = 0.05  # for the way back and this process's own turn on the processor

Content = tuple[bytes, bytes]


class Account(NamedTuple):
    """How the asks of one run ended. ``late`` counts from when an ask left, everything else from when it was due."""

    flight: Flight
    deadline_s: float

    @property
    def late(self) -> int:
        """Replies that came after the deadline and the clock's grace."""
        took_ns = self.flight.latency_ns - self.flight.lateness_ns
        return int(((self.flight.status >= 0) & (took_ns > (self.deadline_s + CLOCK_GRACE_S) * 1e9)).sum())

    @property
    def whole(self) -> bool:
        """Every ask brought its complete and correct page."""
        return self.flight.counts == {Status.OK.code: len(self.flight.status)} and not self.flight.wrong

    def figures(self) -> dict[str, Any]:
        """What the run showed. A page that is not whole (DEGRADED) is an answer; it is counted by its status."""
        flight = self.flight
        replied = flight.latency_ns[flight.status >= 0] / 1000
        p50, p99, p999 = np.percentile(replied if len(replied) else [0.0], [50, 99, 99.9])
        answered = sum(flight.counts.get(code, 0) for code in OK_CODES)
        return {
            "sent": flight.sent,
            "statuses": statuses(flight),
            "second_attempts": int((flight.attempt > 1).sum()),
            "without_reply": flight.unanswered,
            "wrong": flight.wrong,
            "doubled": flight.doubled + flight.strangers + flight.malformed,
            "late": self.late,
            "error_ratio": (flight.sent - answered) / max(1, flight.sent),
            "p50_us": round(p50),
            "p99_us": round(p99),
            "p999_us": round(p999),
            **flight.cost(),
        }


class Killer(threading.Thread):
    """Kills a random serving worker every ``every_s``, in a thread so that the load does not wait for it."""

    def __init__(self, endpoint: str, every_s: float, seed: int) -> None:
        super().__init__(daemon=True)
        self.endpoint, self.every_s, self.random = endpoint, every_s, random.Random(seed)
        self.over = threading.Event()
        self.killed: list[int] = []

    def run(self) -> None:
        with Client(self.endpoint) as client:
            while not self.over.wait(self.every_s):
                serving_now = [each["pid"] for each in client.info(5000)["workers"] if each["state"] == "ready"]
                if serving_now:
                    victim = self.random.choice(serving_now)
                    os.kill(victim, signal.SIGKILL)
                    self.killed.append(victim)


def find_capacity(load: Load, deadline_s: float, seconds: float) -> dict[str, float]:
    """The highest tried rate with p99 within the deadline and no error; a closed loop only says where to look."""
    pace = load.closed(2.0, 8)
    for share in np.arange(1.2, 0.1, -0.1):
        account = Account(load.fly(pace * share, seconds, deadline_s + 2), deadline_s)
        p99_us = account.figures()["p99_us"]
        if account.whole and p99_us <= deadline_s * 1e6:
            return {"closed_loop": pace, "capacity": pace * share, "capacity_p99_us": p99_us}
    raise click.ClickException(f"no rate down to a tenth of {pace:.0f}/s keeps p99 within {deadline_s} s")


def asks_with_answers(store: Path, deadline_ms: float) -> tuple[list[Prepared], list[Content], float]:
    """Asks of some users, and the (ids, scores) that each must bring, as they travel; with the surface's deadline."""
    decoder, encode = msgspec.msgpack.Decoder(Answer), msgspec.msgpack.encode
    with Node.open(store) as node:
        deadline_ms = deadline_ms or node.engine.pipelines[SURFACE].surface.deadline_ms
        asks, expected = [], []
        for user in range(USERS):
            header, body = prepare(SURFACE, user=user, limit=LIMIT, deadline_ms=deadline_ms)
            _, answer = node.engine.answer(header, body, time.monotonic_ns() + 60 * 10**9, lambda: False)
            content = decoder.decode(answer)
            assert isinstance(content.ids, bytes)
            asks.append(Prepared(header, body))
            expected.append((encode("ids") + encode(content.ids), encode("scores") + encode(content.scores)))
    return asks, expected, deadline_ms


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="How long workers are killed.")
@click.option("--every", "every_s", default=5.0, show_default=True, help="Seconds between kills.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--deadline-ms", default=0.0, help="Deadline of each ask (default: the surface's).")
@click.option("--seed", default=1, show_default=True, help="Chooses the victims.")
@click.option(
    "--store", type=click.Path(exists=True, file_okay=False), help="A store with users 0..199, to use instead."
)
@click.option("--json", "as_json", is_flag=True)
def deaths(
    seconds: float, every_s: float, workers: int, deadline_ms: float, seed: int, store: str | None, as_json: bool
) -> None:
    """Kill workers of a node of its own under load; exit code 1 when an ask was lost, doubled, wrong or late."""
    path = Path(store) if store else sized_store(STORE_MB)
    asks, expected, deadline_ms = asks_with_answers(path, deadline_ms)
    with (
        tempfile.TemporaryDirectory(prefix="mixline-bench-") as folder,
        serving(path, Path(folder), workers) as (endpoint, _),
    ):
        load = Load(endpoint, asks, expect=expected)
        capacity = find_capacity(load, deadline_ms / 1000, 4.0)
        killer = Killer(endpoint, every_s, seed)
        killer.start()
        flight = load.fly(capacity["capacity"] / 2, seconds, deadline_ms / 1000 + 2)
        killer.over.set()
        killer.join()
        load.close()
    account = Account(flight, deadline_ms / 1000)
    result = {
        "workers": workers,
        "deadline_ms": deadline_ms,
        **{name: round(value) for name, value in capacity.items()},
        "rate": round(capacity["capacity"] / 2),
        "kills": len(killer.killed),
        **account.figures(),
    }
    report(result, as_json)
    bad = result["wrong"] + result["doubled"] + result["late"] + result["without_reply"]
    sys.exit(1 if bad or result["error_ratio"] > 0.001 else 0)
