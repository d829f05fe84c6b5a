"""Item columns of the store, gathered by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.gather import gather
from mixline.node.components.base import Hydrator
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class ColumnsHydrator(Hydrator, frozen=True, kw_only=True):
    """Feature columns of the items, all in one call of the gather kernel.

    - `columns`: names of f32, i64, bool or category columns. Others that a predicate or scorer reads are gathered when
      first asked for.
    """

    columns: list[str]

    def wrong(self) -> Iterator[str]:
        yield from Hydrator.wrong(self)
        if not self.columns:
            yield "columns: name at least one column"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        for name in self.columns:
            column = epoch.items.columns.get(name)
            if column is None or column.kind == "tags":
                found = ", ".join(n for n in epoch.items.columns if epoch.items.columns.kind_of(n) != "tags")
                yield f"columns: no numeric or category column {name!r}; the store has {found or 'none'}"

    def writes(self) -> set[str]:
        return set(self.columns)

    def bind(self, epoch: Epoch) -> list[np.ndarray]:
        return [epoch.items.columns[name].values for name in self.columns]

    def hydrate(self, call: Call) -> None:
        call.block.columns.update(zip(self.columns, gather(call.bound, call.block.row), strict=True))
