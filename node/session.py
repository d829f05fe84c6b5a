"""The session vector: what a user did lately, as one vector in a space of items.

It is the mean of the vectors of the newest items, an item weighted by the kind of action and halved for every half-life
that lies between it and the user's newest action. So it leans to the present session, and does not move while nothing
happens, whatever the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mixline.node.event_counts import action_codes
from mixline.node.windows import HALF_LIFE_MIN_S, seconds
from mixline.storage.counting import ACTIONS

if TYPE_CHECKING:
    from mixline.node.call import Call

ITEMS_MAX = 1000
WEIGHT_MAX = 1e6
LOOK = 4  # events that are looked at for each item wanted: the same item may come again and again
ONE = 1 << 20  # weights are whole multiples of 1 / ONE: the same on every machine


class Recent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The newest ``items`` different items count; ``actions`` has the weights of labels, 1 where it names none, and 0
    leaves an action out."""

    items: int = 20
    half_life: str = "7d"
    actions: dict[str, float] = {}

    def faults(self) -> Iterator[str]:
        """What is wrong with it."""
        if not 1 <= self.items <= ITEMS_MAX:
            yield f"recent.items = {self.items}: must lie in 1 .. {ITEMS_MAX}"
        for label, weight in self.actions.items():
            if not 0 <= weight <= WEIGHT_MAX:
                yield f"recent.actions: {label} = {weight}: a weight lies in 0 .. {WEIGHT_MAX:g}"
        try:
            if seconds(self.half_life) < HALF_LIFE_MIN_S:
                yield f"recent.half_life = {self.half_life!r}: must be at least {HALF_LIFE_MIN_S}s"
        except ValueError as error:
            yield f"recent.half_life: {error}"


def session_weights(call: Call, group: int, recent: Recent) -> tuple[np.ndarray, np.ndarray]:
    """Rows (uint32) of the items that count, the newest first, and their weights (float64). Of several actions on an
    item the weightiest counts."""
    history = call.history(group)
    rows, times, actions = history
    weights = np.ones(len(rows))
    if recent.actions:
        of_code, codes = np.ones(ACTIONS), action_codes(call)
        for label, weight in recent.actions.items():
            if label in codes:
                of_code[codes[label]] = weight
        weights = of_code[actions]
        kept = weights > 0
        rows, times, weights = rows[kept], times[kept], weights[kept]
    most = LOOK * recent.items
    rows, times, weights = rows[:most], times[:most], weights[:most]
    if not len(rows):
        return rows, weights
    half_life_s = seconds(recent.half_life)
    weights = weights * [math.exp2(-age / half_life_s) for age in (times[0] - times).tolist()]
    _, first, place = np.unique(rows, return_index=True, return_inverse=True)
    best = np.zeros(len(first))
    np.maximum.at(best, place, np.rint(weights * ONE))
    newest = np.argsort(first)[: recent.items]
    return rows[first[newest]], best[newest]


def session_vector(call: Call, matrix: np.ndarray, group: int, recent: Recent) -> np.ndarray:
    """The vector (1, dim), float32, of the group's user in a space whose items have the rows of ``matrix``; (0, dim)
    for a user who did nothing, or nothing with items that have a vector."""
    rows, weights = session_weights(call, group, recent)
    found = matrix[rows]
    counts = ~np.isnan(found[:, 0]) & (weights > 0)  # an item may have come without a vector
    found, weights = found[counts], weights[counts]
    if len(found) < 2:
        return found
    # Row by row in float64, so that the sum has one order.
    total = np.zeros(found.shape[1])
    for row, weight in zip(found, weights.tolist(), strict=True):
        total += row * np.float64(weight)
    return (total / weights.sum()).astype(np.float32)[None]
