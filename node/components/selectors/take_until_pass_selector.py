"""Checks that cost much, made from the top until enough have passed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.slate import best_positions
from mixline.node.components.base import Selector, not_numbers
from mixline.node.predicate import PredicateError, compile_predicate
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

Check = Callable[["Call", np.ndarray], np.ndarray]  # call and positions to one boolean each, True to pass
TOGETHER_MAX = 10_000


class TakeUntilPassSelector(Selector, frozen=True, kw_only=True):
    """Checks candidates in their order, some at a time, and takes those that pass until there are enough.

    - `check`: the dotted path of your own function `check(call, positions)`, which gets positions in the block (int64)
      and returns one boolean each, True to pass. Or `where`: a condition as of the filter `predicate`.
    - `enough`: take so many per user; left out, the page's limit. `together`: so many are checked in one call.
    - `most`: check at most so many per user; left out, all. `by`: the score to order by; left out, the order in which
      the selector before it left them.

    At the deadline, and after `most`, what has passed is taken, and the coverage says how many were checked. What is
    not taken, passed or not, stays in reserve.
    """

    check: str = ""
    where: str = ""
    enough: int = 0
    together: int = 32
    most: int = 0
    by: str = ""

    def wrong(self) -> Iterator[str]:
        yield from Selector.wrong(self)
        if bool(self.check) == bool(self.where):
            yield "check, where: give one of them"
        if self.enough < 0 or self.most < 0:
            yield "enough, most: must be 1 or more, or left out"
        if not 1 <= self.together <= TOGETHER_MAX:
            yield f"together = {self.together}: must lie in 1 .. {TOGETHER_MAX}"
        try:
            if self.check:
                load_check(self.check)
            elif self.where:
                compile_predicate(self.where)
        except (ImportError, AttributeError, TypeError) as error:
            yield f"check = {self.check!r}: {error}"
        except PredicateError as error:
            yield f"where: {error}"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        if self.where:
            yield from (f"where: {problem}" for problem in compile_predicate(self.where).misfits(epoch))
        yield from not_numbers(epoch, "by", [self.by])

    def reads(self) -> set[str]:
        names = compile_predicate(self.where).names if self.where else set()
        return names | ({self.by} if self.by else set())

    def bind(self, epoch: Epoch) -> Check:
        return load_check(self.check) if self.check else self.holds

    def holds(self, call: Call, positions: np.ndarray) -> np.ndarray:
        """The condition as a check."""
        return call.of_part(positions, compile_predicate(self.where).holds)

    def select(self, call: Call, positions: np.ndarray, limit: int) -> np.ndarray:
        if self.by:
            positions = best_positions(call.numbers(self.by), call.block.key, positions, len(positions))
        enough, some = self.enough or limit, positions[: self.most or len(positions)]
        passed, count, checked = [positions[:0]], 0, 0
        for start in range(0, len(some), self.together):
            if count >= enough:
                break
            if start and call.stopped():
                call.degraded.append(f"deadline after {start} of {len(some)} checks")
                break
            part = some[start : start + self.together]
            good = np.asarray(call.bound(call, part))
            if good.shape != part.shape or good.dtype != bool:
                raise TypeError(f"the check gave {good.dtype} of shape {good.shape} for {len(part)} candidates")
            passed.append(part[good])
            count, checked = count + int(good.sum()), checked + len(part)
        call.say(f"{checked} checked, {count} passed")
        return np.concatenate(passed)[:enough]


def load_check(path: str) -> Check:
    """The function at a dotted path."""
    module, _, name = path.rpartition(".")
    if not module:
        raise ImportError('write "module.function"')
    found = getattr(import_module(module), name)
    if not callable(found):
        raise TypeError("is not a function")
    return found
