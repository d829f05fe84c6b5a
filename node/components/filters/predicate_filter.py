"""A condition on columns, written in the surface file and compiled once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mixline.node.admitted_rows import AdmittedRows, admitted_rows
from mixline.node.components.base import Filter
from mixline.node.predicate import PredicateError, compile_predicate
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class PredicateFilter(Filter, frozen=True, kw_only=True):
    """Keeps candidates for which `where` holds: comparisons, `and`, `or`, `not`, arithmetic, `in`.

    - `where`: for example `year >= 1950 and "Drama" in genres`, `brand in ["a", "b"]`, `price * 2 < params.budget`,
      `not missing(year)`. Names are item columns or scores; `params.x` is the request's parameter x. A comparison with
      a missing value is false.

    Where it reads stored columns alone, sources leave out what it would drop before they count to their limit (with
    `params` only in stores of at most 1,048,576 items). What they leave out was never a candidate and has no fate.
    """

    commutes: ClassVar[bool] = True
    where: str

    def wrong(self) -> Iterator[str]:
        yield from Filter.wrong(self)
        try:
            compile_predicate(self.where)
        except PredicateError as error:
            yield f"where: {error}"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        return (f"where: {problem}" for problem in compile_predicate(self.where).misfits(epoch))

    def reads(self) -> set[str]:
        return compile_predicate(self.where).names

    def parameters(self) -> set[str]:
        return set(compile_predicate(self.where).parameters)

    def bind(self, epoch: Epoch) -> AdmittedRows | None:
        found = admitted_rows(self.where, epoch)
        if found is not None and not found.predicate.parameters:
            found.bitmap(epoch, {}, epoch.items.count)
        return found

    def admits(self, call: Call, bound: AdmittedRows | None) -> np.ndarray | None:
        return None if bound is None else bound.bitmap(call.epoch, call.params, call.items_end)

    def drops(self, call: Call) -> np.ndarray:
        return ~compile_predicate(self.where).holds(call)
