"""``mixline bench resilience soak``: .6 C for half an hour with a kill now and then; does anything grow, or fail?

Growth is the slope of USS, least squares over the settled part: of broker and supervisor over the whole run, of workers
over each life that is long enough to have one. The eldest worker is never killed. An error is explained when a worker
had died within the two seconds before the ask was due or while it was under way.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from mixline.tools.flight import Flight
from mixline.tools.resilience_account import crossed, failed, figures, joined
from mixline.tools.resilience_census import holding
from mixline.tools.resilience_kills import Killer
from mixline.tools.resilience_trial import trial, trial_options
from mixline.tools.resilience_verdict import Bar, conclude

SHARE = 0.6
SEGMENT_S = 30.0
SAMPLE_S = 2.0
SETTLE_SHARE, SETTLE_S_MAX = 0.25, 300.0
LIFE_S_MIN = 120.0  # settled; a shorter one says more of noise than of growth
EXPLAINED_S = 2.0
SLOPE_MB_PER_H_MAX = 1.0
KILLS_MAX = 1_000_000

Samples = list[tuple[float, float]]


def slope_mb_per_h(samples: Sequence[tuple[float, float]], settle_s: float) -> float | None:
    """Of (seconds, MB), without the first ``settle_s``; None when fewer than three are left."""
    settled = [(at, value) for at, value in samples if at - samples[0][0] >= settle_s]
    if len(settled) < 3:
        return None
    at_s, value_mb = np.array(settled).T
    return float(np.polyfit(at_s - at_s[0], value_mb, 1)[0] * 3600)


def unexplained(flight: Flight, started_s: float, deaths_s: Sequence[float]) -> int:
    """Failed shots of a flight that began at ``started_s`` with no death shortly before or during them."""
    bad = np.flatnonzero(failed(flight))
    due_s = started_s + flight.due_ns[bad] / 1e9
    ended_s = due_s + np.maximum(flight.latency_ns[bad], 0) / 1e9
    near = [((due_s - EXPLAINED_S <= death) & (death <= ended_s)) for death in deaths_s]
    return int((~np.any(near, axis=0)).sum()) if near else len(bad)


class UssWatch(threading.Thread):
    """Samples the USS of all processes of a node, by pid."""

    def __init__(self, pids: Callable[[], Sequence[int]]) -> None:
        super().__init__(daemon=True)
        self.pids, self.over = pids, threading.Event()
        self.seen: dict[int, Samples] = defaultdict(list)

    def run(self) -> None:
        while not self.over.wait(SAMPLE_S):
            now_s = time.monotonic()
            for pid in self.pids():
                held = holding(pid)
                if held is not None:
                    self.seen[pid].append((now_s, held.uss_mb))


def slopes(seen: dict[int, Samples], names: dict[int, str], settle_s: float) -> list[dict[str, Any]]:
    """One entry for each life that is long enough, the steepest first."""
    found = []
    for pid, samples in seen.items():
        life_s = samples[-1][0] - samples[0][0]
        whole = names.get(pid) is not None
        slope = slope_mb_per_h(samples, settle_s)
        if slope is not None and (whole or life_s - settle_s >= LIFE_S_MIN):
            found.append(
                {
                    "process": names.get(pid, "worker"),
                    "seconds": round(life_s),
                    "uss_mb": [round(samples[0][1], 2), round(samples[-1][1], 2)],
                    "mb_per_h": round(slope, 3),
                }
            )
    return sorted(found, key=lambda each: -each["mb_per_h"])


@click.command()
@click.option("--minutes", default=30.0, show_default=True, type=click.FloatRange(0.1))
@click.option("--every", "every_s", default=60.0, show_default=True, help="Seconds between kills, at least.")
@trial_options
def soak(
    minutes: float, every_s: float, store: Path | None, workers: int, capacity: float | None, seed: int, as_json: bool
) -> None:
    """Serve for long with kills; nothing grows and nothing fails without a reason."""
    flights, starts = [], []
    with trial(store, workers) as node:
        c = node.find_capacity(capacity)
        rate = c * SHARE
        names = {node.root: "supervisor", node.info()["pid"]: "broker"}
        watch, killer = UssWatch(node.pids), Killer(node, KILLS_MAX, every_s, seed, eldest=True)
        watch.start()
        killer.start()
        began_s = time.monotonic()
        while (left_s := began_s + minutes * 60 - time.monotonic()) > 0:
            assert not killer.done
            starts.append(time.monotonic())
            flights.append(node.fly(rate, min(SEGMENT_S, max(1.0, left_s))))
        killer.over.set()
        watch.over.set()
        killer.join()
        watch.join()
        facts, counters = node.facts(seed, c, rate), node.info()["counters"]
    settle_s = min(SETTLE_S_MAX, minutes * 60 * SETTLE_SHARE)
    grown = slopes(watch.seen, names, settle_s)
    flight = joined(flights)
    odd = sum(unexplained(each, at_s, killer.at_s) for each, at_s in zip(flights, starts, strict=True))
    whole = {name: next((g["mb_per_h"] for g in grown if g["process"] == name), None) for name in names.values()}
    of_workers = [each["mb_per_h"] for each in grown if each["process"] == "worker"]
    result = {
        **facts,
        "minutes": minutes,
        "kills": len(killer.at_s),
        "settle_s": settle_s,
        "slopes": grown,
        "load": figures(flight),
        "failed": int(failed(flight).sum()),
        "counters": {name: counters[name] for name in ("deaths", "redispatched", "hedged", "worker_lost")},
    }
    bars = [
        *(Bar(f"{name}: USS slope, MB/h", slope, SLOPE_MB_PER_H_MAX) for name, slope in whole.items()),
        Bar("workers: steepest USS slope of a life, MB/h", max(of_workers, default=None), SLOPE_MB_PER_H_MAX),
        Bar("errors without an explanation", odd, 0),
        Bar("wrong, crossed or doubled replies", flight.wrong + crossed(flight), 0),
    ]
    conclude("soak", result, bars, as_json)
