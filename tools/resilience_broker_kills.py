"""``mixline bench resilience broker-kills``: kill -9 the broker under load, again and again.

What the dead broker had in hand ends without a reply, which is what a client's retry is for; the next request must be
answered within two seconds by the workers that were there before, over the connection that was open before.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from mixline.tools.flight import UNANSWERED, Flight
from mixline.tools.load import OK_CODES
from mixline.tools.resilience_account import crossed, figures, joined
from mixline.tools.resilience_trial import Trial, alive, kill, trial, trial_options
from mixline.tools.resilience_verdict import Bar, conclude

SHARE = 0.3
LEAD_S, FLIGHT_S = 0.5, 3.5
ANSWERING_S_MAX = 2.0
GONE_S = 5.0


class Death(NamedTuple):
    """One kill. ``answering_s``: from the kill to the first page for a request that was due after it; None: never."""

    flight: Flight
    answering_s: float | None
    workers_kept: bool
    processes: int


def first_page_s(flight: Flight, killed_ns: int) -> float | None:
    """From the kill (an offset like ``due_ns``) to the first page of what was due later."""
    later = np.isin(flight.status, OK_CODES) & (flight.due_ns > killed_ns)
    if not later.any():
        return None
    return float((flight.due_ns + flight.latency_ns)[later].min() - killed_ns) / 1e9


def workers_of(node: Trial) -> set[int]:
    """Pids of the workers in all seats."""
    return {each["pid"] for each in node.info()["workers"]}


def kill_one(node: Trial, rate: float, rng: random.Random) -> Death:
    """A flight in the midst of which the broker dies."""
    info = node.info()
    workers, broker, life = workers_of(node), info["pid"], info["life"]
    killed_ns: list[int] = []
    started_ns = time.monotonic_ns()
    wait_s = LEAD_S + rng.random() / rate  # any moment between two requests

    def strike() -> None:
        kill(broker, signal.SIGKILL)
        killed_ns.append(time.monotonic_ns() - started_ns)

    timer = threading.Timer(wait_s, strike)
    timer.start()
    flight = node.fly(rate, FLIGHT_S)
    timer.join()
    node.wait_for(lambda: node.info()["life"] > life, ANSWERING_S_MAX * 10, "a broker of the next life answers")
    node.wait_whole()
    return Death(flight, first_page_s(flight, killed_ns[0]), workers_of(node) == workers, len(node.pids()))


@click.command("broker-kills")
@click.option("--count", default=50, show_default=True, type=click.IntRange(1))
@trial_options
def broker_kills(
    count: int, store: Path | None, workers: int, capacity: float | None, seed: int, as_json: bool
) -> None:
    """Kill the broker under load; clients carry on."""
    rng, deaths, seen = random.Random(seed), [], set()
    with trial(store, workers) as node:
        c = node.find_capacity(capacity)
        rate = c * SHARE
        processes = len(node.pids())
        for _ in range(count):
            seen |= set(node.pids())
            deaths.append(kill_one(node, rate, rng))
        orphans = seen - set(node.pids())  # every broker that was killed; none may run on
        running = [pid for pid in orphans if alive(pid)]
        seen |= set(node.pids())
        facts = node.facts(seed, c, rate)
    end_s = time.monotonic() + GONE_S
    while any(alive(pid) for pid in seen) and time.monotonic() < end_s:
        time.sleep(0.05)
    running += [pid for pid in seen if alive(pid)]
    flight = joined([death.flight for death in deaths])
    waited = [death.answering_s for death in deaths]
    most = None if None in waited else max(each for each in waited if each is not None)
    result = {
        **facts,
        "kills": len(deaths),
        "answering_s": {
            "p50": round(float(np.median([w for w in waited if w is not None] or [np.nan])), 3),
            "most": most,
        },
        "without_reply": int((flight.status == UNANSWERED).sum()),
        "under_kills": figures(flight),
        "processes": processes,
    }
    bars = [
        Bar("broker killed", len(deaths), count, at_most=False),
        Bar("answering again after, s", most, ANSWERING_S_MAX),
        Bar("deaths after which workers were not the same", sum(not death.workers_kept for death in deaths), 0),
        Bar("processes more than at first, at most", max(death.processes for death in deaths) - processes, 0),
        Bar("processes that outlived their parent or the node", len(running), 0),
        Bar("wrong pages", flight.wrong, 0),
        Bar("crossed or doubled replies", crossed(flight), 0),
    ]
    conclude("broker-kills", result, bars, as_json)
