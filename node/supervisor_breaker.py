"""The crash-loop breaker: when workers that served crash again and again, their seats are refilled ever more slowly.

Each start costs a core for a while, and a loop of them starves those who still serve. One seat is always refilled at
once, so the node goes on answering, if slowly; what the crashing requests get is the broker's to say. A SIGKILL comes
from outside and a failed start has a back-off of its own, so neither counts here.
"""

from __future__ import annotations

from collections import deque

from mixline.node import limits

WINDOW_S = limits.crash_window_ms / 1000
CALM_S = limits.breaker_calm_ms / 1000


class Breaker:
    """Told of crashes with the present time in seconds; touches no clock and no process."""

    def __init__(self) -> None:
        self.open = False
        self.openings = 0
        self.delayed = 0  # refills put off since it opened
        self._crashes: deque[float] = deque(maxlen=limits.crashes_max + 1)

    def crashed(self, now_s: float) -> bool:
        """Count a crash or hang of a serving worker; True when it opens the breaker."""
        self._crashes.append(now_s)
        if self.open or len(self._crashes) <= limits.crashes_max or now_s - self._crashes[0] > WINDOW_S:
            return False
        self.open = True
        self.openings += 1
        return True

    def calmed(self, now_s: float) -> bool:
        """True when a calm period has just closed the breaker."""
        if not self.open or now_s - self._crashes[-1] < CALM_S:
            return False
        self.open, self.delayed = False, 0
        return True

    def delay_s(self, alone: bool) -> float:
        """How long the seat of a crashed worker stays empty; 0 while ``alone``, with no other seat staffed."""
        if not self.open or alone:
            return 0.0
        self.delayed += 1
        return min(limits.breaker_first_ms * 2 ** min(self.delayed - 1, 32), limits.breaker_max_ms) / 1000
