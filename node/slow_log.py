"""The sampled log of slow requests: what each stage of a request took that ran longer than its surface promises.

A log that writes more the worse things go would add to what it reports, so each worker writes a few lines a second at
most and says how many it kept back.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from mixline.ipc.wire import RequestHeader, Status
from mixline.node import limits

log = logging.getLogger("mixline.slow")


class SlowLog:
    """The slow requests of the worker in ``seat``."""

    def __init__(self, seat: int) -> None:
        self.seat = seat
        self.kept_back = 0
        self._second = 0
        self._lines = 0

    def look(self, engine: Any, header: RequestHeader, status: Status, queued_us: int, worker_us: int) -> bool:
        """Log the request if it was slow, by its engine's ``trace``; True when it was, logged or not."""
        trace = getattr(engine, "trace", None)
        if trace is None or queued_us + worker_us < trace.slow_us:
            return False
        second = time.monotonic_ns() // 1_000_000_000
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines > limits.slow_lines_per_s:
            self.kept_back += 1
            return True
        kept_back, self.kept_back = self.kept_back, 0
        stages = {f"{entry.stage} {entry.name}": entry.us for entry in trace.coverage}
        fields = {
            "surface": header.surface,
            "request_id": header.request_id.hex(),
            "status": str(status),
            "seat": self.seat,
            "queued_us": queued_us,
            "worker_us": worker_us,
            **trace.timing,
            "stages_us": stages,
            "not_ok": {f"{entry.stage} {entry.name}": entry.why for entry in trace.coverage if entry.state != "ok"},
            "kept_back": kept_back,
        }
        text = " ".join(f"{name}={value}" for name, value in fields.items())
        log.warning("slow: %s", text, extra={"fields": fields})
        return True
