"""The quality factor: how much of their widths surfaces may use, so that a node that is pressed does less for each
request before it has to refuse some.

Ten times a second the broker compares what requests waited with what they took: in a calm node nothing waits, and where
the wait is as long as the work two thirds of capacity are in use. The factor falls while waits are longer than that,
rises slowly while they are short, and stands still between. It stands on the board, so all workers have the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from mixline.ipc import board
from mixline.ipc.board import Board
from mixline.ipc.meters import Meters
from mixline.node import limits
from mixline.node.broker_crew import Member


class Quality:
    """One broker's view of it; ``value`` lies in 0 .. 1."""

    def __init__(self, notice_board: Board, meters: Meters) -> None:
        self.board, self.meters = notice_board, meters
        self.value = notice_board.quality  # a broker that takes over goes on
        self._seen = self._look([])

    def tick(self, members: Iterable[Member], surfaces: int) -> None:
        """Look, and put the factor on the board."""
        now = self._look(members, surfaces)
        waited_us, given, shed, busy_ns, asks = (max(0, new - old) for new, old in zip(now, self._seen, strict=True))
        self._seen = now
        wait_us = waited_us / given if given else 0.0
        work_us = busy_ns / 1000 / asks if asks else 0.0
        pressure = wait_us / work_us if work_us else 0.0
        if shed:
            pressure = max(pressure, limits.quality_pressure_shed)
        self.value = after(self.value, pressure)
        self.board.words.store(board.QUALITY, 1 + round(self.value * 1000))

    def _look(self, members: Iterable[Member], surfaces: int = 0) -> tuple[int, int, int, int, int]:
        counters = self.board.counters
        waited_us = sum(self.meters.sum_us(2 * at + 1) for at in range(surfaces))
        busy_ns = asks = 0
        for member in members:
            if not member.writes:
                busy_ns += member.seat.counters.get("busy_ns")
                asks += member.seat.counters.get("asks")
        return waited_us, counters.get("dispatched"), counters.get("shed"), busy_ns, asks


def after(value: float, pressure: float) -> float:
    """The factor a tick later. ``pressure``: what requests waited, as a multiple of what they took."""
    if pressure > limits.quality_pressure_high:
        step = min(1.0, pressure / limits.quality_pressure_high - 1.0)
        return max(0.0, value - limits.quality_fall * step)
    if pressure < limits.quality_pressure_low:
        return min(1.0, value + limits.quality_rise)
    return value
