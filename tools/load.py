"""Load on one endpoint: prepared asks through the compiled generator, and what a run says in figures.

The shots are :mod:`mixline.tools.volley`'s; here are schedules (constant or Poisson) and the account by status.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mixline.ipc.wire import Status
from mixline.node.request import Prepared
from mixline.tools.flight import FAILED, UNANSWERED, Flight
from mixline.tools.volley import Volley
from mixline.tools.volley_zmq import ZmqTransport

OK_CODES = tuple(status.code for status in Status if status.answered)


class LoadReport(NamedTuple):
    """What one run saw. Latencies in microseconds from the intended send time, of answered requests."""

    rate: float
    sent: int
    statuses: dict[str, int]
    unanswered: int
    p50_us: float
    p99_us: float
    p999_us: float
    lateness_p99_us: float
    generator_cpu_share: float
    bottleneck: str

    def to_dict(self) -> dict[str, Any]:
        return {name: round(v, 3) if isinstance(v, float) else v for name, v in self._asdict().items()}


def schedule(rate: float, seconds: float, poisson_seed: int | None = None) -> np.ndarray:
    """int64 nanoseconds at which shots are due: evenly spaced, or as many with exponential gaps."""
    count = max(1, int(rate * seconds))
    if poisson_seed is None:
        return (np.arange(count) * (1e9 / rate)).astype(np.int64)
    gaps = np.random.default_rng(poisson_seed).exponential(1e9 / rate, count)
    return np.cumsum(gaps).astype(np.int64)


def status_name(code: int) -> str:
    """A wire code, or what the generator saw instead of one."""
    if code == UNANSWERED:
        return "UNANSWERED"
    if code == FAILED:
        return "FAILED"
    return str(Status.of(code))


def statuses(flight: Flight) -> dict[str, int]:
    """Replies by status; what was never answered is not among them."""
    return {status_name(code): count for code, count in flight.counts.items() if code != UNANSWERED}


class Load:
    """Sends prepared asks to an endpoint in turn, each under a number of its own."""

    def __init__(
        self,
        endpoint: str,
        requests: Sequence[Prepared],
        connections: int = 1,
        expect: Sequence[Sequence[bytes]] | None = None,
    ) -> None:
        self.requests = requests
        frames = [(header.pack(), body) for header, body in requests]
        self.transport = ZmqTransport(endpoint, frames, connections)
        self.volley = Volley(self.transport, expect)

    def closed(self, seconds: float, in_flight: int) -> float:
        """Replies per second with a fixed number in flight: the node's pace when it is never idle."""
        return self.volley.closed(np.arange(len(self.requests)), in_flight, seconds).pace

    def fly(
        self, rate: float, seconds: float, grace_s: float = 2.0, poisson_seed: int | None = None, keep_every: int = 0
    ) -> Flight:
        """``rate`` requests per second for ``seconds``, whatever comes back; every shot's record."""
        due_ns = schedule(rate, seconds, poisson_seed)
        return self.volley.open(due_ns, np.arange(len(due_ns)) % len(self.requests), grace_s, keep_every)

    def open(self, rate: float, seconds: float, grace_s: float = 2.0) -> LoadReport:
        """``rate`` requests per second for ``seconds``, at fixed intervals, in figures."""
        return summary(rate, self.fly(rate, seconds, grace_s))

    def close(self) -> None:
        self.transport.close()


def summary(rate: float, flight: Flight) -> LoadReport:
    """The figures of a run."""
    answered = flight.latency_us(*OK_CODES)
    p50, p99, p999 = np.percentile(answered, [50, 99, 99.9]) if len(answered) else (np.nan,) * 3
    return LoadReport(
        rate,
        flight.sent,
        statuses(flight),
        flight.unanswered,
        float(p50),
        float(p99),
        float(p999),
        flight.lateness_p99_us,
        flight.generator_cpu_share,
        flight.bottleneck,
    )
