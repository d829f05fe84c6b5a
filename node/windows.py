"""Spans of time as surface files name them, and the weights that make a column of what was counted in spans.

All that is counted are whole events in spans between fixed ages; a window adds spans up, a decayed count adds them up
with weights that are whole numbers too. So a count is the same whichever way and in whatever order events came in.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

SPAN = re.compile(r"([1-9][0-9]{0,8})([smhd])")
UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
SPAN_MAX_S = 100 * 366 * 86_400
HALF_LIFE_MIN_S = 60
# Where the steps of a decayed count end, in quarters of the half-life: what is older than 8 half-lives counts nothing.
STEPS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32)
ONE = 1 << 20  # the weight of an event in a window


class Counter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column: events ``of`` the item, the user, or the user within the item's category; in the last ``window``, or
    each half as much for every ``half_life`` of its age; of ``actions``, or all."""

    of: Literal["item", "user", "category"] = "item"
    window: str = ""
    half_life: str = ""
    actions: list[str] = []


def seconds(span: str) -> int:
    """The seconds of ``90s``, ``5m``, ``12h`` or ``30d``; ``ValueError`` for other texts."""
    found = SPAN.fullmatch(span)
    if found is None or (length := int(found[1]) * UNIT_S[found[2]]) > SPAN_MAX_S:
        raise ValueError(f'{span!r} is no span of time: write "90s", "5m", "12h" or "30d", at most 100 years')
    return length


def weigh(counter: Counter) -> list[tuple[int, int, int]]:
    """(age from, age to, weight) in seconds and 1 / :data:`ONE`, ascending: each step of what the column counts.

    A decayed count is a staircase: within a step every event has the mean of 2^(-age / half-life) over it.
    """
    if counter.window:
        return [(0, seconds(counter.window), ONE)]
    quarters = seconds(counter.half_life)
    steps = []
    for start, stop in itertools.pairwise(STEPS):
        low, high = start / 4, stop / 4
        mean = (math.exp2(-low) - math.exp2(-high)) / ((high - low) * math.log(2))
        steps.append((start * quarters // 4, stop * quarters // 4, round(mean * ONE)))
    return steps


class Spans:
    """The ages between which events are counted for several columns, and the weight of each span in each column.

    ``ages`` int64 (m + 1), rising from 0; ``weights`` int64 (m, columns).
    """

    def __init__(self, counters: Sequence[Counter]) -> None:
        every = [weigh(counter) for counter in counters]
        self.ages = np.array(sorted({0, *(age for steps in every for step in steps for age in step[:2])}))
        self.weights = np.zeros((len(self.ages) - 1, len(counters)), dtype=np.int64)
        for column, steps in enumerate(every):
            for start, stop, weight in steps:
                begin, end = np.searchsorted(self.ages, (start, stop))
                self.weights[begin:end, column] = weight

    def edges(self, now: int) -> np.ndarray:
        """The times (int64, falling) between which the spans lie for a request at ``now``."""
        return now - self.ages

    def weights_of(self, times: np.ndarray, now: int) -> np.ndarray:
        """For single events their weights (int64) in each column; those after ``now`` have none."""
        age = now - np.minimum(times, np.int64(now) + 1)
        place = np.searchsorted(self.ages, age, side="right") - 1
        found = self.weights[np.minimum(place, len(self.weights) - 1)]
        found[(age < 0) | (place >= len(self.weights))] = 0
        return found


def as_column(totals: np.ndarray) -> np.ndarray:
    """Sums of weights (int64) as counts in float32."""
    return (totals / ONE).astype(np.float32)


def column_name_faults(names: Iterable[str]) -> Iterator[str]:
    """Names that no predicate could read."""
    for name in names:
        if not (name.isidentifier() and name.isascii()):
            yield f"columns.{name}: a name is ASCII letters, digits and _, not first a digit"


def faults(counters: Mapping[str, Counter]) -> Iterator[str]:
    """What is wrong with columns as a file declares them."""
    yield from column_name_faults(counters)
    for name, counter in counters.items():
        if bool(counter.window) == bool(counter.half_life):
            yield f"columns.{name}: give window or half_life"
            continue
        try:
            if seconds(counter.window or counter.half_life) < HALF_LIFE_MIN_S and counter.half_life:
                yield f"columns.{name}: half_life = {counter.half_life!r}: must be at least {HALF_LIFE_MIN_S}s"
        except ValueError as error:
            yield f"columns.{name}: {error}"
