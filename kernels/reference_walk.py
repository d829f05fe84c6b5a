"""The walk said slowly: one walker after the other, in Python's own integers."""

from __future__ import annotations

import math

import numpy as np

WALKERS = 16
WORD = (1 << 64) - 1


def mixed(x: int) -> int:
    """The output function of SplitMix64."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & WORD
    return x ^ (x >> 31)


class Draws:
    """The numbers of one walker."""

    def __init__(self, key: int, walker: int) -> None:
        self.state = mixed((key + walker * 0xD1342543DE82EF95) & WORD)

    def draw(self) -> int:
        """The next 64 bits."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & WORD
        return mixed(self.state)


def one_of(drawn: int, values: np.ndarray) -> int:
    """One of ``values``, by the high half of what was drawn."""
    return int(values[(drawn >> 32) * len(values) >> 32])


def visits(users_of, items_of, origin, steps, key, restart, stop_items, stop_visits) -> dict[int, int]:
    """Visits by item, in the order of the first; ``users_of`` and ``items_of`` are lists by row."""
    counts: dict[int, int] = {}
    if not len(users_of[origin]):
        return counts
    draws = [Draws(key, walker) for walker in range(WALKERS)]
    users = [one_of(one.draw(), users_of[origin]) for one in draws]
    back = min(int(restart * 2**32), 2**32 - 1)
    high = 0
    while steps > 0:
        for walker in range(min(steps, WALKERS)):
            drawn = draws[walker].draw()
            item = one_of(drawn, items_of[users[walker]])
            counts[item] = counts.get(item, 0) + 1
            high += counts[item] == stop_visits
            if stop_items and high >= stop_items:
                return counts
            users[walker] = one_of(draws[walker].draw(), users_of[origin if drawn & 0xFFFFFFFF < back else item])
        steps -= WALKERS
    return counts


def boosted(found: list[dict[int, int]]) -> dict[int, np.float32]:
    """Items as first visited: the square of the summed roots of visits, as a share of all."""
    total = sum(sum(counts.values()) for counts in found)
    sums: dict[int, float] = {}
    for counts in found:
        for item, count in counts.items():
            sums[item] = sums.get(item, 0.0) + math.sqrt(count)
    return {item: np.float32(root * root / total) for item, root in sums.items()}
