"""Passes over codes, shared by all requests that wait for one: each byte comes from memory once.

A source asks for a :class:`Scan` and the pipeline yields it; whoever drives the pipeline makes the pass, with the scans
of other requests when there are some, and goes on when it is done. A lone request never waits for company.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import monotonic_ns
from typing import NamedTuple

import numpy as np

from mixline.kernels.shortlist import TOGETHER_MAX, Shortlist, scan_together
from mixline.storage.codes import BLOCK_ROWS, Codes
from mixline.storage.frames import PLAIN, Frame

SLICE_BYTES = 8 << 20  # of codes for a lone query: about a millisecond


class Target(NamedTuple):
    """Coded rows that passes go over, those of a space or those that came to it later; with l2 ``norms`` are of rows
    less the frame's center."""

    codes: Codes
    rows: int
    norms: np.ndarray | None
    metric: str
    frame: Frame = PLAIN


class Scan:
    """One query on its way over a target; ``reached`` rows so far, all of them unless it had to leave early."""

    __slots__ = ("allowed", "deadline_ns", "pulse", "reached", "shortlist", "target", "vector")

    def __init__(
        self,
        target: Target,
        vector: np.ndarray,
        k: int,
        allowed: np.ndarray | None,
        deadline_ns: int,
        pulse: Callable[[], bool],
        guess: bool = True,
    ) -> None:
        self.target = target
        self.vector = vector
        center, signs = target.frame
        self.shortlist = Shortlist(vector, k, metric=target.metric, guess=guess, center=center, signs=signs)
        self.allowed = allowed
        self.deadline_ns = deadline_ns
        self.pulse = pulse
        self.reached = 0

    @property
    def whole(self) -> bool:
        """Whether it has seen all rows."""
        return self.reached == self.target.rows

    def again(self) -> Scan:
        """The same, over, by a pass of its own that guesses nothing."""
        scan = Scan(self.target, self.vector, self.shortlist.k, self.allowed, self.deadline_ns, self.pulse, guess=False)
        for _ in make_pass([scan]):
            pass
        return scan

    def must_leave(self) -> bool:
        """Whether its deadline has passed or nobody waits for it; beats the worker's heart."""
        return self.pulse() or monotonic_ns() >= self.deadline_ns


def make_passes(scans: Iterable[Scan]) -> Iterator[list[Scan]]:
    """Make the passes that these scans need, and yield scans as they are done or out of time."""
    by_codes: dict[int, list[Scan]] = {}
    for scan in scans:
        by_codes.setdefault(id(scan.target.codes.codes), []).append(scan)
    for fellows in by_codes.values():
        for at in range(0, len(fellows), TOGETHER_MAX):
            yield from make_pass(fellows[at : at + TOGETHER_MAX])


def run_alone(steps: Iterable[list[Scan] | None]) -> None:
    """Take a pipeline to its end alone, with the passes that it waits for."""
    for scans in steps:
        for _ in make_passes(scans or ()):
            pass


def make_pass(going: list[Scan]) -> Iterator[list[Scan]]:
    """One pass over one target in slices of about a millisecond; who runs out of time leaves between two."""
    codes, count, norms, *_ = going[0].target
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
            norms=norms,
            allowed=[scan.allowed for scan in going],
            start=start // BLOCK_ROWS,
            stop=-(-stop // BLOCK_ROWS),
        )
        for scan in going:
            scan.reached = stop
        start = stop
    if going:
        yield going
