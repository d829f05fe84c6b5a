"""What one run of the load generator saw, shot by shot, and whether the generator itself was the limit.

A measurement whose generator was late, or had a thread at its core's end, says nothing about the server: every report
carries :attr:`Flight.bottleneck`, so that nobody has to think of looking.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

UNANSWERED, FAILED = -1, -2
LATENESS_MAX_US = 1000.0
CPU_SHARE_MAX = 0.9


class Flight(NamedTuple):
    """Arrays have one entry per shot. ``status`` is the wire's code, or HTTP's, or UNANSWERED, or FAILED.

    ``latency_ns`` counts from the intended send, to the reply; ``lateness_ns`` is how late the generator was to send
    or, where all connections were busy, to notice. ``busiest_cpu_ns`` is the CPU of this process's busiest thread.
    """

    due_ns: np.ndarray
    which: np.ndarray
    status: np.ndarray
    latency_ns: np.ndarray
    lateness_ns: np.ndarray
    reply_bytes: np.ndarray
    attempt: np.ndarray
    sent: int
    doubled: int
    strangers: int
    malformed: int
    reconnects: int
    wrong: int
    bodies: dict[int, bytes]
    wall_ns: int
    window_ns: int
    window_done: int
    loop_cpu_ns: int
    busiest_cpu_ns: int
    process_cpu_ns: int

    @property
    def counts(self) -> dict[int, int]:
        """Shots by status; unanswered and failed ones too."""
        codes, counts = np.unique(self.status, return_counts=True)
        return dict(zip(codes.tolist(), counts.tolist(), strict=True))

    @property
    def unanswered(self) -> int:
        """Shots that never got a reply."""
        return int((self.status == UNANSWERED).sum())

    @property
    def pace(self) -> float:
        """Replies per second while shots left."""
        return self.window_done / max(1, self.window_ns) * 1e9

    def latency_us(self, *codes: int) -> np.ndarray:
        """Latencies of the shots that ended with one of these statuses."""
        return self.latency_ns[np.isin(self.status, codes)] / 1000

    @property
    def lateness_p99_us(self) -> float:
        """99th percentile of how late the generator was."""
        return float(np.percentile(self.lateness_ns, 99)) / 1000 if len(self.lateness_ns) else 0.0

    @property
    def generator_cpu_share(self) -> float:
        """Of one core, what the generator's busiest thread used: its loop, or libzmq's I/O thread."""
        return self.busiest_cpu_ns / max(1, self.wall_ns)

    @property
    def bottleneck(self) -> str:
        """Why the generator itself limited this run; empty when it did not."""
        reasons = []
        if self.lateness_p99_us > LATENESS_MAX_US:
            reasons.append(f"sends were {self.lateness_p99_us / 1000:.1f} ms late at the 99th percentile")
        if self.generator_cpu_share > CPU_SHARE_MAX:
            reasons.append(f"a thread of the generator used {self.generator_cpu_share:.0%} of a core")
        return "; ".join(reasons)

    def cost(self) -> dict[str, float | str]:
        """The generator's own share in what was measured."""
        return {
            "lateness_p50_us": round(float(np.percentile(self.lateness_ns, 50)) / 1000, 1),
            "lateness_p99_us": round(self.lateness_p99_us, 1),
            "generator_cpu_share": round(self.generator_cpu_share, 3),
            "process_cpu_share": round(self.process_cpu_ns / max(1, self.wall_ns), 3),
            "bottleneck": self.bottleneck,
        }
