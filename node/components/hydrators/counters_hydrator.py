"""How much happened lately: to an item, by a user, and by the user within the item's category."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mixline.node.components.base import Hydrator
from mixline.node.event_counts import ActionCounts, category_totals, wanted_actions
from mixline.node.windows import Counter, as_column, faults
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class CountersHydrator(Hydrator, frozen=True, kw_only=True):
    """Counts of events in windows of time, and decayed counts, as columns `<name>.<column>` for what comes after it.

    - `columns`: name to what is counted: `views = { of = "item", window = "1d", actions = ["view"] }`. `of`: `"item"`
      (events of the candidate), `"user"` (of the user), `"category"` (of the user with items that share a category with
      the candidate; of several categories the one with the most counts). Give `window` (such as `"1h"`, `"7d"`) or
      `half_life`: then an event counts half as much for every half-life of its age. `actions`: left out, all.
    - `category`: the category or tags column that `of = "category"` goes by.

    Windows are exact to the second and end with the request's time (`time=`, or when it came): events in
    (time − window, time] count, whenever they came in. A decayed count falls in 16 steps, within 9 % of the curve up to
    two half-lives and 41 % up to eight, where it ends; its mean is exact. What counts of a user are the events that a
    history keeps (`history_max`). Of a store that was built from events without times only those that came later count.
    """

    columns: dict[str, Counter]
    category: str = ""

    def wrong(self) -> Iterator[str]:
        yield from Hydrator.wrong(self)
        if not self.columns:
            yield "columns: name at least one column"
        yield from faults(self.columns)
        if not self.category and any(counter.of == "category" for counter in self.columns.values()):
            yield 'category: name the category or tags column that of = "category" goes by'

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        if self.category:
            column = epoch.items.columns.get(self.category)
            if column is None or column.kind not in ("category", "tags"):
                found = [n for n in epoch.items.columns if epoch.items.columns.kind_of(n) in ("category", "tags")]
                yield f"category = {self.category!r}: the category and tags columns are {', '.join(found) or 'none'}"
        events = epoch.manifest.events
        if events is not None and events.newest is not None and not events.item_times:
            yield "the epoch was built by an earlier release, without the times of items' events; build it again"

    def writes(self) -> set[str]:
        return {f"{self.name}.{column}" for column in self.columns}

    def bind(self, epoch: Epoch) -> list[ActionCounts]:
        groups: dict[tuple[str, tuple[str, ...]], dict[str, Counter]] = {}
        for name, counter in self.columns.items():
            key = counter.of, tuple(sorted(set(counter.actions)))
            groups.setdefault(key, {})[f"{self.name}.{name}"] = counter
        return [ActionCounts(of, actions, columns) for (of, actions), columns in groups.items()]

    def hydrate(self, call: Call) -> None:
        block, bound = call.block, call.bound
        for counts in bound:
            if counts.of == "item":
                totals = counts.items(call, block.row)
            else:
                totals = np.zeros((len(block), len(counts.names)), dtype=np.int64)
                for group, (start, stop) in enumerate(pairwise(block.edges(call.groups))):
                    self.of_user(call, counts, group, block.row[start:stop], totals[start:stop])
            for at, name in enumerate(counts.names):
                block.columns[name] = as_column(totals[:, at])

    def of_user(self, call: Call, counts: ActionCounts, group: int, rows: np.ndarray, totals: np.ndarray) -> None:
        """Add what the user of ``group`` did to the ``totals`` of the group's candidates ``rows``."""
        history = call.past(group)
        wanted = wanted_actions(call, counts.actions)[history.actions] != 0
        weights = counts.spans.weights_of(history.times[wanted], call.now)
        if counts.of == "user":
            totals[:] = weights.sum(axis=0)
        else:
            column = call.epoch.items.columns[self.category]
            totals[:] = category_totals(column, history.rows[wanted], weights, rows)
