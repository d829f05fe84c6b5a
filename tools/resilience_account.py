"""How the asks of a trial ended: flights added up, and who got a wrong, a second, a foreign or a late reply.

``late`` counts from when an ask left, since a generator that sent late is not the node's fault; latencies count from
when an ask was due.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixline.tools.flight import UNANSWERED, Flight
from mixline.tools.load import OK_CODES, status_name

ARRAYS = ("due_ns", "which", "status", "latency_ns", "lateness_ns", "reply_bytes", "attempt")
SUMS = (
    "sent",
    "doubled",
    "strangers",
    "malformed",
    "reconnects",
    "wrong",
    "wall_ns",
    "window_ns",
    "window_done",
    "loop_cpu_ns",
    "busiest_cpu_ns",
    "process_cpu_ns",
)


def joined(flights: Sequence[Flight]) -> Flight:
    """Flights one after the other as one; their shots' times stay those of their own flight."""
    arrays: dict[str, Any] = {name: np.concatenate([getattr(each, name) for each in flights]) for name in ARRAYS}
    sums: dict[str, Any] = {name: sum(getattr(each, name) for each in flights) for name in SUMS}
    return Flight(**arrays, **sums, bodies={})


def chosen(flight: Flight, which: np.ndarray) -> Flight:
    """Some of the shots; what is counted per flight stays the whole flight's."""
    return flight._replace(**{name: getattr(flight, name)[which] for name in ARRAYS})


def counts(status: np.ndarray) -> dict[str, int]:
    """Shots by the name of how they ended, UNANSWERED among them."""
    codes, many = np.unique(status, return_counts=True)
    return {status_name(code): count for code, count in zip(codes.tolist(), many.tolist(), strict=True)}


def failed(flight: Flight) -> np.ndarray:
    """Which shots brought no page. DEGRADED is a page; it is counted by its status."""
    return ~np.isin(flight.status, OK_CODES)


def p99_us(flight: Flight) -> float | None:
    """Of pages, from when they were due; None without any."""
    seen = flight.latency_us(*OK_CODES)
    return round(float(np.percentile(seen, 99)), 1) if len(seen) else None


def took_ns(flight: Flight) -> np.ndarray:
    """From the real send to the reply."""
    return flight.latency_ns - flight.lateness_ns


def late(flight: Flight, deadlines_us: np.ndarray, grace_ms: float) -> int:
    """Replies that came later than their deadline and the grace."""
    beyond = took_ns(flight) > (deadlines_us[flight.which] + grace_ms * 1000) * 1000
    return int(((flight.status != UNANSWERED) & beyond).sum())


def crossed(flight: Flight) -> int:
    """Replies that nobody was owed: second ones, ones to nothing, and bytes that are none."""
    return flight.doubled + flight.strangers + flight.malformed


def figures(flight: Flight) -> dict[str, Any]:
    """What a run showed."""
    seen = flight.latency_us(*OK_CODES)
    p50, p99, p999 = np.percentile(seen, [50, 99, 99.9]) if len(seen) else (np.nan,) * 3
    return {
        "asked": len(flight.status),
        "statuses": counts(flight.status),
        "second_attempts": int((flight.attempt > 1).sum()),
        "wrong": flight.wrong,
        "doubled": flight.doubled,
        "strangers": flight.strangers,
        "malformed": flight.malformed,
        "p50_us": round(float(p50), 1),
        "p99_us": round(float(p99), 1),
        "p999_us": round(float(p999), 1),
        "generator": flight.cost() if len(flight.status) else {},
    }
