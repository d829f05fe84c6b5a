"""Overload and recovery: N × the capacity for some seconds, then half of it until the node is calm again.

Both phases are one schedule, so nothing of the recovery is missed while a run ends and the next begins.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from mixline.ipc.wire import Status
from mixline.tools.flight import Flight
from mixline.tools.load import OK_CODES, schedule, statuses
from mixline.tools.load_mix import Mix
from mixline.tools.load_report import by_status, histogram, in_time, percentiles
from mixline.tools.processes import rss_mb
from mixline.tools.volley import Volley

CALM_SHARE = 0.5
CALM_S = 6.0
WINDOW_NS = 100_000_000
SAMPLE_S = 0.2
GRACE_S = 5.0


class MemoryWatch(threading.Thread):
    """Samples the resident memory of a node's processes while the generator, which needs no GIL, runs."""

    def __init__(self, pids: Callable[[], Sequence[int]]) -> None:
        super().__init__(daemon=True)
        self.pids, self.over, self.seen_mb = pids, threading.Event(), [rss_mb(pids())]

    def run(self) -> None:
        while not self.over.wait(SAMPLE_S):
            self.seen_mb.append(rss_mb(self.pids()))

    def __enter__(self) -> MemoryWatch:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.join()
        self.seen_mb.append(rss_mb(self.pids()))

    def figures(self) -> dict[str, float]:
        """Before, at most, and after; in MB."""
        return {
            "rss_before_mb": round(self.seen_mb[0], 1),
            "rss_most_mb": round(max(self.seen_mb), 1),
            "rss_after_mb": round(self.seen_mb[-1], 1),
        }


def calm_after_s(due_ns: np.ndarray, good: np.ndarray, window_ns: int = WINDOW_NS) -> float | None:
    """Seconds from 0 until every later window of shots is good to 99 %; None when the last one still is not.

    ``due_ns`` counts from the end of the overload.
    """
    window = due_ns // window_ns
    shots = np.bincount(window)
    bad = np.bincount(window, weights=~good) > 0.01 * shots
    if not bad.any():
        return 0.0
    last = int(np.flatnonzero(bad)[-1])
    return None if last == len(bad) - 1 else (last + 1) * window_ns / 1e9


def part(flight: Flight, chosen: np.ndarray) -> Flight:
    """The shots of one phase."""
    names = ("due_ns", "which", "status", "latency_ns", "lateness_ns", "reply_bytes", "attempt")
    return flight._replace(**{name: getattr(flight, name)[chosen] for name in names})


def run_step(
    volley: Volley, mix: Mix, capacity: float, times: float, seconds: float, pids: Callable[[], Sequence[int]] | None
) -> dict[str, Any]:
    """One step: what was served, what was refused how fast, memory, and the time until calm."""
    overload_ns = schedule(capacity * times, seconds)
    calm_ns = schedule(capacity * CALM_SHARE, CALM_S) + int(seconds * 1e9)
    due_ns = np.concatenate([overload_ns, calm_ns])
    which = mix.which(len(due_ns))
    memory: dict[str, float] = {}
    if pids is None:
        flight = volley.open(due_ns, which, GRACE_S)
    else:
        with MemoryWatch(pids) as watch:
            flight = volley.open(due_ns, which, GRACE_S)
        memory = watch.figures()
    split = np.arange(len(due_ns)) < len(overload_ns)
    pressed, after = part(flight, split), part(flight, ~split)
    goodput = in_time(pressed, mix).sum() / seconds
    refused = percentiles(histogram(pressed.latency_us(Status.OVERLOADED.code)))
    return {
        "times": times,
        "rate": round(capacity * times, 1),
        "seconds": seconds,
        "statuses": statuses(pressed),
        "unanswered": pressed.unanswered,
        "goodput": round(float(goodput), 1),
        "goodput_of_capacity": round(float(goodput / capacity), 3),
        "accepted_p99_us": percentiles(histogram(pressed.latency_us(*OK_CODES)))["p99_us"],
        "overloaded": refused["count"],
        "overloaded_p99_us": refused["p99_us"],
        "calm_after_s": calm_after_s(after.due_ns - int(seconds * 1e9), in_time(after, mix)),
        "calm_statuses": statuses(after),
        **memory,
        "by_status": by_status(pressed),
        "generator": pressed.cost(),
    }
