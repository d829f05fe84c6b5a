"""Items or users: external id to dense row and back, order keys, columns, records.

Integer ids are found in a mapped sorted array (vectorised, no decoding at start); string ids in LMDB, exactly, by their
bytes. Order keys break ties by what an item is called, never by the row where it happens to lie.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from mixline.storage.arrays import map_array
from mixline.storage.columns import Columns
from mixline.storage.errors import UnknownId, UnknownName
from mixline.storage.growing import LIVE_BYTES_MAX, Arrays, first_live_row
from mixline.storage.manifest import CatalogueFacts
from mixline.storage.records import Record, RecordStore
from mixline.storage.strings import StringTable

NO_ROW = 0xFFFFFFFF
U64_MAX = (1 << 64) - 1


class Catalogue:
    """``name`` is "items" or "users". Rows that came after the build have numbers from ``base`` on."""

    def __init__(self, epoch: Path, name: str, facts: CatalogueFacts, records: RecordStore, arrays: Arrays) -> None:
        self.name = name
        self.arrays = arrays
        self.base = first_live_row(facts.count)
        self.facts = facts
        self.count = facts.count
        self.id_kind = facts.id_kind
        self.columns = Columns(epoch, name, facts, arrays)
        self.late_record: Callable[[int], Record] | None = None  # of a row that came after the build
        self._folder = epoch / "ids" / name
        self._records = records
        self._ids_table = "item_ids" if name == "items" else "user_ids"
        self._order = {column: at for at, column in enumerate(facts.columns)}

    @cached_property
    def keys(self) -> np.ndarray:
        """Order key (uint64) by row."""
        return self.arrays.rows(self._folder / "keys.npy", self.base)

    @cached_property
    def _sorted_keys(self) -> np.ndarray:
        return map_array(self._folder / "sorted_keys.npy")

    @cached_property
    def _sorted_view(self) -> memoryview:
        return self._sorted_keys.data

    @cached_property
    def _sorted_rows(self) -> np.ndarray:
        return map_array(self._folder / "sorted_rows.npy")

    @cached_property
    def strings(self) -> StringTable:
        """The ids of a store whose ids are strings, by row."""
        offsets = self.arrays.rows(self._folder / "offsets.npy", self.base, more=1)
        return StringTable(offsets, self.arrays.heap(self._folder / "bytes.npy", LIVE_BYTES_MAX))

    def row_of(self, external_id: int | str) -> int:
        """The row of one id; :class:`UnknownId` if there is none or it is of the other kind."""
        if self.id_kind == "str":
            found = None
            if isinstance(external_id, str) and external_id:
                found = self._records.get(self._ids_table, external_id.encode("utf-8", "surrogatepass")[:511])
            if found is None:
                raise UnknownId(self.name, external_id)
            return int.from_bytes(found, "little")
        if isinstance(external_id, (int, np.integer)) and 0 <= external_id <= U64_MAX:
            keys = self._sorted_view  # of one id NumPy would make more objects than bisection takes steps
            at = bisect_left(keys, external_id)
            if at < self.count and keys[at] == external_id:
                return int(self._sorted_rows[at])
        raise UnknownId(self.name, external_id)

    def rows_of(self, ids: Sequence | np.ndarray) -> np.ndarray:
        """Rows (uint32) of many ids, ``0xFFFFFFFF`` where unknown."""
        if self.id_kind == "u64" and isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
            rows = self.rows_of_keys(ids.astype(np.uint64, copy=False))
            if ids.dtype.kind == "i":
                rows[ids < 0] = NO_ROW
            return rows
        if self.id_kind == "u64" and all(type(one) is int and 0 <= one <= U64_MAX for one in ids):
            return self.rows_of_keys(np.array(ids, dtype=np.uint64))
        rows = np.full(len(ids), NO_ROW, dtype=np.uint32)
        for at, one in enumerate(ids):
            try:
                rows[at] = self.row_of(one)
            except UnknownId:
                continue
        return rows

    def rows_of_keys(self, keys: np.ndarray) -> np.ndarray:
        """Rows (uint32) of the build by order key (uint64), ``0xFFFFFFFF`` where there is none."""
        if not self.count:
            return np.full(len(keys), NO_ROW, dtype=np.uint32)
        at = self._sorted_keys.searchsorted(keys)
        at[at == self.count] = 0
        return np.where(self._sorted_keys[at] == keys, self._sorted_rows[at], np.uint32(NO_ROW))

    def ids_of(self, rows: np.ndarray) -> np.ndarray | list[str]:
        """External ids of ``rows``: uint64 array, or list of str."""
        return self.keys[rows] if self.id_kind == "u64" else self.strings.take(rows)

    def id_of(self, row: int) -> int | str:
        return int(self.keys[row]) if self.id_kind == "u64" else self.strings.raw(row).decode()

    def stored_record(self, row: int) -> Record:
        """The values of a row in the order of the specification's columns."""
        if row >= self.base and self.late_record is not None:
            return self.late_record(row)
        return self._records.record(self.name, row)

    def record(self, row: int) -> dict[str, object]:
        """Every column of the specification for one row, None where missing: one LMDB read."""
        if not 0 <= row < self.count and (row < self.base or self.late_record is None):
            raise UnknownId(self.name, f"row {row}")
        return dict(zip(self._order, self.stored_record(row), strict=False))

    def records(self, rows: np.ndarray, fields: Sequence[str]) -> dict[str, list]:
        """Values by field for ``rows``, None where missing. LMDB is read only for text and bytes."""
        found: dict[str, list] = {}
        stored = [name for name in fields if name in self._order and name not in self.columns]
        if stored:
            records = [self.stored_record(int(row)) for row in rows]
        for name in fields:
            if name in self.columns:
                found[name] = self.columns[name].to_list(rows)
            elif name in self._order:
                at = self._order[name]
                found[name] = [record[at] for record in records]
            else:
                raise UnknownName(f"{self.name}: no field {name!r}; there are {', '.join(self.fields) or 'none'}")
        return found

    @property
    def fields(self) -> list[str]:
        """All names that :meth:`records` knows."""
        return list(dict.fromkeys([*self._order, *self.columns]))
