"""What is too old, or too new."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from mixline.node.admitted_rows import AdmittedRows
from mixline.node.components.base import Filter
from mixline.node.components.newest import time_misfits
from mixline.node.predicate import compile_predicate
from mixline.node.windows import seconds
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

STEPS = 16  # of the greatest age: how often what sources leave out is made anew


class AgeFilter(Filter, frozen=True, kw_only=True):
    """Drops items by how long ago they came, as of the request's time.

    - `column`: when, an i64 or f32 column of seconds since 1970.
    - `most`: the greatest age that stays, such as `"30d"`; left out, any. `least`: the least one; left out, an item
      whose time lies ahead is dropped.
    - `missing`: what becomes of items without a time, `"drop"` or `"keep"`.

    Sources leave out what is older than `most` while they search, as of up to a sixteenth of it before the request.
    """

    commutes: ClassVar[bool] = True
    column: str
    most: str = ""
    least: str = "0s"
    missing: Literal["drop", "keep"] = "drop"

    def wrong(self) -> Iterator[str]:
        yield from Filter.wrong(self)
        for key in ("most", "least"):
            span = getattr(self, key)
            try:
                _ = span and span != "0s" and seconds(span)
            except ValueError as error:
                yield f"{key}: {error}"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        if not self.column:
            yield "column: name the column that says when an item came"
        yield from time_misfits(epoch, "column", self.column)

    def reads(self) -> set[str]:
        return {self.column}

    def bind(self, epoch: Epoch) -> AdmittedRows | None:
        """For sources: the items that may be young enough, by a time that grows in steps."""
        if not self.most or not self.column.isidentifier():
            return None
        young = f"{self.column} >= params.since"
        return AdmittedRows(
            compile_predicate(f"missing({self.column}) or {young}" if self.missing == "keep" else young)
        )

    def admits(self, call: Call, bound: AdmittedRows | None) -> np.ndarray | None:
        if bound is None:
            return None
        most = seconds(self.most)
        step = -(-most // STEPS)
        return bound.bitmap(call.epoch, {"since": call.now // step * step - most}, call.items_end)

    def drops(self, call: Call) -> np.ndarray:
        ages = call.now - call.numbers(self.column)
        with np.errstate(invalid="ignore"):
            found = ages < (0 if self.least in ("", "0s") else seconds(self.least))
            if self.most:
                found |= ages > seconds(self.most)
        return found | np.isnan(ages) if self.missing == "drop" else found
