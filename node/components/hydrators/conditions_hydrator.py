"""Whether conditions hold, as feature columns of 0 and 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.node.components.base import Hydrator
from mixline.node.predicate import PredicateError, compile_predicate
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class ConditionsHydrator(Hydrator, frozen=True, kw_only=True):
    """A column for each condition, 1 where it holds and 0 where not: what a filter would drop by, as a boost.

    - `columns`: column to condition, in the language of `predicate`, as `{ era = "year >= params.year_from" }`.
    """

    columns: dict[str, str]

    def wrong(self) -> Iterator[str]:
        yield from Hydrator.wrong(self)
        if not self.columns:
            yield "columns: name at least one column"
        for name, where in self.columns.items():
            try:
                compile_predicate(where)
            except PredicateError as error:
                yield f"columns.{name}: {error}"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        for name, where in self.columns.items():
            yield from (f"columns.{name}: {problem}" for problem in compile_predicate(where).misfits(epoch))

    def reads(self) -> set[str]:
        return {name for where in self.columns.values() for name in compile_predicate(where).names}

    def writes(self) -> set[str]:
        return set(self.columns)

    def parameters(self) -> set[str]:
        return {name for where in self.columns.values() for name in compile_predicate(where).parameters}

    def hydrate(self, call: Call) -> None:
        for name, where in self.columns.items():
            call.block.columns[name] = compile_predicate(where).holds(call).astype(np.float32)
