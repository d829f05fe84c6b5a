"""Finds the capacity: the highest rate that a probe calls good, between a guess that works and one that does not.

Pure logic over a probe, so that it can be tested without a node. A probe that fails is tried again before it counts,
because one hiccup of a shared machine is not the server's limit; one that passes is believed.
"""

from __future__ import annotations

from collections.abc import Callable

GROW, SHRINK = 1.25, 0.6
FLOOR_SHARE = 0.02  # of the guess; below it nothing works
PROBES_MAX = 40


class NoCapacity(Exception):
    """No rate was good."""


def find_capacity(guess: float, probe: Callable[[float], bool], precision: float = 0.05, tries: int = 2) -> float:
    """The highest rate found good. ``precision`` bounds the gap to the lowest found bad, as a ratio."""
    left = PROBES_MAX

    def good(rate: float) -> bool:
        nonlocal left
        for _ in range(tries):
            left -= 1
            if probe(rate):
                return True
        return False

    low, high, rate = 0.0, float("inf"), guess
    while left > 0:
        if good(rate):
            low = rate
        else:
            high = rate
        if low == 0.0:
            rate *= SHRINK
            if rate < guess * FLOOR_SHARE:
                raise NoCapacity(f"no rate from {guess:.0f}/s down to {rate / SHRINK:.0f}/s was good")
        elif high == float("inf"):
            rate *= GROW
        elif high <= low * (1 + precision):
            break
        else:
            rate = (low * high) ** 0.5
    if low == 0.0:
        raise NoCapacity(f"no good rate in {PROBES_MAX} probes")
    return low
