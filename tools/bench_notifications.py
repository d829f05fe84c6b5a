"""``mixline bench notifications``: whom to send something, for many users in batches, each reserved before its reply.

A served node with its writer; batches are asked for with a few on the way at a time, as a sender would. At the end the
budgets of all users are read back: none may have more in use than its limit.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from mixline.node.client import Client
from mixline.node.inprocess import Node
from mixline.node.page import Page
from mixline.tools.bench import report
from mixline.tools.serving import COMMAND, serving

SPEC = """
[items]
path = "items.parquet"
id = "item"
columns = { kind = "category" }
[users]
path = "users.parquet"
id = "user"
columns = { offset = "i64" }
[events]
path = "events.parquet"
user = "user"
item = "item"
time = "time"
[spaces.taste]
items = "items.npy"
users = "users.npy"
"""
SURFACE = """
name = "notify"
deadline_ms = 20000
limit = 1
[[source]]
name = "taste"
kind = "nearest"
limit = 50
[[source]]
name = "popular"
kind = "popular"
limit = 20
[[filter]]
kind = "quiet_hours"
zone = "offset"
[[filter]]
kind = "seen"
[[filter]]
kind = "frequency"
by = "kind"
most = 2
window = "1d"
actions = ["sent"]
[[filter]]
kind = "served"
actions = ["sent"]
window = "30d"
[[selector]]
kind = "topk"
by = "taste.score"
limit = 5
[[selector]]
kind = "reserve"
on_error = "fail"
budgets = [{ budget = "push", limit = 3, window = "7d" }, { budget = "push.day", limit = 1, window = "1d" }]
[[side_effect]]
kind = "served"
action = "sent"
"""
EVENTS_EACH, IN_FLIGHT, NOON = 5, 4, 43_200


def make(folder: Path, users: int, items: int, dim: int) -> None:
    """A store of users with a little history and vectors of both."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(3)
    kinds = [("news", "offer", "friend")[at % 3] for at in range(items)]
    pq.write_table(pa.table({"item": np.arange(items), "kind": kinds}), folder / "items.parquet")
    pq.write_table(pa.table({"user": np.arange(users), "offset": np.arange(users) % 24 - 12}), folder / "users.parquet")
    owner = np.repeat(np.arange(users), EVENTS_EACH)
    events = {"user": owner, "item": rng.integers(0, items, len(owner)), "time": 1_700_000_000 + np.arange(len(owner))}
    pq.write_table(pa.table(events), folder / "events.parquet")
    for name, count in (("items", items), ("users", users)):
        np.save(folder / f"{name}.npy", rng.standard_normal((count, dim), dtype=np.float32))
    (folder / "spec.toml").write_text(SPEC)
    subprocess.run(
        [*COMMAND, "build", str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"], check=True
    )
    (folder / "surfaces").mkdir()
    (folder / "surfaces" / "notify.toml").write_text(SURFACE)
    (folder / "node.toml").write_text('surfaces = "surfaces"\n')


def overspent(store: Path, users: int) -> tuple[int, int]:
    """How many messages are reserved, and how many users have more of them than a budget allows."""
    with Node.open(store) as node:
        view, now = node.engine.live.view(), int(time.clock_gettime(time.CLOCK_REALTIME))
        if view is None:
            return 0, 0
        rows = range(users)
        week = [view.budget(row, "push", 7 * 86_400, now)[0] for row in rows]
        day = [view.budget(row, "push.day", 86_400, now)[0] for row in rows]
    return sum(week), sum(one > 3 or other > 1 for one, other in zip(week, day, strict=True))


def decide(client: Client, asks: list[dict], kill: Killer | None) -> tuple[int, int, int]:
    """Ask all batches, a few at a time and each until it is answered: items sent, users asked about, tries that failed.
    A batch that is asked again has the request id that it had."""
    waiting, sent, asked, failed = list(enumerate(asks, 1)), 0, 0, 0
    while waiting:
        some, waiting = waiting[:IN_FLIGHT], waiting[IN_FLIGHT:]
        if kill is not None:
            kill.now_and_then(client)
        pages = client.ask_many([{**ask, "request_id": number} for number, ask in some])
        for one, page in zip(some, pages, strict=True):
            if isinstance(page, Page):
                sent, asked = sent + len(page), asked + len(page.groups) - 1
            elif kill is None:
                raise click.ClickException(f"a batch got {page!r}")
            else:
                failed += 1
                waiting.append(one)
    return sent, asked, failed


class Killer:
    """Kills a worker or the writer of this node every so often."""

    def __init__(self, every_s: float) -> None:
        self.every_s, self.kills = every_s, 0
        self._rng, self._next_s = random.Random(5), time.monotonic() + every_s

    def now_and_then(self, client: Client) -> None:
        """Kill one, when it is time."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + self.every_s
        told = client.info(deadline_ms=5000)
        seats = [*told["workers"], *([told["writer"]] if told["writer"] else [])]
        pids = [seat["pid"] for seat in seats if seat["pid"]]
        if pids:
            os.kill(self._rng.choice(pids), signal.SIGKILL)
            self.kills += 1


@click.command()
@click.option("--users", default=100_000, show_default=True, type=click.IntRange(min=10))
@click.option("--items", default=20_000, show_default=True, type=click.IntRange(min=100))
@click.option("--dim", default=32, show_default=True, type=click.IntRange(1, 1024))
@click.option("--batch", default=200, show_default=True, type=click.IntRange(1, 1000), help="Users in a request.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--kill-every", default=0.0, show_default=True, help="Seconds between kill -9 of a worker or the writer.")
@click.option("--json", "as_json", is_flag=True)
def notifications(users: int, items: int, dim: int, batch: int, workers: int, kill_every: float, as_json: bool) -> None:
    """Users decided about in a second, and users whose budget was overspent (must be 0)."""
    kill = Killer(kill_every) if kill_every else None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, users, items, dim)
        config = folder / "node.toml"
        with serving(folder / "store", folder, workers, config) as (endpoint, _), Client(endpoint) as client:
            common = {"surface": "notify", "deadline_ms": 20_000, "priority": 255}
            common["time"] = int(time.clock_gettime(time.CLOCK_REALTIME)) // 86_400 * 86_400 + NOON
            asks = [{**common, "users": [*range(at, min(at + batch, users))]} for at in range(0, users, batch)]
            started = time.monotonic()
            sent, asked, failed = decide(client, asks, kill)
            took = time.monotonic() - started
        reserved, over = overspent(folder / "store", users)
    if asked != users or reserved < sent or (kill is None and reserved != sent):
        raise click.ClickException(f"{asked} of {users} users asked about, {sent} sent, {reserved} reserved")
    figures: dict[str, float] = {"users": users, "batch": batch, "workers": workers, "sent": sent, "reserved": reserved}
    figures |= {"kills": kill.kills if kill else 0, "tries_failed": failed, "seconds": round(took, 2)}
    report({**figures, "users_per_s": round(users / took, 1), "overspent_users": over}, as_json)
