"""Whom a budget allows to be sent something: decided by the writer, durable before the reply."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple
from zlib import crc32

import msgspec
import numpy as np

from mixline.node.components.base import Selector
from mixline.node.components.hydrators.user_hydrator import numbers_of
from mixline.node.windows import seconds
from mixline.storage.catalogue import NO_ROW
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


COUNT_MAX = 100
TRIES_MAX = 100


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take one from ``budget``, of which ``limit`` (a number, or a column of users) may be in use within ``window``
    (left out: ever). ``of``: the user's own, or the one for all. ``by``: ``"id"`` or a category column of items; each
    item, or label, has a budget of its own."""

    budget: str
    limit: int | str
    window: str = ""
    by: str = ""
    of: Literal["user", "all"] = "user"


class Unit(NamedTuple):
    """A candidate that is asked for: its user's group, its position in the block, and its place among the user's."""

    group: int
    position: int
    place: int


class Asked(NamedTuple):
    """One reservation: which of the round's units it is for, its operation without the users, and whether it is of the
    users' own budget that all their candidates share."""

    units: list[int]
    operation: dict[str, Any]
    common: bool


class ReserveSelector(Selector, frozen=True, kw_only=True):
    """Takes each user's best candidates for which all of `budgets` have one left; else nothing. For notifications.

    - `count`: at most so many per user, in the order of the selector before it. `tries`: so many of the user's best are
      asked for, one after the other, until `count` are granted; left out, no more than `count`.
    - `budgets`: a list of `{ budget = "push", limit = 3, window = "7d" }`. `limit`: a number, or a column of users with
      one (missing: 0). `window`: it slides; left out, for ever. `of`: `"user"`, each user's own, or `"all"`, one for
      everybody. `by`: `"id"`, so that each item has its own budget, or a category column of items, so that each label
      (a kind of message, a creator) has: `{ budget = "item", of = "all", by = "id", limit = 1000, window = "1d" }`. Two
      windows pace: three a week and one a day.

    What is taken is reserved before the reply is made, in one write for all users of the request (one more for each
    further try), and never more than the limit, however many requests, workers and restarts there are (docs/live.md,
    "Budgets"). Where one budget refuses what others granted these get it back. A request that is sent again under its
    id has what it had. Unknown users get nothing. A request whose reservations cannot be written fails. In an engine
    that writes nothing (a notebook, `mixline plan`) budgets are only looked at, and the coverage says so. It stands
    behind all other selectors; late filters check what these chose before it is asked for.
    """

    commits: ClassVar[bool] = True
    budgets: list[Grant]
    count: int = 1
    tries: int = 0

    def wrong(self) -> Iterator[str]:
        yield from Selector.wrong(self)
        if not self.budgets:
            yield "budgets: name at least one"
        if not 1 <= self.count <= COUNT_MAX:
            yield f"count = {self.count}: must lie in 1 .. {COUNT_MAX}"
        if self.tries and not self.count <= self.tries <= TRIES_MAX:
            yield f"tries = {self.tries}: must lie in count .. {TRIES_MAX}"
        for at, one in enumerate(self.budgets):
            if not one.budget:
                yield f"budgets[{at}].budget: give it a name"
            if isinstance(one.limit, str) and one.of == "all":
                yield f"budgets[{at}].limit = {one.limit!r}: the budget for all has a number"
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
            if one.by not in ("", "id") and (one.by not in items or items.kind_of(one.by) != "category"):
                found = [n for n in items if items.kind_of(n) == "category"]
                yield f'budgets[{at}].by = {one.by!r}: give "id" or a category column, of {", ".join(found) or "none"}'

    def reach(self, limit: int) -> int:
        return self.tries or self.count

    def select_all(self, call: Call, slates: list[np.ndarray], limit: int) -> list[np.ndarray]:
        count, tries = min(self.count, limit), self.tries or self.count
        ahead = [
            [Unit(group, int(position), place) for place, position in enumerate(slate[:tries].tolist())]
            if int(call.users[group]) != NO_ROW
            else []
            for group, slate in enumerate(slates)
        ]
        taken: list[list[Unit]] = [[] for _ in slates]
        while True:
            missing = [count - len(some) for some in taken]
            units = [unit for group, some in enumerate(ahead) for unit in some[: missing[group]]]
            if not units:
                break
            ahead = [some[max(0, missing[group]) :] for group, some in enumerate(ahead)]
            self.ask(call, units, taken, ahead)
        users = sum(map(bool, taken))
        items = f"{sum(map(len, taken))} items for " if self.count > 1 else ""
        call.say(f"{items}{users} of {len(slates)} users")
        return [np.array([unit.position for unit in in_order(some)], dtype=np.int64) for some in taken]

    def ask(self, call: Call, units: list[Unit], taken: list[list[Unit]], ahead: list[list[Unit]]) -> None:
        """Ask for some candidates. What is granted is ``taken``. Of a user whose own budget has no more there is
        nothing ``ahead``, unless it was held by a candidate that another budget refused: then who was refused asks
        again."""
        asked = list(self.asked(call, units))
        took = self.reserve(call, asked) if call.writes is not None else self.look(call, units, asked)
        allowed = np.ones(len(units), dtype=bool)
        for one, flags in zip(asked, took, strict=True):
            allowed[one.units] &= flags
        again: set[int] = set()  # places of units
        over: set[int] = set()  # groups
        for one, flags in zip(asked, took, strict=True):
            if one.common:
                vain = flags & ~allowed[one.units]
                freed = {units[at].group for at, back in zip(one.units, vain.tolist(), strict=True) if back}
                refused = [at for at, granted in zip(one.units, flags.tolist(), strict=True) if not granted]
                again |= {at for at in refused if units[at].group in freed}
                over |= {units[at].group for at in refused if units[at].group not in freed}
        if call.writes is not None:
            self.give_back(call, asked, took, allowed)
        for at in range(len(units) - 1, -1, -1):
            unit = units[at]
            if allowed[at]:
                taken[unit.group].append(unit)
            elif at in again:
                ahead[unit.group].insert(0, unit)
        for group in over:
            ahead[group].clear()

    def asked(self, call: Call, units: list[Unit]) -> Iterator[Asked]:
        """The reservations of a round: one for each users' budget with each limit, and one for each unit of a budget
        for all, which the writer decides one by one."""
        groups = [unit.group for unit in units]
        rows = call.users[groups]
        if call.view is not None:
            rows = call.view.versions(call.epoch.users, rows)
        items = call.block.row[[unit.position for unit in units]]
        for one in self.budgets:
            limits = np.full(len(units), one.limit if isinstance(one.limit, int) else 0, dtype=np.int64)
            if isinstance(one.limit, str):
                limits = np.nan_to_num(numbers_of(call.epoch.users.columns[one.limit], rows)).astype(np.int64)
            names = labels_of(call, one.by, items)
            window = seconds(one.window) if one.window else 0
            parts: dict[tuple[str, int, int], list[int]] = {}
            for at, (label, most) in enumerate(zip(names, limits.tolist(), strict=True)):
                budget = f"{one.budget}.{label}" if one.by else one.budget
                parts.setdefault((budget, max(most, 0), at if one.of == "all" else -1), []).append(at)
            for (budget, most, _), some in parts.items():
                operation = {"op": "reserve", "budget": budget, "limit": most, "window": window}
                yield Asked(some, operation if one.of == "all" else {**operation, "users": ids_of(call, units, some)},
                            one.of == "user" and not one.by)  # fmt: skip

    def reserve(self, call: Call, asked: list[Asked]) -> list[np.ndarray]:
        """Which units each reservation was granted for, by what the writer says."""
        granted = self.write(call, asked, [one.operation for one in asked], "")
        return [np.frombuffer(flags, dtype=np.uint8) != 0 for flags in granted]

    def give_back(self, call: Call, asked: list[Asked], took: list[np.ndarray], allowed: np.ndarray) -> None:
        """Release what was granted for units that are not taken."""
        releases = []
        for one, flags in zip(asked, took, strict=True):
            vain = (flags & ~allowed[one.units]).tolist()
            if any(vain):
                operation = {key: value for key, value in one.operation.items() if key != "limit"}
                if "users" in operation:
                    operation["users"] = [user for user, back in zip(operation["users"], vain, strict=True) if back]
                releases.append({**operation, "op": "release"})
        if releases:
            self.write(call, asked, releases, ".back")

    def write(self, call: Call, asked: list[Asked], operations: list[dict[str, Any]], end: str) -> list[bytes]:
        """Have it written under a name that a second attempt at the same request has too, for the same users."""
        assert call.writes is not None
        mark = crc32(repr([(one.operation, one.units) for one in asked]).encode())
        name = f"ask.{call.request_id.hex()}.{self.name}.{mark:08x}{end}"
        left_ms = (call.deadline_ns - time.monotonic_ns()) / 1e6
        return call.writes.now(name, 1, operations, left_ms).granted

    def look(self, call: Call, units: list[Unit], asked: list[Asked]) -> list[np.ndarray]:
        """The same by what is in use now, without taking anything; what is asked for before a unit counts as taken."""
        call.say("looked at, not reserved")
        found = []
        before: dict[tuple[str, int], int] = {}
        for one in asked:
            what, flags = one.operation, []
            for at in one.units:
                row = int(call.users[units[at].group]) if "users" in what else None
                used = 0 if call.view is None else call.view.budget(row, what["budget"], what["window"], call.now)[0]
                key = what["budget"], -1 if row is None else row
                flags.append(used + before.get(key, 0) < what["limit"])
                before[key] = before.get(key, 0) + flags[-1]
            found.append(np.array(flags, dtype=bool))
        return found


def in_order(units: list[Unit]) -> list[Unit]:
    """By their place among the user's candidates."""
    return sorted(units, key=lambda unit: unit.place)


def ids_of(call: Call, units: list[Unit], places: list[int]) -> list[int | str]:
    """The users of these units as the request names them."""
    named = call.ask.users if call.ask.users is not None else [call.ask.user]
    return [one for at in places if (one := named[units[at].group]) is not None]


def labels_of(call: Call, by: str, rows: np.ndarray) -> list[str]:
    """What names the budget of each item: its id, its label (empty where it has none), or nothing."""
    if not by:
        return [""] * len(rows)
    if by == "id":
        return [str(one) for one in call.epoch.items.ids_of(rows)]
    return ["" if label is None else str(label) for label in call.epoch.items.columns[by].to_list(rows)]
