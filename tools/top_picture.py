"""What ``mixline top`` shows: the growth between two snapshots as plain numbers, which ``--json`` prints."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from mixline.ipc.counters import WORKER_GAUGES, WRITER_COUNTERS
from mixline.node.directory import COMPONENT, LATENCY, QUEUE
from mixline.node.histogram import Histogram
from mixline.node.readings import NOTHING, Difference, Key, Snapshot, difference

ANSWERED = ("OK", "DEGRADED")
REFUSED = ("OVERLOADED", "TIMEOUT")
STATES = ("ok", "degraded", "failed", "disabled")
BROKER_RATES = (
    "requests",
    "shed",
    "hedged",
    "hedges_won",
    "redispatched",
    "lent",
    "late_replies",
    "unroutable",
    "peer_full",
)
BROKER_TOTALS = ("deaths", "crashes", "hangs", "poison", "worker_lost", "redispatched", "quarantined", "peer_credit")


def draw_picture(before: Snapshot, after: Snapshot, info: dict[str, Any], uptime_s: float) -> dict[str, Any]:
    """Everything; a figure of which there is nothing to say is None."""
    grown = difference(before, after)
    return {
        "seconds": grown.seconds,
        "node": {
            "epoch": after.gauges["epoch"],
            "life": after.life,
            "transport": info.get("transport"),
            "endpoints": info["endpoints"],
            "supervisor_pid": info["supervisor_pid"],
            "uptime_s": uptime_s,
            "workers": count_states(after),
            "active": after.gauges["active"],
            "broker_silent_s": max(0.0, (after.at_ns - after.beat_ns) / 1e9),
        },
        "broker": broker_numbers(grown, after),
        "surfaces": [surface_numbers(grown, name) for name in after.surfaces],
        "components": component_numbers(grown),
        "workers": [worker_numbers(grown, after, at) for at in range(len(after.seats))],
        "writer": writer_numbers(grown, after),
    }


def count_states(now: Snapshot) -> dict[str, int]:
    """Seats by state, as INFO names them: the standby is ready, but gets no work."""
    states: dict[str, int] = {}
    for seat in now.seats:
        states[seat.state] = states.get(seat.state, 0) + 1
    standby = states.get("ready", 0) - now.gauges["active"]
    if standby > 0:
        states["ready"] -= standby
        states["standby"] = standby
    return states


def broker_numbers(grown: Difference, now: Snapshot) -> dict[str, Any]:
    """Gauges, rates, and totals of what ought to be rare."""
    return {
        "queued": now.gauges["queued"],
        "queued_bytes": now.gauges["queued_bytes"],
        "open": now.gauges["open"],
        **{f"{name}_per_s": grown.rate(grown.counters[name]) for name in BROKER_RATES},
        **{name: now.counters[name] for name in BROKER_TOTALS},
    }


def surface_numbers(grown: Difference, name: str) -> dict[str, Any]:
    """One surface: requests by how they ended, and the latency of all but OVERLOADED."""
    row = grown.rows.get(Key(LATENCY, name), NOTHING)
    queue = grown.rows.get(Key(QUEUE, name), NOTHING).times
    ended = {status: grown.rate(many) for status, many in row.counts.items() if many}
    return {
        "surface": name,
        "per_s": sum(ended.values()),
        "answered_per_s": sum(ended.get(status, 0.0) for status in ANSWERED),
        "degraded_per_s": ended.get("DEGRADED", 0.0),
        "overloaded_per_s": ended.get("OVERLOADED", 0.0),
        "timeouts_per_s": ended.get("TIMEOUT", 0.0),
        "errors_per_s": sum(rate for status, rate in ended.items() if status not in (*ANSWERED, *REFUSED)),
        "by_status_per_s": ended,
        **{f"{label}_ms": in_ms(row.times, share) for label, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))},
        "queue_p99_ms": in_ms(queue, 0.99),
    }


def component_numbers(grown: Difference) -> list[dict[str, Any]]:
    """Components of all workers in the order in which they run. ``cores`` is the time that they took, per second."""
    found = []
    for key, row in grown.work.items():
        if key.what != COMPONENT:
            continue
        runs = sum(row.counts.get(state, 0) for state in STATES)
        found.append(
            {
                "surface": key.surface,
                "stage": key.stage,
                "component": key.name,
                "runs_per_s": grown.rate(runs),
                "not_ok": 1 - row.counts.get("ok", 0) / runs if runs else None,
                **{state: row.counts.get(state, 0) for state in STATES},
                "p50_us": finite(row.times.quantile(0.5)),
                "p99_us": finite(row.times.quantile(0.99)),
                "cores": row.times.sum_us / 1e6 / grown.seconds if grown.seconds > 0 else 0.0,
                "taken": row.counts.get("taken", 0) / runs if runs else None,
                "left": row.counts.get("left", 0) / runs if runs else None,
            }
        )
    return found


def worker_numbers(grown: Difference, now: Snapshot, at: int) -> dict[str, Any]:
    """One seat."""
    seat = now.seats[at]
    counts = grown.seats[seat.number]
    return {
        "seat": seat.number,
        "state": seat.state,
        "epoch": seat.epoch,
        "asks_per_s": grown.rate(counts["asks"]),
        "echoes_per_s": grown.rate(counts["echoes"]),
        "errors_per_s": grown.rate(counts["errors"]),
        "busy": grown.rate(counts["busy_ns"]) / 1e9,
    }


def writer_numbers(grown: Difference, now: Snapshot) -> dict[str, Any] | None:
    """The one that writes; None while its seat is vacant, since nothing was ever written."""
    seat = now.writer
    if seat is None or seat.state == "vacant":
        return None
    return {
        "state": seat.state,
        "epoch": seat.epoch,
        **{f"{name}_per_s": grown.rate(grown.writer[name]) for name in (*WRITER_COUNTERS, "errors")},
        "busy": grown.rate(grown.writer["busy_ns"]) / 1e9,
        **{name: seat.counters[name] for name in WORKER_GAUGES},
    }


def in_ms(times: Histogram, share: float) -> float | None:
    """A quantile in milliseconds."""
    found = finite(times.quantile(share))
    return None if found is None else found / 1000


def finite(value: float) -> float | None:
    """The value, or None where there is none."""
    return value if math.isfinite(value) else None


def busiest(components: Iterable[dict[str, Any]], most: int) -> tuple[list[dict[str, Any]], int]:
    """Those that take most of the cores, in the order in which they run, and how many were left out."""
    every = list(components)
    ranked = sorted(range(len(every)), key=lambda at: -every[at]["cores"])[:most]
    return [every[at] for at in sorted(ranked)], len(every) - len(ranked)
