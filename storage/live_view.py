"""What a reader has of living data: the overlay of its epoch, and views of it as of one state.

A view is made when a state is met for the first time and used by every request until the next one; it never changes.
Until a writer has published anything a reader maps one page, and looks at one word of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixline.storage.catalogue import NO_ROW, Catalogue
from mixline.storage.codes import Codes, rows_of_codes
from mixline.storage.counting import Late
from mixline.storage.epoch import Epoch
from mixline.storage.errors import UnknownId
from mixline.storage.granting import tally_budget
from mixline.storage.growing import GrowingArrays
from mixline.storage.histories import SHOWN, History
from mixline.storage.ids import is_id, look_up
from mixline.storage.live_blocks import NO_BLOCKS, Blocks, ValueRows, blocks_after, unmark
from mixline.storage.live_index import (
    chain_events,
    chain_queries,
    find_ids,
    newest_versions,
    read_state,
    state_generation,
)
from mixline.storage.live_labels import Labelled, labelled, read_labels
from mixline.storage.live_seen import SeenItems
from mixline.storage.live_segments import (
    EVENTS_MAX,
    State,
    boot_number,
    count_stride,
    everybody,
    map_own,
    map_state,
    open_late_records,
)
from mixline.storage.past_queries import plain_query
from mixline.storage.spaces import Space

EVENTS_OF_USER_MAX = 100_000  # looked at for one request, the latest


class LiveReader:
    """Follows the overlay of an epoch that was opened with room (``grows``)."""

    def __init__(self, epoch: Epoch, folder: Path) -> None:
        assert isinstance(epoch.arrays, GrowingArrays)
        self.epoch, self.arrays, self.folder = epoch, epoch.arrays, folder
        self.own: dict[str, np.ndarray] = {}
        self.values = ValueRows(epoch)
        self.seen = SeenItems(epoch)
        self._state = map_state(folder)
        self._boot = boot_number()
        self._generation = 0
        self._view: LiveView | None = None
        self.late: Late  # of the events, to be counted
        self.labels: list[Labelled] = []
        self._label_bytes = 0

    def view(self) -> LiveView | None:
        """The view of the latest state, None while nothing was ever published."""
        if self._state is None:
            self._state = map_state(self.folder)  # what was in the way may be gone
        if self._state is None or state_generation(self._state) == self._generation:
            return self._view
        self._generation, fields = read_state(self._state)
        state = State(*fields[: len(State._fields)])
        if state.boot != self._boot:
            return None  # from before the machine went down: the writer will make it anew
        if not self.own:
            self._attach()
        if state.label_bytes > self._label_bytes:
            read_labels(self.own["labels"], self._label_bytes, state.label_bytes, self.labels)
            self._label_bytes = state.label_bytes
        self._view = LiveView(self, state, self._view)
        return self._view

    @property
    def action_codes(self) -> dict[str, int]:
        """Code by label of an action."""
        return self.labels[0].codes

    def _attach(self) -> None:
        self.own = map_own(self.folder, self.epoch)
        self.arrays.attach(self.folder)
        self.late = Late(self.own["counts"], self.own["counts.heads"], count_stride(self.epoch))
        self.labels = labelled(self.epoch)
        for catalogue in (self.epoch.items, self.epoch.users):
            open_late_records(catalogue, self.own)

    @property
    def actions(self) -> Labelled:
        """The labels of actions, also of those that came later."""
        return self.labels[0]


class LateRows(NamedTuple):
    """``rows`` items of a space that came after the build, by row less the catalogue's ``base``.

    ``given`` and ``alive``: bitmaps (uint64 words) of those that have a vector, and of those of them that were neither
    superseded nor deleted.
    """

    codes: Codes
    rows: int
    norms: np.ndarray
    given: np.ndarray
    alive: np.ndarray


class LiveView:
    """One state of the data behind an epoch. Rows from ``catalogue.base`` on are versions that came later.

    ``items_end``: the first item row that does not exist yet. ``alive``: bitmap (uint64 words) of item rows below it
    that are neither superseded nor deleted; None while no item ever changed. ``epoch_whole``: none of the epoch's are.
    """

    def __init__(self, reader: LiveReader, state: State, before: LiveView | None) -> None:
        self.reader, self.state, self.epoch = reader, state, reader.epoch
        self.live_seq = state.sequence
        self.items_end = self.epoch.items.base + state.items if state.items else self.epoch.items.count
        self.users_end = self.epoch.users.base + state.users
        self.alive: np.ndarray | None
        self.epoch_whole: bool
        self._late: dict[str, LateRows | None] = {}
        since = 0 if before is None else before.state.events
        known = NO_BLOCKS if before is None else before.for_all
        more = self._blocks(everybody(self.epoch), since)
        self.for_all: Blocks = blocks_after(known, more) if len(more) else known
        self._unblocked: np.ndarray | None = None
        if before is not None and (before.state.items, before.state.deaths) == (state.items, state.deaths):
            self.alive, self.epoch_whole = before.alive, before.epoch_whole
            if self.for_all is known:
                self._unblocked = before._unblocked
            return
        self.alive = self._alive(before)
        died = reader.own["items.deaths"][before.state.deaths if before is not None else 0 : state.deaths]
        self.epoch_whole = (before is None or before.epoch_whole) and bool((died >= self.epoch.items.base).all())

    def _alive(self, before: LiveView | None) -> np.ndarray | None:
        state, own, base = self.state, self.reader.own, self.epoch.items.base
        if not state.items and not state.deaths:
            return None
        words = np.zeros(-(-self.items_end // 64), dtype=np.uint64)
        bits = words.view(np.uint8)
        start = 0
        if before is not None and before.alive is not None:
            words[: len(before.alive)] = before.alive
            start = before.state.deaths
        else:
            set_range(bits, 0, self.epoch.items.count)
        known = before.items_end if before is not None and before.alive is not None else 0
        set_range(bits, max(base, known), self.items_end)
        unmark(words, own["items.deaths"][start : state.deaths])
        return words

    def late_rows(self, space: Space) -> LateRows | None:
        """What came since the build with a vector in ``space``, coded; None where nothing came, or without codes."""
        if space.name not in self._late:
            count, found = self.items_end - self.epoch.items.base, None
            if self.state.items and space.all_codes is not None and self.alive is not None:
                base, norms = self.epoch.items.base, space.all_code_norms
                assert norms is not None
                given = self.reader.own[f"spaces.{space.name}.given"][: -(-count // 64)]
                codes = rows_of_codes(space.all_codes, base, self.items_end)
                found = LateRows(codes, count, norms[base : self.items_end], given, self.alive[base // 64 :] & given)
            self._late[space.name] = found
        return self._late[space.name]

    @property
    def action_labels(self) -> tuple[str, ...]:
        """Of the actions, by code."""
        return tuple(self.reader.labels[0].labels)

    # Ids

    def row_of(self, catalogue: Catalogue, one: int | str) -> int:
        """The identity of an id: the row that stands for it in events; :class:`UnknownId` if there is none."""
        try:
            row = catalogue.row_of(one)
            if not self.state.forgotten or catalogue is not self.epoch.users or row not in self.forgotten:
                return row
        except UnknownId:
            pass
        found = self._in_table(catalogue, one)
        if found == NO_ROW:
            raise UnknownId(catalogue.name, one)
        return found

    @property
    def forgotten(self) -> np.ndarray:
        """Rows (uint32) of the epoch's users that are nobody's any more."""
        return self.reader.own["users.forgotten"][: self.state.forgotten]

    def item_row(self, one: int | str) -> int:
        """The row that now stands for an item; :class:`UnknownId` for one that is gone too."""
        row = int(self.versions(self.epoch.items, np.array([self.row_of(self.epoch.items, one)], dtype=np.uint32))[0])
        if row == NO_ROW:
            raise UnknownId("items", one)
        return row

    def rows_of(self, catalogue: Catalogue, ids: list | np.ndarray) -> np.ndarray:
        """The same for many, NO_ROW where unknown."""
        rows = catalogue.rows_of(ids)
        if self.state.forgotten and catalogue is self.epoch.users:
            rows = np.where(np.isin(rows, self.forgotten), np.uint32(NO_ROW), rows)
        missing = np.flatnonzero(rows == NO_ROW)
        count = self.state.items if catalogue is self.epoch.items else self.state.users
        if (
            len(missing)
            and count
            and isinstance(ids, np.ndarray)
            and ids.dtype.kind == "u"
            and catalogue.id_kind == "u64"
        ):
            table, end = self.reader.own[f"{catalogue.name}.table"], catalogue.base + count
            rows[missing] = find_ids(table, ids[missing].astype(np.uint64), end)
            return rows
        for at in missing.tolist():
            one = ids[at]
            rows[at] = self._in_table(catalogue, int(one) if isinstance(one, np.integer) else one)
        return rows

    def _in_table(self, catalogue: Catalogue, one: int | str) -> int:
        count = self.state.items if catalogue is self.epoch.items else self.state.users
        if not count or not is_id(catalogue.id_kind, one):
            return NO_ROW
        row = look_up(self.reader.own[f"{catalogue.name}.table"], one, catalogue.base + count)
        return row if row != NO_ROW and catalogue.id_of(row) == one else NO_ROW

    def versions(self, catalogue: Catalogue, identities: np.ndarray) -> np.ndarray:
        """The version that now stands for each identity (uint32), NO_ROW for what was deleted."""
        own, name = self.reader.own, catalogue.name
        items = catalogue is self.epoch.items
        count = self.state.items if items else self.state.users
        if not count and not (items and self.state.deaths):
            return identities
        given = np.ascontiguousarray(identities, dtype=np.uint32)
        end = catalogue.base + count
        rows = newest_versions(given, own[f"{name}.newest"], own[f"{name}.before"], catalogue.base, end)
        if items and self.alive is not None:
            known = np.where(rows == NO_ROW, 0, rows)
            gone = self.alive.view(np.uint8)[known >> 3] >> (known & 7).astype(np.uint8) & 1 == 0
            rows[gone] = NO_ROW
        return rows

    def current(self, catalogue: Catalogue, identities: np.ndarray) -> np.ndarray:
        """The same without those that were deleted."""
        rows = self.versions(catalogue, identities)
        return rows if rows is identities else rows[rows != NO_ROW]

    def origins(self, rows: np.ndarray) -> np.ndarray:
        """The identities of item rows."""
        base = self.epoch.items.base
        late = rows >= base
        if not late.any():
            return rows
        found = rows.copy()
        found[late] = self.reader.own["items.origin"][rows[late] - base]
        return found

    # Users

    @property
    def shown_codes(self) -> np.ndarray:
        """The codes (uint8) of actions that are none of the user's."""
        codes = self.reader.action_codes
        return np.array([codes[label] for label in SHOWN if label in codes], dtype=np.uint8)

    def events(self, user: int) -> np.ndarray:
        """A user's events since the build, the latest first."""
        if not self.state.events:
            return self.reader.own["events"][:0]
        events = self.reader.own["events"]
        places = chain_events(events, self.reader.own["users.heads"], user, self.state.events, EVENTS_OF_USER_MAX)
        return events[places]

    def history(self, user: int) -> History:
        """What a user did, newest first: by time, of equal times the later one."""
        stored = self.epoch.history(user)
        events = self.events(user)
        if not len(events):
            return stored
        times = np.concatenate((events["time"], stored.times))
        order = np.argsort(-times, kind="stable")
        return History(
            np.concatenate((events["item"], stored.rows))[order],
            times[order],
            np.concatenate((events["action"].astype(np.uint8), stored.actions))[order],
        )

    def seen(self, user: int, actions: Sequence[str] | None = None) -> np.ndarray:
        """The items, in their present versions, that a user ever acted on: sorted rows (uint32), or for a long history
        a bitmap (uint64 words). Of ``actions`` alone where told; then of the build its history only."""
        codes = None
        if actions is not None:
            known = self.reader.action_codes
            codes = tuple(sorted({known[label] for label in actions if label in known}))
        return self.reader.seen.of(self, user, codes)

    # Budgets

    def budget(self, user: int | None, budget: str, window: int, now: int) -> tuple[int, int]:
        """What is in use of a user's budget, or of the one for all (None), and how much of it is reserved and not
        spent; of ``window`` seconds up to ``now``, 0 for ever."""
        code = self.reader.labels[-1].codes.get(budget)
        if code is None or not self.state.grants:
            return 0, 0
        row, own = everybody(self.epoch) if user is None else user, self.reader.own
        since = now - window if window else -1
        return tally_budget(own["grants"], own["grants.heads"], row, self.state.grants, code, since)

    # Queries

    def of_query(self, query: str, since: int = 0) -> np.ndarray:
        """Events from the place ``since`` on that came of a query, the latest first."""
        own, code = self.reader.own, self.reader.labels[-2].codes.get(plain_query(query))
        if code is None:
            return own["events"][:0]
        return own["events"][
            chain_queries(own["queries.before"], own["queries.heads"], code + 1, self.state.events, since)
        ]

    # Blocks

    def _blocks(self, user: int, since: int = 0) -> np.ndarray:
        """What was blocked for a user, and taken back, the latest first."""
        events = self.reader.own["events"]
        heads = self.reader.own["users.block_heads"]
        return events[chain_events(events, heads, user, self.state.events, EVENTS_MAX, since)]

    def blocked(self, user: int) -> list[np.ndarray]:
        """What is blocked for this user alone: sets of item rows, each sorted (uint32) or a bitmap (uint64 words)."""
        lines = self._blocks(user)
        if not len(lines):
            return []
        blocks = blocks_after(NO_BLOCKS, lines)
        sets = self.reader.values.of(blocks.values, self.items_end)
        if len(blocks.items):
            sets.append(np.unique(self.current(self.epoch.items, blocks.items)))
        return sets

    @property
    def unblocked(self) -> np.ndarray | None:
        """Bitmap (uint64 words) of the item rows that are not blocked for everybody; None while nothing is."""
        if self._unblocked is None and not self.for_all.none:
            words = np.zeros(-(-self.items_end // 64), dtype=np.uint64)
            set_range(words.view(np.uint8), 0, self.items_end)
            for rows in self.reader.values.of(self.for_all.values, self.items_end):
                if rows.dtype == np.uint64:
                    words &= ~rows
                else:
                    unmark(words, rows)
            unmark(words, self.current(self.epoch.items, self.for_all.items))
            self._unblocked = words
        return self._unblocked


def set_range(bits: np.ndarray, start: int, stop: int) -> None:
    """Set the bits ``start`` .. ``stop``."""
    if start >= stop:
        return
    head, tail = -(-start // 8), stop // 8
    if head > tail:
        bits[tail] |= (0xFF << (start & 7)) & (0xFF >> (8 - (stop & 7))) & 0xFF
        return
    bits[head:tail] = 0xFF
    if start & 7:
        bits[head - 1] |= (0xFF << (start & 7)) & 0xFF
    if stop & 7:
        bits[tail] |= 0xFF >> (8 - (stop & 7))
