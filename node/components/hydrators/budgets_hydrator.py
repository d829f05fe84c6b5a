"""What is in use of budgets, the user's own and those for all: for whoever must not overspend them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from mixline.node.components.base import Hydrator
from mixline.node.windows import column_name_faults, seconds
from mixline.storage.catalogue import NO_ROW

if TYPE_CHECKING:
    from mixline.node.call import Call


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column: what is in use of ``budget``, the user's own or the one for all, in ``window`` (left out: ever)."""

    budget: str
    of: Literal["user", "all"] = "user"
    window: str = ""


class BudgetsHydrator(Hydrator, frozen=True, kw_only=True):
    """Amounts in use of budgets (operations `reserve`, `spend`, `release`) as columns `<name>.<column>`.

    - `columns`: name to budget: `push = { budget = "push", window = "7d" }`. `of`: `"user"` (the user's own, and so
      left out) or `"all"`. `window`: as the operations name it in seconds; left out, what was ever granted.

    The value is the same for all candidates of a user, so the predicate `budgets.push < 3` lets all or none pass. An
    unknown user has used nothing. It says what the request's state knows; only `reserve` makes sure.
    """

    columns: dict[str, Budget]

    def wrong(self) -> Iterator[str]:
        yield from Hydrator.wrong(self)
        if not self.columns:
            yield "columns: name at least one column"
        yield from column_name_faults(self.columns)
        for name, column in self.columns.items():
            try:
                _ = column.window and seconds(column.window)
            except ValueError as error:
                yield f"columns.{name}: {error}"

    def writes(self) -> set[str]:
        return {f"{self.name}.{column}" for column in self.columns}

    def hydrate(self, call: Call) -> None:
        edges = call.block.edges(call.groups)
        for name, column in self.columns.items():
            values = np.zeros(len(call.block), dtype=np.float32)
            for group, (start, stop) in enumerate(pairwise(edges)):
                values[start:stop] = self.used(call, column, group) if stop > start else 0
            call.block.columns[f"{self.name}.{name}"] = values

    def used(self, call: Call, column: Budget, group: int) -> int:
        """What is in use for the user of a group."""
        row = None if column.of == "all" else int(call.users[group])
        if call.view is None or row == NO_ROW:
            return 0
        window = seconds(column.window) if column.window else 0
        return call.view.budget(row, column.budget, window, call.now)[0]
