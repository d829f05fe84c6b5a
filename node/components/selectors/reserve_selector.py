"""Whom a budget allows to be sent something: decided by the writer, durable before the reply."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from zlib import crc32

import msgspec
import numpy as np

from mixline.node.components.base import Selector
from mixline.node.components.hydrators.user_hydrator import numbers_of
from mixline.node.windows import seconds
from mixline.storage.catalogue import NO_ROW
from mixline.storage.columns import Column
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take one from ``budget`` of the user, of which ``limit`` (a number, or a column of users) may be in use within
    ``window`` (left out: ever). ``by``: a category column of items; each label has a budget of its own."""

    budget: str
    limit: int | str
    window: str = ""
    by: str = ""


class Asked(NamedTuple):
    """One reservation: the places of the groups it is for, and its operation without the users."""

    groups: list[int]
    operation: dict[str, Any]


class ReserveSelector(Selector, frozen=True, kw_only=True):
    """Takes each user's best candidate, if all of `budgets` have one left for the user; else nothing. For
    notifications.

    - `budgets`: a list of `{ budget = "push", limit = 3, window = "7d" }`, each the user's own. `limit`: a number, or a
      column of users with one (missing: 0). `window`: it slides; left out, for ever. `by`: a category column of items,
      so that each label (a kind of message) has its own budget. Two windows pace: three a week and one a day.

    What is taken is reserved before the reply is made, in one write for all users of the request, and never more than
    the limit, however many requests, workers and restarts there are (docs/live.md, "Budgets"). Where one budget refuses
    what others granted these get it back. A request that is sent again under its id has what it had. Unknown users get
    nothing. A request whose reservations cannot be written fails. In an engine that writes nothing (a notebook,
    `mixline plan`) budgets are only looked at, and the coverage says so.
    """

    commits: ClassVar[bool] = True
    budgets: list[Grant]

    def wrong(self) -> Iterator[str]:
        yield from Selector.wrong(self)
        if not self.budgets:
            yield "budgets: name at least one"
        for at, one in enumerate(self.budgets):
            if not one.budget:
                yield f"budgets[{at}].budget: give it a name"
            if isinstance(one.limit, int) and one.limit < 0:
                yield f"budgets[{at}].limit = {one.limit}: must be 0 or more"
            try:
                _ = one.window and seconds(one.window)
            except ValueError as error:
                yield f"budgets[{at}].window: {error}"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        users, items = epoch.users.columns, epoch.items.columns
        for at, one in enumerate(self.budgets):
            name = one.limit
            if isinstance(name, str) and (name not in users or users.kind_of(name) not in ("i64", "f32")):
                found = [n for n in users if users.kind_of(n) in ("i64", "f32")]
                yield f"budgets[{at}].limit = {name!r}: users have the numbers {', '.join(found) or 'none'}"
            if one.by and (one.by not in items or items.kind_of(one.by) != "category"):
                found = [n for n in items if items.kind_of(n) == "category"]
                yield f"budgets[{at}].by = {one.by!r}: the category columns are {', '.join(found) or 'none'}"

    def select_all(self, call: Call, slates: list[np.ndarray], limit: int) -> list[np.ndarray]:
        groups = [at for at, slate in enumerate(slates) if len(slate) and int(call.users[at]) != NO_ROW]
        allowed = np.zeros(len(slates), dtype=bool)
        if groups:
            asked = list(self.asked(call, [int(slates[at][0]) for at in groups], groups))
            took = self.reserve(call, asked) if call.writes is not None else self.look(call, asked)
            allowed[groups] = True
            for one, flags in zip(asked, took, strict=True):
                allowed[one.groups] &= flags
            if call.writes is not None:
                self.give_back(call, asked, took, allowed)
        call.say(f"{int(allowed.sum())} of {len(slates)} users")
        return [slate[:1] if allowed[at] else slate[:0] for at, slate in enumerate(slates)]

    def asked(self, call: Call, best: list[int], groups: list[int]) -> Iterator[Asked]:
        """The reservations of all users: one for each budget with each limit."""
        rows = call.users[groups]
        if call.view is not None:
            rows = call.view.versions(call.epoch.users, rows)
        for one in self.budgets:
            limits = np.full(len(groups), one.limit if isinstance(one.limit, int) else 0, dtype=np.int64)
            if isinstance(one.limit, str):
                limits = np.nan_to_num(numbers_of(call.epoch.users.columns[one.limit], rows)).astype(np.int64)
            names = labels_of(call.epoch.items.columns[one.by], call.block.row[best]) if one.by else [""] * len(groups)
            parts: dict[tuple[str, int], list[int]] = {}
            for at, (label, most) in enumerate(zip(names, limits.tolist(), strict=True)):
                parts.setdefault((f"{one.budget}.{label}" if one.by else one.budget, max(most, 0)), []).append(
                    groups[at]
                )
            for (budget, most), some in parts.items():
                window = seconds(one.window) if one.window else 0
                yield Asked(some, {"op": "reserve", "budget": budget, "limit": most, "window": window})

    def reserve(self, call: Call, asked: list[Asked]) -> list[np.ndarray]:
        """Which users each reservation was granted for, by what the writer says."""
        operations = [{**one.operation, "users": ids_of(call, one.groups)} for one in asked]
        granted = self.write(call, operations, asked, 1)
        return [np.frombuffer(flags, dtype=np.uint8) != 0 for flags in granted]

    def give_back(self, call: Call, asked: list[Asked], took: list[np.ndarray], allowed: np.ndarray) -> None:
        """Release what was granted to users who get nothing."""
        releases = []
        for one, flags in zip(asked, took, strict=True):
            vain = [at for at, granted in zip(one.groups, flags.tolist(), strict=True) if granted and not allowed[at]]
            if vain:
                operation = {key: value for key, value in one.operation.items() if key != "limit"}
                releases.append({**operation, "op": "release", "users": ids_of(call, vain)})
        if releases:
            self.write(call, releases, asked, 2)

    def write(self, call: Call, operations: list[dict[str, Any]], asked: list[Asked], sequence: int) -> list[bytes]:
        """Have it written under a name that a second attempt at the same request has too, for the same users."""
        assert call.writes is not None
        mark = crc32(repr([(one.operation, one.groups) for one in asked]).encode())
        name = f"ask.{call.request_id.hex()}.{self.name}.{mark:08x}"
        left_ms = (call.deadline_ns - time.monotonic_ns()) / 1e6
        return call.writes.now(name, sequence, operations, left_ms).granted

    def look(self, call: Call, asked: list[Asked]) -> list[np.ndarray]:
        """The same by what is in use now, without taking anything."""
        call.say("looked at, not reserved")
        found = []
        for one in asked:
            what, used = one.operation, np.zeros(len(one.groups), dtype=np.int64)
            if call.view is not None:
                window = what["window"]
                used[:] = [
                    call.view.budget(int(call.users[at]), what["budget"], window, call.now)[0] for at in one.groups
                ]
            found.append(used < what["limit"])
        return found


def ids_of(call: Call, groups: list[int]) -> list[int | str]:
    """The users of these groups as the request names them."""
    named = call.ask.users if call.ask.users is not None else [call.ask.user]
    return [one for at in groups if (one := named[at]) is not None]


def labels_of(column: Column, rows: np.ndarray) -> list[str]:
    """The label of each item, empty where it has none."""
    return ["" if label is None else str(label) for label in column.to_list(rows)]
