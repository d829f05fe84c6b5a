"""Distance between candidates of a kind: what is flagged does not follow at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.arrange import arrange
from mixline.kernels.slate import best_positions
from mixline.node import limits
from mixline.node.components.base import Selector, not_numbers
from mixline.node.predicate import PredicateError, compile_predicate
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class SpacingSelector(Selector, frozen=True, kw_only=True):
    """Keeps candidates for which `where` holds at least `gap` places apart, as long as there are others.

    - `where`: a condition as of the filter `predicate`, such as `sponsored == 1` or `"Horror" in genres`.
    - `optional`: off where the store lacks a column that `where` names, in place of an error.
    - `gap`: 2 lets no two stand side by side.
    - `limit`: take so many, for the selectors after it to choose from; left out, the page's limit.
    - `by`: the score to order by; left out, the order in which the selector before it left them.

    Nothing is left out for it: once only such candidates are left they follow one another, and the coverage says how
    many did.
    """

    where: str
    optional: bool = False
    gap: int = 2
    limit: int = 0
    by: str = ""

    def wrong(self) -> Iterator[str]:
        yield from Selector.wrong(self)
        if self.limit < 0:
            yield f"limit = {self.limit}: must be 1 or more, or 0 for the page's"
        if not 2 <= self.gap <= limits.limit_max:
            yield f"gap = {self.gap}: must lie in 2 .. {limits.limit_max}"
        try:
            compile_predicate(self.where)
        except PredicateError as error:
            yield f"where: {error}"

    def disabled(self, epoch: Epoch) -> str:
        lacking = sorted(compile_predicate(self.where).names - set(epoch.items.columns)) if self.optional else []
        return f"the store has no column {', '.join(map(repr, lacking))}" if lacking else ""

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        if self.disabled(epoch):
            return
        yield from (f"where: {problem}" for problem in compile_predicate(self.where).misfits(epoch))
        yield from not_numbers(epoch, "by", [self.by])

    def parameters(self) -> set[str]:
        return set(compile_predicate(self.where).parameters)

    def reads(self) -> set[str]:
        names = set() if self.optional else compile_predicate(self.where).names
        return names | ({self.by} if self.by else set())

    def select(self, call: Call, positions: np.ndarray, limit: int) -> np.ndarray:
        if self.by:
            positions = best_positions(call.numbers(self.by), call.block.key, positions, len(positions))
        flagged = np.ascontiguousarray(compile_predicate(self.where).holds(call)[positions])
        kinds = np.zeros(len(positions), dtype=np.uint64)
        wants = np.zeros(min(self.limit or limit, len(positions)), dtype=np.uint64)
        order, _, near = arrange(kinds, flagged, wants, self.gap)
        if near:
            call.say(f"{near} nearer than {self.gap}")
        return positions[order]
