"""What is new of those whom the user follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mixline.kernels.members import are_members, are_tagged
from mixline.node.block import Candidates
from mixline.node.components.base import Source
from mixline.node.components.newest import DEPTH_MAX, Newest, by_place, time_misfits
from mixline.node.components.users import labels_of, version
from mixline.node.event_counts import codes_of, wanted_actions
from mixline.storage.columns import BLOCKABLE, Column
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

SLICE = 16_384


class Bound(NamedTuple):
    """Items, newest first; the column of their creators; that of users with the creators they follow."""

    newest: Newest
    creator: Column
    follows: Column | None


class FollowingSource(Source, frozen=True, kw_only=True):
    """The newest items of the creators that the user follows; the score is 1 / (1 + place).

    - `column`: when an item came, as for `latest`.
    - `creator`: the category, tags or i64 column that says who made an item; left out, the one that the build names.
    - `follows`: a tags or category column of users with the creators that they follow, as they are called in `creator`.
    - `actions`: events that are a wish to follow too: the creators of items that the user acted on so count, as far
      back as a history goes (`history_max`). Give `follows`, `actions` or both.
    - `depth`: so many of the newest items are looked through; `limit`: candidates per user.
    """

    column: str = ""
    creator: str = ""
    follows: str = ""
    actions: tuple[str, ...] = ()
    depth: int = 100_000

    def wrong(self) -> Iterator[str]:
        yield from Source.wrong(self)
        if not self.limit <= self.depth <= DEPTH_MAX:
            yield f"depth = {self.depth}: must lie in limit .. {DEPTH_MAX}"
        if not self.follows and not self.actions:
            yield "follows, actions: give one, to say whom a user follows"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        yield from time_misfits(epoch, "column", self.column)
        name = self.creator or epoch.creator or ""
        if name not in epoch.items.columns or epoch.items.columns.kind_of(name) not in BLOCKABLE:
            found = [n for n in epoch.items.columns if epoch.items.columns.kind_of(n) in BLOCKABLE]
            yield f"creator = {name!r}: name a column out of {', '.join(found) or 'none'}"
        users = epoch.users.columns
        if self.follows and (self.follows not in users or users.kind_of(self.follows) not in ("tags", "category")):
            found = [n for n in users if users.kind_of(n) in ("tags", "category")]
            yield f"follows = {self.follows!r}: users have the tags and category columns {', '.join(found) or 'none'}"

    def bind(self, epoch: Epoch) -> Bound:
        follows = epoch.users.columns[self.follows] if self.follows else None
        creator = epoch.items.columns[self.creator or epoch.creator or ""]
        return Bound(Newest(epoch, self.column, self.depth), creator, follows)

    def retrieve(self, call: Call, group: int) -> Candidates:
        followed = self.followed(call, group)
        if not len(followed):
            return Candidates.none()
        rows, found, count = call.bound.newest.rows(call), [], 0
        for start, stop in call.slices(len(rows), SLICE):
            some = rows[start:stop]
            some = call.let_in(group, some[made_by(call.bound.creator, some, followed)])
            found.append(some)
            count += len(some)
            if count >= self.limit:
                break
        rows = np.concatenate(found)[: self.limit] if found else rows[:0]
        return Candidates(rows, by_place(len(rows)))

    def followed(self, call: Call, group: int) -> np.ndarray:
        """The creators that the group's user follows, sorted values of the creators' column."""
        creator, parts = call.bound.creator, []
        if call.bound.follows is not None:
            parts.append(named(creator, labels_of(call.bound.follows, version(call, group))))
        if self.actions:
            history = call.history(group)
            rows = history.rows[wanted_actions(call, self.actions)[history.actions] != 0]
            parts.append(codes_of(creator, rows)[0].astype(creator.values.dtype))
        return np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=creator.values.dtype)


def named(column: Column, names: list[str]) -> np.ndarray:
    """The values of a column that are called so."""
    if column.kind == "i64":
        found = [int(name) for name in names if name.lstrip("-").isdecimal()]
    else:
        found = [column.codes[name] for name in names if name in column.codes]
    return np.array(found, dtype=column.values.dtype)


def made_by(column: Column, rows: np.ndarray, sought: np.ndarray) -> np.ndarray:
    """Which item ``rows`` have one of the values ``sought`` (sorted)."""
    if column.offsets is not None:
        return are_tagged(rows, column.offsets, column.values, sought)
    values = column.values[rows]
    return are_members(values, sought) if values.dtype == np.uint32 else np.isin(values, sought)
