"""What a run says: rates, and a histogram of latencies for each status, since fast refusals flatter a mean.

Latencies are HdrHistogram's (three significant digits, 1 µs to 60 s), counted from the intended send time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram

from mixline.ipc.wire import Status
from mixline.tools.flight import Flight
from mixline.tools.load import OK_CODES, status_name, statuses
from mixline.tools.load_mix import Mix

LATENCY_MAX_US = 60_000_000
DIGITS = 3


def histogram(latencies_us: np.ndarray) -> HdrHistogram:
    """All latencies, each at least a microsecond."""
    found = HdrHistogram(1, LATENCY_MAX_US, DIGITS)
    values, counts = np.unique(np.clip(latencies_us, 1, LATENCY_MAX_US).astype(np.int64), return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        found.record_value(value, count)
    return found


def percentiles(seen: HdrHistogram) -> dict[str, int]:
    """Count and percentiles in microseconds."""
    at = {"p50_us": 50, "p90_us": 90, "p99_us": 99, "p999_us": 99.9, "max_us": 100}
    return {"count": seen.get_total_count(), **{k: int(seen.get_value_at_percentile(v)) for k, v in at.items()}}


def by_status(flight: Flight, encoded: bool = False) -> dict[str, dict[str, Any]]:
    """Percentiles for each status that came; ``encoded`` adds the whole histogram in HdrHistogram's V2 format."""
    found: dict[str, dict[str, Any]] = {}
    for code in flight.counts:
        if code >= 0:
            seen = histogram(flight.latency_us(code))
            found[status_name(code)] = percentiles(seen)
            if encoded:
                found[status_name(code)]["hdr"] = seen.encode().decode()
    return found


def in_time(flight: Flight, mix: Mix) -> np.ndarray:
    """Which shots were answered within their deadline, from when they were due."""
    return np.isin(flight.status, OK_CODES) & (flight.latency_ns <= mix.deadlines_us[flight.which] * 1000)


def late_surfaces(flight: Flight, mix: Mix) -> dict[str, float]:
    """Surfaces whose p99 is beyond their deadline, with that p99 as a share of it."""
    answered = np.isin(flight.status, OK_CODES)
    share = flight.latency_ns / 1000 / mix.deadlines_us[flight.which]
    surface = np.array(mix.surfaces)[flight.which]
    found = {}
    for name in np.unique(surface[answered]).tolist():
        p99 = float(np.percentile(share[answered & (surface == name)], 99))
        if p99 > 1:
            found[name] = p99
    return found


def errors(flight: Flight, degraded_too: bool = False) -> int:
    """Shots that did not bring a whole page, and replies that nobody asked for."""
    fine = flight.counts.get(Status.OK.code, 0) + (flight.counts.get(Status.DEGRADED.code, 0) if degraded_too else 0)
    return len(flight.status) - fine + flight.doubled + flight.strangers + flight.malformed


def why_not(flight: Flight, mix: Mix, degraded_too: bool = False) -> str:
    """Why this run does not count as within capacity; empty when it does."""
    reasons = []
    if errors(flight, degraded_too):
        reasons.append(", ".join(f"{count} {status_name(code)}" for code, count in flight.counts.items() if code))
    reasons += [f"p99 of {name} at {p99:.2f} of its deadline" for name, p99 in late_surfaces(flight, mix).items()]
    return "; ".join(reasons)


def figures(rate: float, seconds: float, flight: Flight, mix: Mix, encoded: bool = False) -> dict[str, Any]:
    """One run as plain values."""
    good = int(in_time(flight, mix).sum())
    everyone = histogram(flight.latency_us(*OK_CODES))
    answered = percentiles(everyone)
    return {
        "rate": round(rate, 1),
        "seconds": seconds,
        "sent": flight.sent,
        "statuses": statuses(flight),
        "unanswered": flight.unanswered,
        "doubled": flight.doubled,
        "strangers": flight.strangers,
        "malformed": flight.malformed,
        "goodput": round(good / seconds, 1),
        "goodput_share": round(good / max(1, len(flight.status)), 5),
        **{name: value for name, value in answered.items() if name != "count"},
        "by_status": by_status(flight, encoded),
        "generator": flight.cost(),
    }
