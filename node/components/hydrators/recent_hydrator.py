"""What the user's newest items are like, and how each candidate compares with them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from mixline.node.components.base import Hydrator
from mixline.node.components.hydrators.user_hydrator import LABELLED, numbers_of
from mixline.node.event_counts import category_totals
from mixline.node.session import Recent, session_weights
from mixline.node.windows import column_name_faults
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class Aggregate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column: ``of`` the item column ``column``; ``items`` and ``since`` need none."""

    of: Literal["mean", "least", "most", "gap", "share", "items", "since"]
    column: str = ""


class RecentHydrator(Hydrator, frozen=True, kw_only=True):
    """Aggregates over the newest items that the user acted on, as columns `<name>.<column>`.

    - `columns`: name to an aggregate, `year = { of = "mean", column = "year" }`. `of`: `"mean"`, `"least"` and `"most"`
      of a column of numbers over the recent items; `"gap"`, the candidate's value less that mean; `"share"`, the part
      of the recent items, by weight, that have the candidate's category or tag (of several the commonest); `"items"`,
      how many there are; `"since"`, the seconds since the user's newest event.
    - `recent`: which items are recent and how much each weighs, as for `nearest`.

    Missing where the user has no such items or they have no value; `share` and `items` are 0 then.
    """

    columns: dict[str, Aggregate]
    recent: Recent = Recent()

    def wrong(self) -> Iterator[str]:
        yield from Hydrator.wrong(self)
        yield from self.recent.faults()
        if not self.columns:
            yield "columns: name at least one column"
        yield from column_name_faults(self.columns)
        for name, one in self.columns.items():
            if bool(one.column) == (one.of in ("items", "since")):
                yield f"columns.{name}: of = {one.of!r} {'needs no column' if one.column else 'needs a column'}"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        columns = epoch.items.columns
        for name, one in self.columns.items():
            if one.column and one.column not in columns:
                yield f"columns.{name}: no column {one.column!r}; the store has {', '.join(columns) or 'none'}"
            elif one.column and (columns.kind_of(one.column) in LABELLED) != (one.of == "share"):
                what = "a category or tags column" if one.of == "share" else "a column of numbers"
                yield f"columns.{name}: of = {one.of!r} needs {what}; {one.column!r} is {columns.kind_of(one.column)}"

    def writes(self) -> set[str]:
        return {f"{self.name}.{name}" for name in self.columns}

    def hydrate(self, call: Call) -> None:
        block = call.block
        for name in self.columns:
            block.columns[f"{self.name}.{name}"] = np.full(len(block), np.nan, dtype=np.float32)
        for group, (start, stop) in enumerate(pairwise(block.edges(call.groups))):
            if start == stop:
                continue
            rows, weights = session_weights(call, group, self.recent)
            rows, weights = rows[weights > 0], weights[weights > 0]
            for name, one in self.columns.items():
                value = self.value(call, one, group, rows, weights, block.row[start:stop])
                block.columns[f"{self.name}.{name}"][start:stop] = value

    def value(
        self, call: Call, one: Aggregate, group: int, rows: np.ndarray, weights: np.ndarray, candidates: np.ndarray
    ) -> np.ndarray | float:
        """One aggregate for the candidates of a group; of most it is the same for all."""
        if one.of == "items":
            return len(rows)
        if one.of == "since":
            times = call.history(group).times
            return float(call.now - times[0]) if len(times) else np.nan
        column = call.epoch.items.columns[one.column]
        if one.of == "share":
            whole = weights.astype(np.int64)
            shares = category_totals(column, rows, whole[:, None], candidates)[:, 0]
            return shares / max(int(whole.sum()), 1)
        values = numbers_of(column, rows)
        given = ~np.isnan(values)
        if not given.any():
            return np.nan
        if one.of in ("least", "most"):
            return float(values[given].min() if one.of == "least" else values[given].max())
        total = sum(
            value * weight for value, weight in zip(values[given].tolist(), weights[given].tolist(), strict=True)
        )
        mean = total / float(weights[given].sum())
        return mean if one.of == "mean" else numbers_of(column, candidates) - mean
