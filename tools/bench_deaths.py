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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
import zmq

from mixline.ipc.wire import ReplyHeader, Status
from mixline.node import Client, Node
from mixline.node.page import Answer
from mixline.node.request import Prepared, prepare
from mixline.tools.bench import report
from mixline.tools.bench_store import sized_store
from mixline.tools.demo import serving
from mixline.tools.load import Load

SURFACE, USERS, LIMIT = "homefeed", 200, 25
STORE_MB = 16
CLOCK_GRACE_S = 0.05  # for the way back and this process's own turn on the processor

Content = tuple[bytes, bytes]


class Account:
    """Every ask: when it was meant to leave, when it left, and how it ended."""

    def __init__(self, deadline_s: float, expected: Sequence[Content]) -> None:
        self.deadline_s = deadline_s
        self.expected = expected
        self.open: dict[int, tuple[float, float]] = {}
        self.statuses: dict[str, int] = {}
        self.wrong = self.doubled = self.late = self.sent = self.second_attempts = 0
        self.latencies_us: list[float] = []
        self._decoder = msgspec.msgpack.Decoder(Answer)

    def close(self, frames: list[bytes]) -> None:
        """Check one reply against what was asked."""
        header, now_s = ReplyHeader.unpack(frames[0]), time.monotonic()
        number = int.from_bytes(header.request_id, "little")
        entry = self.open.pop(number, None)
        if entry is None:
            self.doubled += 1
            return
        meant_s, left_s = entry
        self.latencies_us.append((now_s - meant_s) * 1e6)
        self.late += now_s - left_s > self.deadline_s + CLOCK_GRACE_S
        self.second_attempts += header.attempt > 1
        self.statuses[header.status] = self.statuses.get(header.status, 0) + 1
        if header.status is Status.OK:
            answer = self._decoder.decode(frames[1])
            self.wrong += (answer.ids, answer.scores) != self.expected[number % len(self.expected)]

    def figures(self) -> dict[str, Any]:
        """What the run showed. A page that is not whole (DEGRADED) is an answer; it is counted by its status."""
        p50, p99, p999 = np.percentile(self.latencies_us or [0.0], [50, 99, 99.9])
        answered = sum(self.statuses.get(status, 0) for status in (Status.OK, Status.DEGRADED))
        return {
            "sent": self.sent,
            "statuses": self.statuses,
            "second_attempts": self.second_attempts,
            "without_reply": len(self.open),
            "wrong": self.wrong,
            "doubled": self.doubled,
            "late": self.late,
            "error_ratio": (self.sent - answered) / max(1, self.sent),
            "p50_us": round(p50),
            "p99_us": round(p99),
            "p999_us": round(p999),
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


def run(endpoint: str, asks: Sequence[Prepared], account: Account, rate: float, seconds: float) -> None:
    """Open loop: asks leave on schedule, whatever comes back."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    for option, value in ((zmq.LINGER, 0), (zmq.SNDHWM, 0), (zmq.RCVHWM, 0)):
        socket.setsockopt(option, value)
    socket.connect(endpoint)
    start_s, total, sent = time.monotonic(), int(rate * seconds), 0
    while sent < total or (account.open and time.monotonic() < start_s + seconds + account.deadline_s + 2):
        while sent < total and (now_s := time.monotonic()) >= start_s + sent / rate:
            header, body = asks[sent % len(asks)]
            socket.send_multipart([header._replace(request_id=sent.to_bytes(16, "little")).pack(), body])
            account.open[sent] = (start_s + sent / rate, now_s)
            sent += 1
        account.sent = sent
        next_s = start_s + sent / rate if sent < total else time.monotonic() + 0.05
        if socket.poll(max(0, int((next_s - time.monotonic()) * 1000))):
            account.close(socket.recv_multipart())
    socket.close()


def find_capacity(
    endpoint: str, asks: Sequence[Prepared], expected: Sequence[Content], deadline_s: float, seconds: float
) -> dict[str, float]:
    """The highest tried rate with p99 within the deadline and no error; a closed loop only says where to look."""
    load = Load(endpoint, asks)
    pace = load.closed(2.0, 8)
    load.close()
    for share in np.arange(1.2, 0.1, -0.1):
        account = Account(deadline_s, expected)
        run(endpoint, asks, account, pace * share, seconds)
        seen = account.figures()
        whole = account.statuses == {Status.OK: account.sent} and not account.wrong
        if whole and seen["p99_us"] <= deadline_s * 1e6:
            return {"closed_loop": pace, "capacity": pace * share, "capacity_p99_us": seen["p99_us"]}
    raise click.ClickException(f"no rate down to a tenth of {pace:.0f}/s keeps p99 within {deadline_s} s")


def asks_with_answers(store: Path, deadline_ms: float) -> tuple[list[Prepared], list[Content], float]:
    """Asks of some users, and the (ids, scores) that each must bring; with the surface's deadline."""
    decoder = msgspec.msgpack.Decoder(Answer)
    with Node.open(store) as node:
        deadline_ms = deadline_ms or node.engine.pipelines[SURFACE].surface.deadline_ms
        asks, expected = [], []
        for user in range(USERS):
            header, body = prepare(SURFACE, user=user, limit=LIMIT, deadline_ms=deadline_ms)
            _, answer = node.engine.answer(header, body, time.monotonic_ns() + 60 * 10**9, lambda: False)
            content = decoder.decode(answer)
            assert isinstance(content.ids, bytes)
            asks.append(Prepared(header, body))
            expected.append((content.ids, content.scores))
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
        capacity = find_capacity(endpoint, asks, expected, deadline_ms / 1000, 4.0)
        account, killer = Account(deadline_ms / 1000, expected), Killer(endpoint, every_s, seed)
        killer.start()
        run(endpoint, asks, account, capacity["capacity"] / 2, seconds)
        killer.over.set()
        killer.join()
    result = {
        "workers": workers,
        "deadline_ms": deadline_ms,
        **{name: round(value) for name, value in capacity.items()},
        "rate": round(capacity["capacity"] / 2),
        "kills": len(killer.killed),
        **account.figures(),
    }
    report(result, as_json)
    bad = account.wrong + account.doubled + account.late + len(account.open)
    sys.exit(1 if bad or result["error_ratio"] > 0.001 else 0)
