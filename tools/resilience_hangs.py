"""``mixline bench resilience hangs``: workers stand still in every known way; the client hears TIMEOUT in time.

Each hang is a flight: ordinary load, and one ask that loops for ever in Python, in C without the GIL, or sleeps in a
system call; or, for the fourth kind, a well-behaved long one whose worker is stopped by SIGSTOP. A stopped worker's
request may come back as a page, from the worker that it was hedged to: that is better than TIMEOUT and counted apart.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from mixline.ipc.wire import Status
from mixline.tools.flight import UNANSWERED, Flight
from mixline.tools.load import OK_CODES
from mixline.tools.resilience_account import chosen, counts, crossed, failed, figures, joined, took_ns
from mixline.tools.resilience_trial import Trial, kill, trial, trial_options
from mixline.tools.resilience_trouble import HANGS
from mixline.tools.resilience_verdict import Bar, conclude

SHARE = 0.2
LEAD_S, FLIGHT_S = 0.4, 1.0
SIGSTOP = "SIGSTOP"
KINDS = (SIGSTOP, *HANGS)
GRACE_MS_MAX = 10.0
REPLACED_S = 60.0


class Hang(NamedTuple):
    """One hang: the ask that hung, everybody else's, how many workers went, and when the node was whole again."""

    kind: str
    own: Flight
    others: Flight
    workers_lost: int
    whole_s: float


def stop_the_busy(node: Trial, until_s: float) -> None:
    """SIGSTOP a worker that executes: one that holds the same request at two looks in a row."""
    before: set[int] = set()
    while time.monotonic() < until_s:
        busy = {each["pid"] for each in node.seats("ready") if each["held"]}
        if busy & before:
            kill(min(busy & before), signal.SIGSTOP)
            return
        before = busy
        time.sleep(0.02)


def hang_one(node: Trial, rate: float, kind: str, number: int, at_s: float) -> Hang:
    """One flight with one hang in it, ask ``number`` of the mix, and the wait until the worker is replaced."""
    before = {each["pid"] for each in node.info()["workers"]}
    stopper = None
    if kind == SIGSTOP:
        stopper = threading.Timer(at_s, stop_the_busy, (node, time.monotonic() + at_s + 0.25))
        stopper.start()
    flight = node.fly_mixed(rate, FLIGHT_S, np.array([int(at_s * 1e9)]), np.array([number]))
    if stopper is not None:
        stopper.join()

    def replaced() -> bool:
        return node.whole() and {each["pid"] for each in node.info()["workers"]} != before

    whole_s = node.wait_for(replaced, REPLACED_S, f"a worker that hangs ({kind}) is replaced")
    lost = len(before - {each["pid"] for each in node.info()["workers"]})
    mine = flight.which == number
    return Hang(kind, chosen(flight, mine), chosen(flight, ~mine), lost, whole_s)


def by_kind(hangs: list[Hang], deadline_ms: float) -> dict[str, Any]:
    """For each kind: how its asks ended, when, and what it cost the node."""
    found = {}
    for kind in KINDS:
        these = [hang for hang in hangs if hang.kind == kind]
        if these:
            own = joined([hang.own for hang in these])
            beyond = took_ns(own)[own.status == Status.TIMEOUT.code] / 1e6 - deadline_ms
            found[kind] = {
                "hangs": len(these),
                "ended": counts(own.status),
                "timeout_beyond_deadline_ms": {
                    "p50": round(float(np.median(beyond)), 3),
                    "most": round(float(beyond.max()), 3),
                }
                if len(beyond)
                else None,
                "workers_lost_to_one": max(hang.workers_lost for hang in these),
                "whole_again_s": round(max(hang.whole_s for hang in these), 2),
            }
    return found


@click.command()
@click.option("--count", default=100, show_default=True, type=click.IntRange(1))
@click.option("--kinds", multiple=True, type=click.Choice(KINDS), default=KINDS, show_default=True)
@click.option("--deadline-ms", default=400.0, show_default=True, help="Of every ask; far below the time to notice.")
@trial_options
def hangs(
    count: int,
    kinds: tuple[str, ...],
    deadline_ms: float,
    store: Path | None,
    workers: int,
    capacity: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Let workers hang; the client hears in time and the worker is replaced."""
    rng, done = random.Random(seed), []
    order = [kinds[at % len(kinds)] for at in range(count)]
    rng.shuffle(order)
    # Each with bytes of its own: what has killed two workers is refused at the door.
    troubles = [{"trouble": "nap" if kind == SIGSTOP else kind, "number": at} for at, kind in enumerate(order)]
    with trial(store, workers, troubles, deadline_ms) as node:
        c = node.find_capacity(capacity)
        rate = c * SHARE
        node.fly(rate, 2.0)  # so that the surface's usual times are known, as they are in service
        for at, kind in enumerate(order):
            done.append(hang_one(node, rate, kind, node.first_trouble + at, LEAD_S + rng.random() * 0.1))
        facts, counters = node.facts(seed, c, rate), node.info()["counters"]
    own, others = joined([hang.own for hang in done]), joined([hang.others for hang in done])
    everyone = joined([own, others])
    replied = everyone.status != UNANSWERED
    beyond_ms = float((took_ns(everyone)[replied] / 1e6).max() - deadline_ms) if replied.any() else None
    timed_out = int((own.status == Status.TIMEOUT.code).sum())
    ended_well = timed_out + int((np.isin(own.status, OK_CODES) & (np.array(order) == SIGSTOP)).sum())
    result = {
        **facts,
        "deadline_ms": deadline_ms,
        "kinds": by_kind(done, deadline_ms),
        "others": figures(others),
        "others_failed": int(failed(others).sum()),
        "counters": {name: counters[name] for name in ("hangs", "deaths", "hedged", "hedges_won", "timed_out_running")},
    }
    bars = [
        Bar("hangs that ended with TIMEOUT, or as a page from another worker", ended_well, count, at_most=False),
        Bar("latest reply beyond its deadline, ms", beyond_ms, GRACE_MS_MAX),
        Bar("requests without any reply", int((~replied).sum()), 0),
        Bar("workers replaced", sum(hang.workers_lost for hang in done), count, at_most=False),
        Bar("wrong pages", others.wrong, 0),
        Bar("crossed or doubled replies", crossed(others), 0),
    ]
    conclude("hangs", result, bars, as_json)
