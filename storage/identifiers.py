"""External ids while a store is built: reading them, indexing a catalogue by them, finding rows for them.

A catalogue's ids are one kind. Lookups are vectorised over a mapped, sorted array of order keys, so that the events'
pass holds no dictionary of ids.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixline.storage.arrays import map_array, write_array
from mixline.storage.catalogue import NO_ROW
from mixline.storage.complaints import Complaints
from mixline.storage.ids import ID_BYTES_MAX, order_keys
from mixline.storage.strings import StringTable

DIGITS_MAX = 20  # of 2^64 - 1
FRESH_KEYS = 1 << 20  # ids gathered before they are merged with the known ones


def kind_of_column(column: pa.Array) -> str:
    """ "u64", "str" or "other" by the type of an id column."""
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return "u64"  # floats too: that is what a data frame makes of whole numbers beside a missing one
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return "str"
    return "other"


def textual_kind(column: pa.Array) -> str:
    """The kind of ids in a format without types, CSV: by the first of them, so that a stray word cannot decide."""
    digits = pc.match_substring_regex(pc.drop_null(column)[:1], r"^(0|[1-9][0-9]{0,19})$")
    return "u64" if pc.all(digits, min_count=1).as_py() else "str"


class IdReader:
    """Turns an id column into order keys and, for strings, their UTF-8; complains about what is no id."""

    def __init__(self, kind: str, path: Path, key: str, complaints: Complaints, *, nulls_pass: bool = False) -> None:
        self.kind, self.path, self.key, self.complaints = kind, path, key, complaints
        self.nulls_pass = nulls_pass

    def read(self, column: pa.Array, first_row: int) -> tuple[np.ndarray, list[bytes] | None]:
        """(keys uint64, UTF-8 of each for strings or None). Bad ids come back as key 0 or b"", after a complaint."""
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        return self._read_u64(column, first_row) if self.kind == "u64" else self._read_str(column, first_row)

    def _read_u64(self, column: pa.Array, first_row: int) -> tuple[np.ndarray, None]:
        if pa.types.is_integer(column.type) and not column.null_count:
            values = column.to_numpy(zero_copy_only=False)
            if values.dtype.kind == "u" or not (values < 0).any():
                return values.astype(np.uint64), None
        elif pa.types.is_string(column.type) and not column.null_count:
            try:
                return pc.cast(column, pa.uint64()).to_numpy(zero_copy_only=False), None
            except pa.ArrowInvalid:
                pass  # some cell is no number: the loop below names each
        keys = np.zeros(len(column), dtype=np.uint64)
        for at, value in enumerate(column.to_pylist()):
            found = whole_number(value)
            if found is None:
                self._complain(value, "is not a whole number from 0 to 2^64 - 1", first_row + at)
            else:
                keys[at] = found
        return keys, None

    def _read_str(self, column: pa.Array, first_row: int) -> tuple[np.ndarray, list[bytes]]:
        raw = []
        for at, value in enumerate(column.to_pylist()):
            one = string_id(value)
            if not one:
                self._complain(value, f"is not a string of 1 to {ID_BYTES_MAX} bytes", first_row + at)
            raw.append(one)
        return order_keys(raw), raw

    def _complain(self, value: object, what: str, row: int) -> None:
        if value is None and self.nulls_pass:
            return
        what = "an id is missing" if value is None else f"an id {what}"
        self.complaints.add(self.path, self.key, what, row=row, value=value)


def whole_number(value: object) -> int | None:
    """The id that a value of an id column stands for, or None; floats count up to 2^53, where they are exact."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdecimal() and len(value) <= DIGITS_MAX else None
    elif isinstance(value, float):
        value = int(value) if 0 <= value < 1 << 53 and value.is_integer() else None
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64
    return value if good else None  # type: ignore[return-value]


def string_id(value: object) -> bytes:
    """The UTF-8 of an id, b"" for what is none; whole numbers count as their digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    one = value.encode() if isinstance(value, str) else b""
    return one if len(one) <= ID_BYTES_MAX else b""


def valid_of(column: pa.Array) -> np.ndarray:
    """Where a column is not null, as bools."""
    return np.asarray(pc.is_valid(column))


class DistinctIds:
    """The different ids of a stream: memory grows with them, not with the stream."""

    def __init__(self) -> None:
        self._keys: np.ndarray = np.zeros(0, dtype=np.uint64)
        self._fresh: list[np.ndarray] = []
        self._fresh_count = 0
        self._strings: set[bytes] | None = None

    def add(self, keys: np.ndarray, raw: list[bytes] | None) -> None:
        if raw is not None:
            self._strings = self._strings or set()
            self._strings.update(raw)
            return
        self._fresh.append(np.unique(keys))
        self._fresh_count += len(self._fresh[-1])
        if self._fresh_count > max(len(self._keys), FRESH_KEYS):
            self._merge()

    def sorted(self) -> tuple[np.ndarray, list[bytes] | None]:
        """All of them in ascending order (strings by their bytes): (keys, UTF-8 or None)."""
        if self._strings is not None:
            ordered = sorted(self._strings - {b""})
            return order_keys(ordered), ordered
        self._merge()
        return self._keys, None

    def _merge(self) -> None:
        self._keys = np.unique(np.concatenate((self._keys, *self._fresh)))
        self._fresh, self._fresh_count = [], 0


def index_ids(folder: Path, path: Path, key: str, kind: str, complaints: Complaints) -> None:
    """Write the sorted keys of a catalogue; complain about duplicates and about strings with equal order keys.

    Holds about 24 bytes a row while it sorts.
    """
    keys = map_array(folder / "keys.npy")
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    write_array(folder / "sorted_keys.npy", ordered)
    write_array(folder / "sorted_rows.npy", order.astype("<u4"))
    for at in np.flatnonzero(ordered[1:] == ordered[:-1]).tolist():
        first, second = int(order[at]), int(order[at + 1])
        if kind == "u64":
            complaints.add(path, key, "duplicate id", row=second + 1, value=f"{keys[second]}, also in row {first + 1}")
            continue
        strings = StringTable.open(folder)
        one, other = strings.raw(first).decode(), strings.raw(second).decode()
        if one == other:
            complaints.add(path, key, "duplicate id", row=second + 1, value=f"{other}, also in row {first + 1}")
        else:
            what = "two ids have the same order key (XXH3-64); rename one of them"
            complaints.add(path, key, what, row=second + 1, value=f"{other} and {one} of row {first + 1}")


class RowFinder:
    """Rows for ids of a finished catalogue, vectorised."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind = kind
        self._keys = map_array(folder / "sorted_keys.npy")
        self._rows = map_array(folder / "sorted_rows.npy")
        self._strings = StringTable.open(folder) if kind == "str" else None

    def rows(self, reader: IdReader, column: pa.Array, first_row: int) -> np.ndarray:
        """uint32 rows, ``NO_ROW`` where no such id exists, and where the id is missing."""
        if self._strings is None:
            return np.where(valid_of(column), self._find(reader.read(column, first_row)[0]), np.uint32(NO_ROW))
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        raw = [string_id(value) for value in column.dictionary.to_pylist()]
        rows = self._find(order_keys(raw))
        for at, row in enumerate(rows.tolist()):
            if row != NO_ROW and self._strings.raw(row) != raw[at]:
                rows[at] = NO_ROW
        rows = np.append(rows, np.uint32(NO_ROW))  # for code -1
        codes = pc.fill_null(column.indices, -1).to_numpy(zero_copy_only=False)
        return rows[codes]

    def _find(self, keys: np.ndarray) -> np.ndarray:
        at = self._keys.searchsorted(keys)
        at[at == len(self._keys)] = 0
        return np.where(self._keys[at] == keys, self._rows[at], np.uint32(NO_ROW))
