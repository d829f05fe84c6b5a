"""A small open-loop load generator: requests leave on schedule whatever comes back, and latency counts from then.

One thread, one DEALER socket. A generator that waits for replies would slow down with the node and hide its queue
(coordinated omission); this one reports how late it was itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import zmq

from mixline.ipc.wire import REPLY_BIT, Kind, Status
from mixline.node.request import Prepared


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

    def to_dict(self) -> dict[str, Any]:
        return {name: round(v, 1) if isinstance(v, float) else v for name, v in self._asdict().items()}


class Load:
    """Sends prepared requests to an endpoint in turn, each under a number of its own."""

    def __init__(self, endpoint: str, requests: Sequence[Prepared]) -> None:
        self.requests = requests
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.connect(endpoint)
        self.next = 0

    def send(self) -> int:
        """Send the next request; returns its number."""
        number, self.next = self.next, self.next + 1
        header, body = self.requests[number % len(self.requests)]
        frame = header._replace(kind=Kind.ASK, request_id=number.to_bytes(16, "little")).pack()
        self.socket.send_multipart([frame, body], copy=True)
        return number

    def receive(self, timeout_ms: int) -> tuple[int, Status] | None:
        """One reply's number and status, None when none came in time."""
        if not self.socket.poll(timeout_ms):
            return None
        header = self.socket.recv_multipart()[0]
        assert header[5] & REPLY_BIT
        return int.from_bytes(header[8:24], "little"), Status.of(header[7])

    def closed(self, seconds: float, in_flight: int) -> float:
        """Replies per second with a fixed number in flight: the node's pace when it is never idle."""
        for _ in range(in_flight):
            self.send()
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            if self.receive(1000) is not None:
                done += 1
                self.send()
        pace = done / (time.perf_counter() - started)
        while self.receive(500) is not None:
            pass
        return pace

    def open(self, rate: float, seconds: float, grace_s: float = 2.0) -> LoadReport:
        """``rate`` requests per second for ``seconds``, at fixed intervals."""
        total = max(1, int(rate * seconds))
        first = self.next
        latency = np.full(total, np.nan)
        lateness = np.zeros(total)
        statuses: dict[str, int] = {}
        started = time.perf_counter()
        sent = done = 0
        while done < total:
            now = time.perf_counter() - started
            while sent < total and now >= sent / rate:
                lateness[sent] = now - sent / rate
                self.send()
                sent += 1
                now = time.perf_counter() - started
            wait_s = sent / rate - now if sent < total else total / rate + grace_s - now
            if wait_s <= 0 and sent == total:
                break
            got = self.receive(int(wait_s * 1000))
            while got is not None:
                at = got[0] - first
                if 0 <= at < total:
                    done += 1
                    statuses[str(got[1])] = statuses.get(str(got[1]), 0) + 1
                    if got[1].answered:
                        latency[at] = time.perf_counter() - started - at / rate
                behind = sent < total and time.perf_counter() - started >= sent / rate
                got = None if behind else self.receive(0)
        answered = latency[np.isfinite(latency)]
        p50, p99, p999 = np.percentile(answered, [50, 99, 99.9]) if len(answered) else (np.nan,) * 3
        return LoadReport(
            rate,
            sent,
            statuses,
            total - done,
            float(p50 * 1e6),
            float(p99 * 1e6),
            float(p999 * 1e6),
            float(np.percentile(lateness, 99) * 1e6),
        )

    def close(self) -> None:
        self.socket.close()
