"""What is known of the user, beside each candidate, and where the two agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.gather import gather
from mixline.node.components.base import Hydrator
from mixline.node.components.users import labels_of
from mixline.node.event_counts import codes_of
from mixline.node.windows import column_name_faults
from mixline.storage.catalogue import NO_ROW
from mixline.storage.columns import Column
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

LABELLED = ("category", "tags")


class UserHydrator(Hydrator, frozen=True, kw_only=True):
    """Columns of users as features `<name>.<column>` of every candidate, and crosses of users with items.

    - `columns`: names of f32, i64 or bool columns of users.
    - `crosses`: name to a column of users and one of items, `{ language = ["languages", "language"] }`. Of labels
      (category, tags) the value is how many the two have in common; of numbers the item's less the user's.

    Missing for an unknown user and where either has no value; what two sets of tags have in common is 0 then.
    """

    columns: list[str] = []
    crosses: dict[str, tuple[str, str]] = {}

    def wrong(self) -> Iterator[str]:
        yield from Hydrator.wrong(self)
        if not self.columns and not self.crosses:
            yield "columns, crosses: name at least one"
        yield from column_name_faults(self.crosses)
        yield from (f"crosses.{name}: also the name of a column" for name in self.crosses if name in self.columns)

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        users, items = epoch.users.columns, epoch.items.columns
        for name in self.columns:
            if name not in users or users.kind_of(name) in LABELLED:
                found = [n for n in users if users.kind_of(n) not in LABELLED]
                yield f"columns: users have no number {name!r}; they have {', '.join(found) or 'none'}"
        for key, (of_user, of_item) in self.crosses.items():
            for who, columns, name in (("users", users, of_user), ("items", items, of_item)):
                if name not in columns:
                    yield f"crosses.{key}: {who} have no column {name!r}; they have {', '.join(columns) or 'none'}"
            if of_user in users and of_item in items:
                kinds = users.kind_of(of_user), items.kind_of(of_item)
                if (kinds[0] in LABELLED) != (kinds[1] in LABELLED):
                    yield f"crosses.{key}: {of_user!r} of users is {kinds[0]}, {of_item!r} of items is {kinds[1]}"

    def writes(self) -> set[str]:
        return {f"{self.name}.{name}" for name in (*self.columns, *self.crosses)}

    def hydrate(self, call: Call) -> None:
        block, users = call.block, call.epoch.users
        rows = call.users if call.view is None else call.view.versions(users, call.users)
        for name in self.columns:
            block.columns[f"{self.name}.{name}"] = numbers_of(users.columns[name], rows)[block.group]
        for key, (of_user, of_item) in self.crosses.items():
            column, other = users.columns[of_user], call.epoch.items.columns[of_item]
            if column.kind in LABELLED:
                found = shared(column, rows, other, block.row, block.group)
            else:
                found = numbers_of(other, block.row) - numbers_of(column, rows)[block.group]
            block.columns[f"{self.name}.{key}"] = found.astype(np.float32)


def numbers_of(column: Column, rows: np.ndarray) -> np.ndarray:
    """Values of ``rows`` (float64), NaN where there is no row or no value."""
    known = rows != NO_ROW
    values = gather([column.values], np.where(known, rows, 0).astype(np.uint32))[0]
    given = known if column.kind == "f32" else known & (values != column.missing)
    return np.where(given, values.astype(np.float64), np.nan)


def shared(users: Column, user_rows: np.ndarray, items: Column, rows: np.ndarray, group: np.ndarray) -> np.ndarray:
    """How many labels (float64) each item has in common with the user of its group; NaN where a category is missing."""
    found = np.full(len(rows), np.nan)
    edges = np.searchsorted(group, np.arange(len(user_rows) + 1)).tolist()
    codes, owner = codes_of(items, rows)
    given = np.zeros(len(rows), dtype=bool)
    given[owner] = True
    given |= items.offsets is not None
    for at, row in enumerate(user_rows.tolist()):
        if row == NO_ROW:
            continue
        names = labels_of(users, row)
        if not names and users.offsets is None:
            continue
        known = np.array([items.codes[name] for name in names if name in items.codes], dtype=np.int64)
        mine = slice(*np.searchsorted(owner, edges[at : at + 2]).tolist())
        here = slice(edges[at], edges[at + 1])
        alike = owner[mine][np.isin(codes[mine], known)] - edges[at]
        common = np.bincount(alike, minlength=edges[at + 1] - edges[at]).astype(np.float64)
        common[~given[here]] = np.nan
        found[here] = common
    return found
