"""What a component may ask while it runs: the request, the data it is pinned to, the clock.

One object per request. Rows of the user's seen items and the bitmap that scans take are made once, on first use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec
import numpy as np

from mixline.kernels.accumulate import Scratch
from mixline.kernels.bitmap import all_rows, clear_rows, holds_rows
from mixline.kernels.blend import numbers
from mixline.kernels.gather import gather
from mixline.node.block import CandidateBlock
from mixline.node.components.base import Excluded, sets_of
from mixline.node.errors import BadRequest, NotFound
from mixline.node.page import Coverage
from mixline.node.request import Ask
from mixline.node.scans import Scan
from mixline.storage.catalogue import NO_ROW
from mixline.storage.epoch import Epoch
from mixline.storage.errors import UnknownId
from mixline.storage.histories import NODES_OWN, History, kinds_of, shown_codes, unpack_history
from mixline.storage.live_seen import built_items
from mixline.storage.live_view import LiveView

if TYPE_CHECKING:
    from mixline.node.outlets import Replied
    from mixline.node.own_writes import OwnWrites
    from mixline.node.pipeline import Step

NO_ENTRY = Coverage("", "", "")  # of what runs outside of a component
NOBODY = np.array([NO_ROW], dtype=np.uint32)
NO_ROWS = np.zeros(0, dtype=np.uint32)
NO_KEYS = np.zeros(0, dtype=np.uint64)
BITMAP = np.dtype(np.uint64)
NOTHING_DONE = unpack_history(None)
HISTORY_MAX = 1000  # of a store that was built without events, as by default of one with
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


class Call:
    """One request being answered on ``epoch``.

    ``users`` has the row (uint32) of one user per group, ``NO_ROW`` for an unknown one; a request that names no user
    has one group without. ``bound`` is what the component that runs has made of the store (:meth:`Component.bind`).
    ``view`` is one state of what changed since the epoch was built, None while nothing did; rows of items lie below
    ``items_end``. ``now``: the second (since 1970) that the answer is given for, the same from start to end.
    ``params``: the values of the surface's parameters; ``assignments``: arm by experiment; ``quality``: below 1 where
    values shrank under load. ``ask`` is the request as query hydrators have understood it, ``asked`` as it came.
    ``replied``: how it was answered, for side effects; None before.
    """

    def __init__(
        self,
        ask: Ask,
        epoch: Epoch,
        scratch: Scratch,
        deadline_ns: int,
        pulse: Callable[[], bool],
        view: LiveView | None = None,
        request_id: bytes = bytes(16),
    ) -> None:
        self.ask = self.asked = ask
        self.request_id = request_id
        self.params: Mapping[str, Any] = ask.params or {}
        self.assignments: dict[str, str] = {}
        self.quality = 1.0
        self.shown = NO_KEYS
        self.shown_rows: np.ndarray | None = None
        self.epoch = epoch
        self.view = view
        self.now = int(time.clock_gettime(time.CLOCK_REALTIME)) if ask.time is None else ask.time
        self.items_end = epoch.items.count if view is None else view.items_end
        self.scratch = scratch
        self.deadline_ns = deadline_ns
        self.ahead_ns = 0.0  # what the components that have yet to run usually take
        self.measures = False  # whether what they take now is noted
        self.pulse = pulse
        self.degraded: list[str] = []
        self.bound: Any = None
        self.entry = NO_ENTRY
        self.coverage: list[Coverage] = []
        self.told: dict[str, Any] = {}  # what the reply says besides its items
        self.scans: dict[int, list[Scan]] = {}
        self.wished: dict[int, Any] = {}  # by group, what a source found out before it was asked for candidates
        self.writes: OwnWrites | None = None  # what is written before the reply; None where nothing may be
        self.block: CandidateBlock
        self.excluders: list[Callable[[Call, int], Excluded]] = []
        self.admitters: Sequence[Step] = ()
        self.replied: Replied | None = None
        self.users = user_rows(ask, epoch, view)
        self.groups = len(self.users)
        self._items: np.ndarray | None = None
        self._histories: dict[int, History] = {}
        self._acts: dict[int, History] = {}
        self._admitted: tuple[np.ndarray | None] | None = None
        self._allowed: dict[int, np.ndarray | None] = {}
        self._without: tuple[int, np.ndarray, np.ndarray] | None = None

    @property
    def items(self) -> np.ndarray:
        """Rows (uint32) of the items the request is about; NOT_FOUND when the store lacks one."""
        if self._items is None:
            named = self.ask.items if self.ask.items is not None else [self.ask.item]
            if named == [None]:
                raise BadRequest("this surface is about an item: give item= or items=")
            row_of = self.epoch.items.row_of if self.view is None else self.view.item_row
            try:
                self._items = np.array([row_of(one) for one in named if one is not None], dtype=np.uint32)
            except UnknownId as error:
                raise NotFound(str(error)) from None
        return self._items

    def enrich(
        self,
        *,
        query: str | None = None,
        vector: np.ndarray | None = None,
        params: Mapping[str, bool | int | float | str] | None = None,
    ) -> None:
        """Say what a query hydrator made of the request: other text, the vector (dim,) or vectors (m, dim) to ask with
        (float32), values of parameters. What the request itself says of a parameter stays."""
        if query is not None:
            self.ask = msgspec.structs.replace(self.ask, query=query)
        if vector is not None:
            given = np.atleast_2d(np.asarray(vector, dtype="<f4"))
            self.ask = msgspec.structs.replace(self.ask, vector=given.tobytes(), vectors=len(given))
        if params:
            self.params = {**self.params, **params, **(self.asked.params or {})}

    def show_no_more(self, keys: np.ndarray) -> None:
        """Leave out items by their order keys (uint64): those on earlier pages."""
        items, view = self.epoch.items, self.view
        rows = items.rows_of_keys(keys)
        rows = rows[rows != NO_ROW]
        if view is not None:
            rows = view.current(items, rows)
            late = np.flatnonzero(np.isin(items.keys[items.base : self.items_end], keys)) + items.base
            rows = np.concatenate((rows, late.astype(np.uint32)))
        self.shown, self.shown_rows = keys, np.unique(rows)

    def seed(self, name: str, group: int) -> int:
        """64 bits that depend on the request's id, a component's name and the group's user alone, for what it draws: a
        user gets the same alone and among others."""
        low, high, row = self.request_id[:8], self.request_id[8:], int(self.users[group])
        drawn = int.from_bytes(low, "little") ^ int.from_bytes(high, "big") ^ crc32(name.encode()) << 32
        who = 0 if row == NO_ROW else int(self.epoch.users.keys[row])
        return drawn + who * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF

    def stopped(self) -> bool:
        """Whether to stop with what there is: the deadline has passed or nobody waits. Beats the worker's heart."""
        return self.pulse() or time.monotonic_ns() >= self.deadline_ns

    def until(self, parts: int) -> int:
        """The moment (monotonic ns) at which one in so many parts of the time that is left is over."""
        now_ns = time.monotonic_ns()
        return now_ns + (self.deadline_ns - now_ns) // parts

    def slices(self, count: int, slice_rows: int) -> Iterator[tuple[int, int]]:
        """Cut ``count`` rows into slices, until done or stopped; a stop marks the component degraded."""
        for start in range(0, count, slice_rows):
            if start and self.stopped():
                self.degraded.append(f"deadline after {start} of {count} rows")
                return
            yield start, min(start + slice_rows, count)

    def seen(self, group: int) -> np.ndarray:
        """Sorted rows (uint32) of all items that the user of ``group`` acted on."""
        found = self.seen_set(group)
        if found.dtype != BITMAP:
            return found
        return np.flatnonzero(np.unpackbits(found.view(np.uint8), bitorder="little")).astype(np.uint32)

    def seen_set(self, group: int, actions: Sequence[str] | None = None) -> np.ndarray:
        """The same as a set: sorted rows, or a bitmap (uint64 words); of some actions alone where told."""
        row = int(self.users[group])
        if row == NO_ROW:
            return NO_ROWS
        if self.view is not None:
            return self.view.seen(row, actions)
        if actions is None:
            return self.epoch.seen(row)
        codes = tuple(code for code, label in enumerate(self.epoch.actions) if label in actions)
        return built_items(self.epoch, row, codes)

    def blocked(self, group: int) -> list[np.ndarray]:
        """Sets of item rows that the user of ``group`` shall not see, sorted (uint32) or bitmaps (uint64 words); what
        nobody shall see is not among them."""
        row = int(self.users[group])
        return [] if row == NO_ROW or self.view is None else self.view.blocked(row)

    @property
    def unblocked(self) -> np.ndarray | None:
        """Bitmap of the items that are not blocked for everybody, None while nothing is; not to be written to."""
        return None if self.view is None else self.view.unblocked

    def present(self, rows: np.ndarray) -> np.ndarray:
        """For item rows those that now stand for them, NO_ROW for items that are gone: rows of the epoch, or those in
        which later items first came."""
        view, items = self.view, self.epoch.items
        if view is None or (view.epoch_whole and (not view.state.items or rows.max(initial=0) < items.count)):
            return rows
        return view.versions(items, rows)

    def standing(self, rows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`present` rows, and the ``values`` beside them, without items that are gone."""
        now = self.present(rows)
        if now is rows:
            return rows, values
        there = now != NO_ROW
        return now[there], values[there]

    def history(self, group: int) -> History:
        """What the user of ``group`` did, newest first, at most what a build keeps of it; rows are those that now stand
        for the items, and what was done to items that are gone is left out. What was shown is no act of the user."""
        found = self._acts.get(group)
        if found is None:
            found = self.past(group)
            shown = self.shown_codes()
            if len(shown) and (away := np.isin(found.actions, shown)).any():
                found = History(*(part[~away] for part in found))
            self._acts[group] = found
        return found

    def past(self, group: int) -> History:
        """The same with what a node showed the user and what it kept, each of which a build keeps as much of again."""
        found = self._histories.get(group)
        if found is None:
            row = int(self.users[group])
            if row == NO_ROW:
                return NOTHING_DONE
            found = self.epoch.history(row) if self.view is None else self.view.history(row)
            rows = found.rows if self.view is None else self.view.versions(self.epoch.items, found.rows)
            if self.view is not None and (gone := rows == NO_ROW).any():
                rows, found = rows[~gone], History(*(part[~gone] for part in found))
            facts = self.epoch.manifest.events
            most = HISTORY_MAX if facts is None else facts.history_max
            found = History(rows, found.times, found.actions)
            if len(rows) > most:
                kinds = self._kinds()[found.actions]
                kept = np.zeros(len(rows), dtype=bool)
                for kind in range(1 + len(NODES_OWN)):
                    kept[np.flatnonzero(kinds == kind)[:most]] = True
                found = History(*(part[kept] for part in found))
            self._histories[group] = found
        return found

    def _kinds(self) -> np.ndarray:
        """The kind (uint8) of each code of an action."""
        return kinds_of(self.epoch.actions) if self.view is None else kinds_of(self.view.reader.actions.labels)

    def shown_codes(self) -> np.ndarray:
        """The codes (uint8) of actions that are none of the user's."""
        return shown_codes(self.epoch.actions) if self.view is None else self.view.shown_codes

    def recent(self, group: int, count: int) -> np.ndarray:
        """Rows of the newest ``count`` distinct items that the user of ``group`` acted on, newest first."""
        rows = self.history(group).rows[: 4 * count]
        if not len(rows):
            return NO_ROWS
        _, first = np.unique(rows, return_index=True)
        return rows[np.sort(first)][:count]

    def allowed(self, group: int, besides: np.ndarray | None = None) -> np.ndarray | None:
        """The bitmap of items that filters would not drop by id, user or stored columns alone, less ``besides``.

        None: all items. It may be another request's too: not to be written to.
        """
        if group not in self._allowed:
            words = self.admitted()
            forbidden = [one for exclude in self.excluders for one in sets_of(exclude(self, group)) if len(one)]
            if forbidden:
                words = self.everything() if words is None else words.copy()
                for one in forbidden:
                    if one.dtype == BITMAP:
                        words &= ~one
                    else:
                        clear_rows(words, one)
            elif words is None and self.view is not None and not self.view.epoch_whole:
                words = self.view.alive
            self._allowed[group] = words
        words = self._allowed[group]
        if besides is None or not len(besides):
            return words
        kept = self._without
        if kept is None or kept[0] != group or kept[1] is not besides:
            words = self.everything() if words is None else words.copy()
            clear_rows(words, besides)
            kept = self._without = group, besides, words
        return kept[2]

    def let_in(self, group: int, rows: np.ndarray) -> np.ndarray:
        """Those of ``rows`` that filters would not drop by id, user or stored columns alone."""
        allowed = self.allowed(group)
        return rows if allowed is None else rows[holds_rows(allowed, rows)]

    def admitted(self) -> np.ndarray | None:
        """The bitmap of items that filters keep by columns of the store alone, whoever asks; None: all items."""
        if self._admitted is None:
            words: np.ndarray | None = None
            for step in self.admitters:
                kept = step.component.admits(self, step.bound)
                if kept is not None:
                    words = kept if words is None else words & kept
            if words is not None and self.view is not None and self.view.alive is not None:
                words = words & self.view.alive
            self._admitted = (words,)
        return self._admitted[0]

    def everything(self) -> np.ndarray:
        """A bitmap of all items, to be written to."""
        alive = None if self.view is None else self.view.alive
        return all_rows(self.epoch.items.count) if alive is None else alive.copy()

    def say(self, how: str) -> None:
        """Tell the coverage of the component that runs which way it goes; each way once."""
        said = self.entry.how
        if how not in said.split("; "):
            self.entry.how = f"{said}; {how}" if said else how

    def column(self, name: str) -> np.ndarray:
        """A column of the block; an item column of the store is gathered when first asked for."""
        found = self.block.columns.get(name)
        if found is None:
            found = gather([self.epoch.items.columns[name].values], self.block.row)[0]
            self.block.columns[name] = found
        return found

    def of_part(self, positions: np.ndarray, ask: Callable[..., np.ndarray], *given: Any) -> np.ndarray:
        """What ``ask(call, *given)`` says of the candidates at these positions alone, in a block of their own."""
        block = self.block
        self.block = block.part(positions)
        try:
            return ask(self, *given)
        finally:
            self.block = block

    def numbers(self, name: str) -> np.ndarray:
        """A column as float32 or float64, NaN where a value is missing: what is added, ordered and shown as a score."""
        values = self.column(name)
        if values.dtype is FLOAT32 or values.dtype is FLOAT64:
            return values
        column = self.epoch.items.columns.get(name)
        if column is not None and column.missing is not None and column.values.dtype == values.dtype:
            return numbers(np.ascontiguousarray(values), int(column.missing))
        return values.astype(np.float64)


def user_rows(ask: Ask, epoch: Epoch, view: LiveView | None) -> np.ndarray:
    """The rows of the users that a request names: those that stand for them in their events."""
    if ask.users is not None:
        return epoch.users.rows_of(ask.users) if view is None else view.rows_of(epoch.users, ask.users)
    if ask.user is None:
        return NOBODY
    try:
        row = epoch.users.row_of(ask.user) if view is None else view.row_of(epoch.users, ask.user)
    except UnknownId:
        return NOBODY
    return np.array([row], dtype=np.uint32)
