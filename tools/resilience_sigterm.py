"""``mixline bench resilience sigterm``: stop a node in the midst of load; what it had accepted is answered.

Every request that left before the signal is answered, with its page or with a refusal; what leaves later may find the
door closed. A node is started for each time.
"""

from __future__ import annotations

import os
import select
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
from mixline.tools.resilience_account import chosen, counts, crossed, figures, joined
from mixline.tools.resilience_trial import Trial, alive, trial, trial_options
from mixline.tools.resilience_verdict import Bar, conclude

SHARE = 0.5
LEAD_S, FLIGHT_S = 0.8, 1.6
EXIT_S_MAX, EXIT_S_GIVEN = 5.0, 20.0
REFUSALS = (Status.SHUTTING_DOWN.code, Status.OVERLOADED.code)


class Stop(NamedTuple):
    """One stop: what left before the signal, what of it was under way then, all that was asked, and seconds until the
    supervisor had ended (None: never)."""

    before: Flight
    under_way: Flight
    whole: Flight
    exit_s: float | None
    survivors: int


def stop_one(node: Trial, rate: float, lead_s: float) -> Stop:
    """A flight, and SIGTERM in the midst of it."""
    pids = node.pids()
    handle = os.pidfd_open(node.root)
    told: list[tuple[int, float | None]] = []
    started_ns = time.monotonic_ns()

    def tell() -> None:
        at_ns = time.monotonic_ns()
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        gone = select.select([handle], [], [], EXIT_S_GIVEN)[0]
        told.append((at_ns - started_ns, (time.monotonic_ns() - at_ns) / 1e9 if gone else None))

    timer = threading.Timer(lead_s, tell)
    timer.start()
    flight = node.fly(rate, FLIGHT_S)
    timer.join()
    os.close(handle)
    at_ns, exit_s = told[0]
    sent_ns = flight.due_ns + flight.lateness_ns
    ended_ns = np.where(flight.status == UNANSWERED, np.iinfo(np.int64).max, flight.due_ns + flight.latency_ns)
    before, under_way = sent_ns < at_ns, (sent_ns < at_ns) & (ended_ns >= at_ns)
    return Stop(chosen(flight, before), chosen(flight, under_way), flight, exit_s, sum(alive(pid) for pid in pids))


@click.command()
@click.option("--count", default=50, show_default=True, type=click.IntRange(1))
@trial_options
def sigterm(count: int, store: Path | None, workers: int, capacity: float | None, seed: int, as_json: bool) -> None:
    """Stop nodes under load; no accepted request is lost."""
    rng, stops, c = np.random.default_rng(seed), [], capacity
    facts: dict[str, Any] = {}
    for _ in range(count):
        with trial(store, workers) as node:
            c = node.find_capacity(c)
            facts = facts or node.facts(seed, c, c * SHARE)
            stops.append(stop_one(node, c * SHARE, LEAD_S + rng.random() * 0.2))
    before, whole = joined([stop.before for stop in stops]), joined([stop.whole for stop in stops])
    under_way = joined([stop.under_way for stop in stops])
    exits = [stop.exit_s for stop in stops]
    lost = int((before.status == UNANSWERED).sum())
    result = {
        **facts,
        "stops": len(stops),
        "before": counts(before.status),
        "under_way": counts(under_way.status),
        "later": counts(whole.status),
        "load": figures(before),
        "exit_s": {"p50": round(float(np.median([each for each in exits if each is not None] or [np.nan])), 2)},
    }
    bars = [
        Bar("nodes stopped", len(stops), count, at_most=False),
        Bar("accepted requests lost", lost, 0),
        Bar(
            "requests under way at the signal that ended as neither page nor refusal",
            int((~np.isin(under_way.status, (*OK_CODES, *REFUSALS))).sum()),
            0,
        ),
        Bar("exit after, s", None if None in exits else max(e for e in exits if e is not None), EXIT_S_MAX),
        Bar("processes that outlived the supervisor", sum(stop.survivors for stop in stops), 0),
        Bar("wrong, crossed or doubled replies", whole.wrong + crossed(whole), 0),
    ]
    conclude("sigterm", result, bars, as_json)
