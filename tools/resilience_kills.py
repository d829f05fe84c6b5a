"""``mixline bench resilience kills``: kill -9 random serving workers at half of C, each as soon as the node is whole.

Every ask must end once, with its own page. What fails is asked once more, at the head of the next segment, as a client
would; a segment is a flight of some seconds, since the generator wants a finished schedule.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from pathlib import Path

import click
import numpy as np

from mixline.node.errors import NodeError
from mixline.tools.flight import Flight
from mixline.tools.load import schedule
from mixline.tools.resilience_account import chosen, counts, crossed, failed, figures, joined, late, p99_us
from mixline.tools.resilience_trial import PATIENCE_S, Trial, kill, trial, trial_options
from mixline.tools.resilience_verdict import Bar, conclude

SHARE = 0.5
SEGMENT_S, CALM_S = 20.0, 20.0
CLOCK_GRACE_MS = 50.0  # for the way back and this process's own turn on the processor
ERRORS_MAX, P99_TIMES_MAX = 0.0001, 2.0


class Killer(threading.Thread):
    """Kills ``count`` serving workers, in a thread so that the load does not wait for it.

    A kill waits until the node is whole again, and at least ``every_s`` after the last; ``eldest`` spares the one that
    has served longest. ``at_s`` are the moments, on the monotonic clock.
    """

    def __init__(self, node: Trial, count: int, every_s: float, seed: int, eldest: bool = False) -> None:
        super().__init__(daemon=True)
        self.node, self.count, self.every_s, self.eldest = node, count, every_s, eldest
        self.random, self.over = random.Random(seed), threading.Event()
        self.at_s: list[float] = []
        self.recovered_s: list[float] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            while len(self.at_s) < self.count and not self.over.is_set():
                self.kill_one()
        except (
            NodeError,
            click.ClickException,
            OSError,
        ) as error:  # told by done, where something can be done about it
            self.failure = error

    def kill_one(self) -> None:
        """One kill, and the wait that follows it."""
        serving = sorted(self.node.seats("ready"), key=lambda each: each["counters"]["asks"])
        candidates = serving[:-1] if self.eldest else serving
        if not candidates or not kill(self.random.choice(candidates)["pid"], signal.SIGKILL):
            time.sleep(PATIENCE_S)
            return
        self.at_s.append(time.monotonic())
        time.sleep(PATIENCE_S)  # the broker still shows the dead one as ready for a moment
        self.recovered_s.append(self.node.wait_whole())
        self.over.wait(max(0.0, self.at_s[-1] + self.every_s - time.monotonic()))

    @property
    def done(self) -> bool:
        """Whether all kills were made; raises what stopped them."""
        if self.failure is not None:
            raise self.failure
        return not self.is_alive()


def segment(node: Trial, rate: float, seconds: float, again: np.ndarray) -> tuple[Flight, Flight]:
    """A flight, with ``again`` (asks that failed before) at its head: first tries and second ones."""
    due_ns = schedule(rate, max(seconds, (len(again) + 1) / rate))
    which = node.mix.which(len(due_ns)).copy()
    which[: len(again)] = again
    flight = node.volley.open(due_ns, which, node.grace_s)
    second = np.arange(len(which)) < len(again)
    return chosen(flight, ~second), chosen(flight, second)


def settle_node(node: Trial) -> None:
    """Let the last successors start before the speed of a calm node is taken."""
    try:
        node.wait_whole()
    except NodeError as error:
        raise click.ClickException(f"the node does not answer: {error}") from error


@click.command()
@click.option("--count", default=300, show_default=True, type=click.IntRange(1), help="Workers to kill.")
@click.option("--every", "every_s", default=0.0, show_default=True, help="Seconds between kills, at least.")
@click.option("--calm", "calm_s", default=CALM_S, show_default=True, help="Seconds of calm, before and after.")
@trial_options
def kills(
    count: int,
    every_s: float,
    calm_s: float,
    store: Path | None,
    workers: int,
    capacity: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Kill workers under load; nobody may notice."""
    firsts: list[Flight] = []
    seconds_tries: list[Flight] = []
    again = np.zeros(0, np.uint32)
    with trial(store, workers) as node:
        c = node.find_capacity(capacity)
        rate = c * SHARE
        calm = [node.fly(rate, calm_s)]
        killer = Killer(node, count, every_s, seed)
        killer.start()
        started_s = time.monotonic()
        while not killer.done or len(again):
            first, second = segment(node, rate, SEGMENT_S if not killer.done else 1.0, again)
            firsts.append(first)
            seconds_tries.append(second)
            again = first.which[failed(first)].astype(np.uint32)
        took_s = time.monotonic() - started_s
        settle_node(node)
        calm.append(node.fly(rate, calm_s))
        counters, facts = node.info()["counters"], node.facts(seed, c, rate)
    flight, retried, quiet = joined(firsts), joined(seconds_tries), joined(calm)
    visible = int(failed(retried).sum())
    p99, calm_p99 = p99_us(flight), p99_us(quiet)
    result = {
        **facts,
        "kills": len(killer.at_s),
        "seconds": round(took_s, 1),
        "whole_again_s": {
            "p50": round(float(np.median(killer.recovered_s)), 2),
            "most": round(max(killer.recovered_s), 2),
        },
        "calm": figures(quiet),
        "under_kills": figures(flight),
        "failed_first": int(failed(flight).sum()),
        "retries": counts(retried.status),
        "late": late(flight, node.mix.deadlines_us, CLOCK_GRACE_MS),
        "counters": {
            name: counters[name] for name in ("deaths", "redispatched", "hedged", "hedges_won", "worker_lost")
        },
    }
    bars = [
        Bar("workers killed", len(killer.at_s), count, at_most=False),
        Bar("wrong pages", flight.wrong + quiet.wrong, 0),
        Bar("crossed or doubled replies", crossed(flight) + crossed(quiet), 0),
        Bar("visible errors after one retry, share", visible / max(1, flight.sent), ERRORS_MAX),
        Bar("p99 under kills / calm p99", p99 / calm_p99 if p99 and calm_p99 else None, P99_TIMES_MAX),
    ]
    conclude("kills", result, bars, as_json)
