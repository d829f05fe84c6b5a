"""In which order filters that commute are asked: what costs least for what it drops goes first.

A filter commutes when what it decides of a candidate depends on that candidate and the user alone. Whatever order such
filters have, the same candidates are left, so the page is the same; only which of two that would drop a candidate is
named as the one who did follows from the order. It is chosen anew at a few counts of requests and stands still between.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixline.node.pipeline import Step

FIRST = 32  # requests before the first choice; then at four times as many each, and every LATER
LATER = 8192
DEAR_NS = 100.0  # a candidate: what costs more is asked of those alone that are left, in a block of their own


class Sifted:
    """What one filter costs and drops, the latest requests counting most. ``partial``: it is asked of those alone that
    no filter before it dropped."""

    __slots__ = ("dropped", "ns", "partial")

    def __init__(self) -> None:
        self.ns = self.dropped = 0.0  # for a candidate that it is asked about
        self.partial = False

    def note(self, took_ns: int, rows: int, dropped: int) -> None:
        """One more run over ``rows`` candidates."""
        if not rows:
            return
        part = 1 / 16 if self.ns else 1.0
        self.ns += part * (took_ns / rows - self.ns)
        self.dropped += part * (dropped / rows - self.dropped)

    @property
    def price(self) -> float:
        """Nanoseconds for a candidate dropped: in order of it the expected cost of all is least."""
        return self.ns / max(self.dropped, 1e-3)

    def told(self) -> str:
        """For people; nothing before it was measured."""
        if not self.ns:
            return ""
        asked = "of what is left" if self.partial else "of all"
        return f"commutes: {self.ns:,.0f} ns a candidate, drops {self.dropped:.0%}; asked {asked}"


class FilterOrder:
    """The order of a stage's filters, as places in the file; at first ``places``."""

    def __init__(self, steps: Sequence[Step], places: list[int] | None = None) -> None:
        self.steps = steps
        self.places: list[int] = [*range(len(steps))] if places is None else places
        self.moves = any(len(run) > 1 for run in runs_of(steps))
        self.next = FIRST
        self.seen = 0

    def due(self) -> bool:
        """One more request; whether it is time to choose."""
        self.seen += 1
        if self.seen < self.next:
            return False
        self.next = self.seen + min(3 * self.seen, LATER)
        return True

    def choose(self) -> None:
        """Order by what was measured."""
        self.places = []
        for run in runs_of(self.steps):
            self.places += sorted(run, key=lambda at: self.steps[at].sifted.price)
        for at, place in enumerate(self.places):
            step = self.steps[place]
            step.sifted.partial = bool(at and step.commutes and step.sifted.ns >= DEAR_NS)


def runs_of(steps: Sequence[Step]) -> list[list[int]]:
    """Places of filters that stand beside one another and commute, others alone."""
    found: list[list[int]] = []
    for commutes, places in groupby(range(len(steps)), key=lambda at: steps[at].commutes):
        some = list(places)
        found += [some] if commutes else [[at] for at in some]
    return found
