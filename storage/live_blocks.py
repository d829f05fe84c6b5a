"""What nobody, or one user, shall see: single items, and all items that have a value in a column.

A block of an item follows it through its versions. A block of a value holds for every row that has it, so for items
that come later too; which rows have a value is looked up once and kept, since a row never changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mixline.storage.columns import MISSING, Column
from mixline.storage.epoch import Epoch
from mixline.storage.live_index import BLOCK
from mixline.storage.live_segments import BLOCK_VALUE, COLUMN_SHIFT, UNBLOCK

KEPT_BYTES_MAX = 1 << 24  # of rows by value, in one process
CHUNK = 1 << 16  # rows looked at together

Value = tuple[int, int]  # number of a column of items, in the order of the specification, and its value or code


class Blocks(NamedTuple):
    """Blocks in force: sorted identities of items (uint32), and values."""

    items: np.ndarray
    values: frozenset[Value]

    @property
    def none(self) -> bool:
        """Whether nothing is blocked."""
        return not len(self.items) and not self.values


NO_BLOCKS = Blocks(np.zeros(0, dtype=np.uint32), frozenset())


def blocks_after(before: Blocks, lines: np.ndarray) -> Blocks:
    """What is in force after ``lines`` of events, the latest first, all of them blocks or taken back."""
    codes = lines["action"] & ((1 << COLUMN_SHIFT) - 1)
    single = codes <= UNBLOCK
    touched, first = np.unique(lines["item"][single], return_index=True)  # the latest word on each
    kept = np.setdiff1d(before.items, touched, assume_unique=True)
    items = np.union1d(kept, touched[codes[single][first] == BLOCK])
    wide = lines[~single][::-1]
    if not len(wide):
        return Blocks(items, before.values)
    values = set(before.values)
    bits = wide["item"].astype(np.uint64) | wide["spare"].astype(np.uint64) << np.uint64(32)
    columns = (wide["action"] >> COLUMN_SHIFT).tolist()
    for column, value, code in zip(columns, bits.view(np.int64).tolist(), codes[~single][::-1].tolist(), strict=True):
        (values.add if code == BLOCK_VALUE else values.discard)((column, value))
    return Blocks(items, frozenset(values))


class ValueRows:
    """Which item rows have a value, as a reader keeps them: sorted rows (uint32), or a bitmap (uint64 words) where that
    is smaller. What is asked for the first time takes one pass over its column."""

    def __init__(self, epoch: Epoch) -> None:
        self.items = epoch.items
        self._names = [*epoch.items.facts.columns]
        self._kept: dict[Value, tuple[int, np.ndarray]] = {}  # the least lately used first
        self._bytes = 0

    def of(self, values: Iterable[Value], end: int) -> list[np.ndarray]:
        """A set for each value, of rows below ``end``."""
        wanted = sorted(values)
        stale: dict[tuple[int, int], list[Value]] = {}
        for one in wanted:
            known = self._kept[one][0] if one in self._kept else 0
            if known < end:
                stale.setdefault((one[0], known), []).append(one)
        for (number, known), some in stale.items():
            self._look(number, some, known, end)
        found = []
        for one in wanted:
            self._kept[one] = self._kept.pop(one)
            known, rows = self._kept[one]
            if known > end:  # a request of an earlier state
                rows = rows[: -(-end // 64)] if rows.dtype == np.uint64 else rows[: np.searchsorted(rows, end)]
            found.append(rows)
        while self._bytes > KEPT_BYTES_MAX and self._kept:
            self._bytes -= self._kept.pop(next(iter(self._kept)))[1].nbytes
        return found

    def _look(self, number: int, some: list[Value], known: int, end: int) -> None:
        column = self.items.columns[self._names[number]]
        sought = np.array([value for _, value in some], dtype=np.int64)
        count, base = self.items.count, self.items.base
        parts = [(known, min(count, end)), (max(known, base), end)]
        rows, values = [np.zeros(0, dtype=np.uint32)], [np.zeros(0, dtype=np.int64)]
        for first, stop in parts:
            for start in range(first, stop, CHUNK):
                some_rows, some_values = having(column, sought, start, min(start + CHUNK, stop))
                rows.append(some_rows)
                values.append(some_values)
        found, owners = np.concatenate(rows), np.concatenate(values)
        order = np.argsort(owners, kind="stable")
        starts, stops = (np.searchsorted(owners[order], sought, side=side).tolist() for side in ("left", "right"))
        for one, first, stop in zip(some, starts, stops, strict=True):
            self._keep(one, found[order[first:stop]], end)

    def _keep(self, one: Value, rows: np.ndarray, end: int) -> None:
        before = self._kept.pop(one, None)
        self._bytes -= before[1].nbytes if before is not None else 0
        if before is not None and before[1].dtype == np.uint64:
            found = np.zeros(-(-end // 64), dtype=np.uint64)
            found[: len(before[1])] = before[1]
            mark(found, rows)
        else:
            found = rows if before is None else np.concatenate((before[1], rows))
            if 32 * len(found) > end:
                listed, found = found, np.zeros(-(-end // 64), dtype=np.uint64)
                mark(found, listed)
        self._kept[one] = end, found
        self._bytes += found.nbytes


def having(column: Column, sought: np.ndarray, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows in ``start`` .. ``stop`` that have one of ``sought`` (int64, ascending), each with the value."""
    if column.offsets is None:
        values = column.values[start:stop]
        found = np.flatnonzero(is_one_of(values, sought))
        return (found + start).astype(np.uint32), values[found].astype(np.int64)
    offsets = column.offsets[start : stop + 1]
    first = int(offsets[0])
    tags = column.values[first : int(offsets[-1])]
    found = np.flatnonzero(is_one_of(tags, sought))
    rows = np.searchsorted(offsets, (found + first).astype(np.uint64), side="right") - 1 + start
    return rows.astype(np.uint32), tags[found].astype(np.int64)


def is_one_of(values: np.ndarray, sought: np.ndarray) -> np.ndarray:
    """Where ``values`` are one of ``sought``."""
    if len(sought) == 1:
        return values == sought.astype(values.dtype)[0]
    if values.dtype != np.uint32:
        return np.isin(values, sought)
    table = np.zeros(int(sought[-1]) + 2, dtype=bool)  # by code; the last for all beyond, missing ones too
    table[sought] = True
    return table[np.minimum(values, np.uint32(len(table) - 1))]


def mark(words: np.ndarray, rows: np.ndarray) -> None:
    """Set the bits of ``rows``."""
    if len(rows) > len(words):
        flags = np.zeros(64 * len(words), dtype=bool)
        flags[rows] = True
        words |= np.packbits(flags, bitorder="little").view(np.uint64)
        return
    np.bitwise_or.at(words.view(np.uint8), rows >> 3, np.uint8(1) << (rows & 7).astype(np.uint8))


def unmark(words: np.ndarray, rows: np.ndarray) -> None:
    """Clear the bits of ``rows``."""
    np.bitwise_and.at(words.view(np.uint8), rows >> 3, ~(np.uint8(1) << (rows & 7).astype(np.uint8)))


assert MISSING["category"] == (1 << 32) - 1  # no code
