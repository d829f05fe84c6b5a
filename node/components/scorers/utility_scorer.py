"""What a page is worth to everybody concerned: several objectives, some to be avoided, as one score."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mixline.node.components.base import Scorer, not_numbers
from mixline.node.errors import BadRequest
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

PARAMETER = "params."
POWERS = (0.25, 0.5, 1.0, 2.0, 3.0)  # what the processor's own root and product make, alike on every machine


class Objective(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One objective: ``weight`` × (its column held within ``least`` and ``most``, ``missing`` where it has no value)
    to the power of ``power``. ``weight`` may name a parameter of the request, ``"params.w"``."""

    weight: float | str
    column: str = ""
    power: float = 1.0
    least: float = -math.inf
    most: float = math.inf
    missing: float = 0.0


class UtilityScorer(Scorer, frozen=True, kw_only=True):
    """The sum of objectives, each a weight times a prediction: `click + 5 x save - 20 x hide`.

    - `objectives`: name to an objective: `hide = { weight = -20.0, column = "p_hide", power = 1.0 }`. `column` is a
      score, a feature or an item column, by default the objective's own name; held to `least` .. `most` first, and
      `missing` where it has no value. `power`: 0.25, 0.5, 1, 2 or 3; below 1 the best of many mediocre ones counts
      less. `weight`: a number, below 0 for what is to be avoided, or `"params.NAME"`, a parameter of the request.
    - `floors`: column to the least value that an item needs; below it, or without a value, it has no score and sinks
      below all that have.

    Added in float64 in the order of the file.
    """

    objectives: dict[str, Objective]
    floors: dict[str, float] = {}

    def wrong(self) -> Iterator[str]:
        yield from Scorer.wrong(self)
        if not self.objectives:
            yield "objectives: name at least one"
        for name, one in self.objectives.items():
            if isinstance(one.weight, str):
                if not one.weight.startswith(PARAMETER) or not one.weight.removeprefix(PARAMETER).isidentifier():
                    yield f'objectives.{name}: weight = {one.weight!r}: give a number, or "params.NAME"'
            elif not math.isfinite(one.weight):
                yield f"objectives.{name}: weight = {one.weight}: a weight is a finite number"
            if one.power not in POWERS:
                yield f"objectives.{name}: power = {one.power}: one of {', '.join(f'{power:g}' for power in POWERS)}"
            if one.power < 1 and not one.least >= 0:
                yield f"objectives.{name}: power = {one.power}: give least = 0 or more, of less there is no root"
            if not one.least <= one.most:
                yield f"objectives.{name}: least = {one.least} lies above most = {one.most}"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        return not_numbers(epoch, "objectives, floors", sorted(self.reads()))

    def reads(self) -> set[str]:
        return {one.column or name for name, one in self.objectives.items()} | set(self.floors)

    def score(self, call: Call) -> np.ndarray:
        total = np.zeros(len(call.block))
        for name, one in self.objectives.items():
            values = call.numbers(one.column or name).astype(np.float64)
            values[np.isnan(values)] = one.missing
            total += weight_of(call, one) * to_the(np.clip(values, one.least, one.most), one.power)
        with np.errstate(over="ignore"):
            found = total.astype(np.float32)
        for name, least in self.floors.items():
            found[~(call.numbers(name) >= least)] = np.nan
        return found

    def parts(self, call: Call, values: dict[str, Any]) -> dict[str, float]:
        found = {}
        for name, one in self.objectives.items():
            value = values.get(one.column or name)
            held = np.clip(np.array([one.missing if value is None else value]), one.least, one.most)
            found[name] = float(weight_of(call, one) * to_the(held, one.power)[0])
        return found


def weight_of(call: Call, one: Objective) -> float:
    """An objective's weight in this request."""
    if not isinstance(one.weight, str):
        return one.weight
    found = call.params.get(one.weight.removeprefix(PARAMETER))
    if isinstance(found, str) or found is None or not math.isfinite(found):
        raise BadRequest(f"params: this surface needs a number {one.weight.removeprefix(PARAMETER)!r}")
    return float(found)


def to_the(values: np.ndarray, power: float) -> np.ndarray:
    """``values`` to one of :data:`POWERS`."""
    if power < 1:
        root = np.sqrt(values)
        return root if power == 0.5 else np.sqrt(root)
    return values if power == 1 else values * values if power == 2 else values * values * values
