"""The ground of every trial: a node of its own with one more surface that can be told to fail, asks whose answers are
known, the compiled generator, and C, found once.

The expected ids and scores are what the engine gives in this process, bit for bit, so a page that another request
should have had is seen as wrong.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from mixline.ipc.wire import PRIORITY_DEFAULT
from mixline.node import Client, Node
from mixline.node.errors import NodeError
from mixline.node.page import Answer
from mixline.tools.bench_load import Range, ramp
from mixline.tools.bench_store import sized_store
from mixline.tools.flight import Flight
from mixline.tools.load import schedule
from mixline.tools.load_mix import Mix
from mixline.tools.processes import Neighbours, family
from mixline.tools.serving import serving
from mixline.tools.volley import Volley
from mixline.tools.volley_zmq import ZmqTransport

SURFACE, USERS, LIMIT = "trouble", 200, 25
STORE_MB = 16
PROBE_S = 4.0
INFO_MS = 5000
READY_S = 60.0
PATIENCE_S = 0.03  # between two looks at INFO
SPARE_NS = 60_000_000_000  # for the engine in this process
PAGE = """
name = "{name}"
deadline_ms = {deadline_ms:g}
limit = 25
[[source]]
name = "taste"
kind = "nearest"
limit = 400
[[source]]
name = "similar"
kind = "item_to_item"
query = "recent"
limit = 200
[[source]]
name = "popular"
kind = "popular"
[[filter]]
kind = "seen"
[[filter]]
kind = "mixline.tools.resilience_trouble.Trouble"
name = "trouble"
[[scorer]]
name = "final"
kind = "weighted"
terms = {{ "taste.score" = 1.0, "similar.score" = 0.1, "popular.score" = 0.05 }}
[[selector]]
kind = "topk"
by = "final"
"""
DEADLINE_MS = 100.0


def write_config(folder: Path, deadline_ms: float) -> Path:
    """NODE.toml and the surface ``trouble``: a feed that draws nothing by lot, so that its pages are known beforehand,
    with a filter that drops nothing but does as its params say."""
    (folder / "surfaces").mkdir()
    text = PAGE.format(name=SURFACE, deadline_ms=deadline_ms or DEADLINE_MS)
    (folder / "surfaces" / f"{SURFACE}.toml").write_text(text)
    (folder / "NODE.toml").write_text('surfaces = "surfaces"\n')
    return folder / "NODE.toml"


def make_asks(store: Path, config: Path, troubles: Sequence[dict[str, Any]]) -> tuple[Mix, list[list[bytes]]]:
    """An ask per user, then one per trouble (never in ``order``), with what their pages must contain."""
    from mixline.node.request import prepare

    decoder, encode = msgspec.msgpack.Decoder(Answer), msgspec.msgpack.encode
    asks, expected = [], []
    with Node.open(store, config) as node:
        deadline_ms = node.engine.pipelines[SURFACE].surface.deadline_ms
        for user in range(USERS):
            ask = prepare(SURFACE, user=user, limit=LIMIT, deadline_ms=deadline_ms, request_id=0)
            _, answer = node.engine.answer(*ask, time.monotonic_ns() + SPARE_NS, lambda: False)
            page = decoder.decode(answer)
            assert isinstance(page.ids, bytes)
            asks.append(ask)
            expected.append([encode("ids") + encode(page.ids), encode("scores") + encode(page.scores)])
    for at, trouble in enumerate(troubles):
        user = at % USERS
        asks.append(
            prepare(
                SURFACE,
                user=user,
                limit=LIMIT,
                deadline_ms=deadline_ms,
                request_id=0,
                params=trouble,
                priority=PRIORITY_DEFAULT,
            )
        )
        expected.append(expected[user])
    deadlines_us = np.full(len(asks), deadline_ms * 1000)
    return Mix(asks, np.arange(USERS, dtype=np.uint32), [SURFACE] * len(asks), deadlines_us), expected


class Trial:
    """A running node under the generator. ``first_trouble`` is the number of the first ask with params."""

    first_trouble = USERS

    def __init__(self, endpoint: str, store: Path, folder: Path, workers: int, mix: Mix, expected: Any) -> None:
        self.endpoint, self.store, self.folder, self.workers, self.mix = endpoint, store, folder, workers, mix
        self.client = Client(endpoint)
        self.root = int(self.info()["supervisor_pid"])
        frames = [(header.pack(), body) for header, body in mix.asks]
        self.transport = ZmqTransport(endpoint, frames)
        self.volley = Volley(self.transport, expected)
        self.place = Range(self.volley, mix, None, self.pids)
        self.neighbours = Neighbours(self.pids())

    def close(self) -> None:
        """Hang up; the node is stopped by whoever started it."""
        self.transport.close()
        self.client.close()

    def pids(self) -> list[int]:
        """Every process of the node."""
        return family([self.root])

    def info(self, timeout_ms: float = INFO_MS) -> dict[str, Any]:
        """What the broker says of itself."""
        return self.client.info(timeout_ms)

    def seats(self, *states: str) -> list[dict[str, Any]]:
        """Occupied seats in one of these states."""
        return [each for each in self.info()["workers"] if each["pid"] and each["state"] in states]

    def whole(self) -> bool:
        """Every seat, the standby's too, is ready."""
        return len(self.seats("ready")) == self.workers and len(self.seats("standby")) == 1

    def wait_whole(self, timeout_s: float = READY_S) -> float:
        """Seconds until the node is whole again; ClickException when it never is."""
        return self.wait_for(self.whole, timeout_s, "all seats ready")

    def wait_for(self, met: Callable[[], bool], timeout_s: float, what: str) -> float:
        """Seconds until ``met()``; a node that does not answer at the moment has not met it."""
        started_s = time.monotonic()
        while True:
            try:
                if met():
                    return time.monotonic() - started_s
            except NodeError as error:
                what = f"{what.split(':')[0]}: {error}"
            if time.monotonic() - started_s > timeout_s:
                raise click.ClickException(f"not within {timeout_s:g} s: {what}\n{self.log_tail()}")
            time.sleep(PATIENCE_S)

    def log_tail(self) -> str:
        """The node's last words."""
        return (self.folder / "node.log").read_text(errors="replace")[-2000:]

    def find_capacity(self, given: float | None) -> float:
        """C as ``mixline bench load`` finds it, or the one given."""
        self.wait_whole()
        return given or ramp(self.place, PROBE_S, False, True)[0]

    def fly(self, rate: float, seconds: float, grace_s: float | None = None) -> Flight:
        """Open loop with ordinary asks; waits for the last deadline and a little."""
        due_ns = schedule(rate, seconds)
        return self.volley.open(due_ns, self.mix.which(len(due_ns)), self.grace_s if grace_s is None else grace_s)

    def fly_mixed(self, rate: float, seconds: float, extra_ns: np.ndarray, extra: np.ndarray) -> Flight:
        """The same with other asks among them, ``extra`` at ``extra_ns``."""
        ordinary_ns = schedule(rate, seconds)
        due_ns = np.concatenate([ordinary_ns, extra_ns])
        which = np.concatenate([self.mix.which(len(ordinary_ns)), np.asarray(extra, np.uint32)])
        order = np.argsort(due_ns, kind="stable")
        return self.volley.open(due_ns[order], which[order], self.grace_s)

    def facts(self, seed: int, capacity: float, rate: float) -> dict[str, Any]:
        """What every report opens with. ``cores_of_others`` above .1: the machine was not quiet, measure again."""
        return {
            "seed": seed,
            "workers": self.workers,
            "capacity": round(capacity, 1),
            "rate": round(rate, 1),
            "cores_of_others": self.neighbours.cores(self.pids()),
        }

    @property
    def deadline_ms(self) -> float:
        """Of every ask."""
        return float(self.mix.deadlines_us[0]) / 1000

    @property
    def grace_s(self) -> float:
        """When every ask must have ended, after the last was due."""
        return self.deadline_ms / 1000 + 1.0


@contextmanager
def trial(
    store: Path | None,
    workers: int,
    troubles: Sequence[dict[str, Any]] = (),
    deadline_ms: float = 0.0,
    bind: str | None = None,
) -> Iterator[Trial]:
    """A node until the block ends; that it ends well is part of every trial."""
    path = store or sized_store(STORE_MB)
    with tempfile.TemporaryDirectory(prefix="mixline-bench-") as name:
        folder = Path(name)
        config = write_config(folder, deadline_ms)
        mix, expected = make_asks(path, config, troubles)
        with serving(path, folder, workers, config, bind) as (endpoint, _):
            running = Trial(endpoint, path, folder, workers, mix, expected)
            try:
                yield running
            finally:
                running.close()


def trial_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that all trials share."""
    for option in (
        click.option("--json", "as_json", is_flag=True),
        click.option("--seed", default=1, show_default=True, help="Of everything that is drawn."),
        click.option("--capacity", type=click.FloatRange(min=0, min_open=True), help="Take this for C."),
        click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64)),
        click.option(
            "--store",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="A store with users 0..199, to use instead of a small one that is built once.",
        ),
    ):
        command = option(command)
    return command


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid: int, number: int) -> bool:
    """Send a signal; False when the process is gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
