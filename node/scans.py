"""Passes over a space's codes, shared by all requests that wait for one: each byte comes from memory once.

A source asks for a :class:`Scan` and the pipeline yields it; whoever drives the pipeline makes the pass, with the scans
of other requests when there are some, and goes on when it is done. A lone request never waits for company.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import monotonic_ns

import numpy as np

from mixline.kernels.shortlist import TOGETHER_MAX, Shortlist, scan_together
from mixline.storage.codes import BLOCK_ROWS
from mixline.storage.spaces import Space

SLICE_BYTES = 8 << 20  # of codes for a lone query: about a millisecond


class Scan:
    """One query on its way over a space; ``reached`` rows so far, all of them unless it had to leave early."""

    __slots__ = ("allowed", "deadline_ns", "pulse", "reached", "shortlist", "space", "vector")

    def __init__(
        self,
        space: Space,
        vector: np.ndarray,
        k: int,
        allowed: np.ndarray | None,
        deadline_ns: int,
        pulse: Callable[[], bool],
        guess: bool = True,
    ) -> None:
        self.space = space
        self.vector = vector
        self.shortlist = Shortlist(vector, k, metric=space.metric, guess=guess)
        self.allowed = allowed
        self.deadline_ns = deadline_ns
        self.pulse = pulse
        self.reached = 0

    @property
    def whole(self) -> bool:
        """Whether it has seen all rows."""
        return self.space.items is not None and self.reached == len(self.space.items)

    def again(self) -> Scan:
        """The same, over, by a pass of its own that guesses nothing."""
        scan = Scan(self.space, self.vector, self.shortlist.k, self.allowed, self.deadline_ns, self.pulse, guess=False)
        for _ in make_pass([scan]):
            pass
        return scan

    def must_leave(self) -> bool:
        """Whether its deadline has passed or nobody waits for it; beats the worker's heart."""
        return self.pulse() or monotonic_ns() >= self.deadline_ns


def make_passes(scans: Iterable[Scan]) -> Iterator[list[Scan]]:
    """Make the passes that these scans need, and yield scans as they are done or out of time."""
    by_space: dict[int, list[Scan]] = {}
    for scan in scans:
        by_space.setdefault(id(scan.space), []).append(scan)
    for fellows in by_space.values():
        for at in range(0, len(fellows), TOGETHER_MAX):
            yield from make_pass(fellows[at : at + TOGETHER_MAX])


def make_pass(going: list[Scan]) -> Iterator[list[Scan]]:
    """One pass over one space in slices of about a millisecond; who runs out of time leaves between two."""
    space = going[0].space
    codes, items = space.item_codes, space.items
    assert codes is not None and items is not None
    count = len(items)
    start = 0
    while going and start < count:
        if start:
            leaving = [scan for scan in going if scan.must_leave()]
            if leaving:
                going = [scan for scan in going if scan not in leaving]
                yield leaving
                continue
        # The bytes come once, and each further query adds about a quarter of the time that they take.
        rows = max(1, 4 * SLICE_BYTES // ((len(going) + 3) * codes.codes[0].nbytes)) * BLOCK_ROWS
        stop = min(start + rows, count)
        scan_together(
            [scan.shortlist for scan in going],
            *codes,
            count,
            norms=space.item_norms,
            allowed=[scan.allowed for scan in going],
            start=start // BLOCK_ROWS,
            stop=-(-stop // BLOCK_ROWS),
        )
        for scan in going:
            scan.reached = stop
        start = stop
    if going:
        yield going
