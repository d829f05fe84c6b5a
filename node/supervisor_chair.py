"""One seat as the supervisor sees it: the process in it, how its starts have gone, and how the last one ended."""

from __future__ import annotations

from mixline.node import limits
from mixline.node.supervisor_child import Child


class Chair:
    """A seat's number and whoever sits there."""

    def __init__(self, number: int, *, wanted: bool = True) -> None:
        self.number = number
        self.wanted = wanted  # the writer's seat stays empty until there is something to write, or was
        self.child: Child | None = None
        self.expected = False  # a worker for it has been asked of the nursery
        self.clean = False  # the broker has emptied the seat: a worker may be started
        self.ready = False
        self.retired = False
        self.hung = False
        self.crashed = False  # its last worker served, and crashed or hung
        self.epoch = 0  # of the worker that is ready here
        self.tried: int | None = None  # the epoch that was active when its worker was ordered
        self.failures = 0  # starts in a row that never served
        self.order = 0

    @property
    def staffed(self) -> bool:
        """A worker serves here, or is on its way to."""
        return self.expected or (self.child is not None and not self.hung)

    def vacate(self, child: Child) -> None:
        """Its worker is gone."""
        self.child = None
        self.crashed = self.ready and not self.retired and (self.hung or child.death_signal in limits.crash_signals)
        self.failures = 0 if self.ready else self.failures + 1
        self.ready = False

    def backoff_s(self, alone: bool) -> float:
        """Only a worker that dies before it serves is made to wait, and not for long while ``alone``: nobody serves."""
        if not self.failures:
            return 0.0
        most_ms = limits.backoff_alone_max_ms if alone else limits.backoff_max_ms
        return min(limits.backoff_first_ms * 2 ** min(self.failures - 1, 32), most_ms) / 1000


def pace(chairs: list[Chair], workers: int) -> None:
    """Starting workers step back while as many serve as were asked for; with one missing they are in a hurry."""
    whole = sum(chair.ready for chair in chairs) >= workers
    for chair in chairs:
        if chair.child is not None and not chair.ready and whole:
            chair.child.step_back()
        elif chair.child is not None:
            chair.child.step_up()
