"""Typed columns while they are built: each batch goes to the column's array and, as Python values, into the records.

A value that does not fit its kind is a complaint with its row and counts as missing from there on, so that one run
finds all of them.
"""

from __future__ import annotations

import binascii
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixline.storage.arrays import ArrayWriter
from mixline.storage.columns import DTYPES, MISSING
from mixline.storage.complaints import Complaints
from mixline.storage.strings import StringTableWriter
from mixline.storage.values import PARSE


class Field:
    """One column of the specification; ``append`` returns the values for the records."""

    def __init__(self, folder: Path, name: str, kind: str, path: Path, key: str, complaints: Complaints) -> None:
        self.name, self.kind, self.path, self.key = name, kind, path, key
        self.complaints = complaints
        self._parse, self._wrong = PARSE[kind]
        self._values = ArrayWriter(folder / f"{name}.npy", DTYPES[kind]) if kind in DTYPES else None
        self._offsets = ArrayWriter(folder / f"{name}.offsets.npy", "<u8") if kind == "tags" else None
        self._end = 0
        if self._offsets is not None:
            self._offsets.append(np.zeros(1, dtype=np.uint64))
        self._labels = StringTableWriter(folder, f"{name}.labels.") if kind in ("category", "tags") else None
        self._codes: dict[str, int] = {}

    def append(self, column: pa.Array, first_row: int) -> list:
        values = self._parsed(column, first_row)
        if self.kind == "f32":
            column32 = self._float32(np.array([np.nan if one is None else one for one in values]), first_row)
            self._write(column32)
            return [None if one != one else one for one in column32.tolist()]
        if self.kind in ("i64", "bool"):
            missing = MISSING[self.kind]
            self._write(np.array([missing if one is None else one for one in values], dtype=DTYPES[self.kind]))
        elif self.kind == "category":
            missing = MISSING[self.kind]
            codes = [missing if one is None else self._code(one) for one in values]
            self._write(np.array(codes, dtype=np.uint32))
        elif self.kind == "tags":
            self._write(np.array([self._code(tag) for tags in values for tag in tags or ()], dtype=np.uint32))
            ends = self._end + np.cumsum([len(tags or ()) for tags in values], dtype=np.int64)
            self._end = int(ends[-1])
            assert self._offsets is not None
            self._offsets.append(ends.astype(np.uint64))
        return values

    def close(self) -> None:
        for writer in (self._values, self._offsets):
            if writer is not None:
                writer.close()
        if self._labels is not None:
            self._labels.extend(list(self._codes))
            self._labels.close()

    def _float32(self, values: np.ndarray, first_row: int) -> np.ndarray:
        with np.errstate(over="ignore"):
            found = values.astype("<f4")
        for at in np.flatnonzero(np.isinf(found) & np.isfinite(values)).tolist():
            what = f"column {self.name!r} is f32; the value is beyond its range"
            self.complaints.add(self.path, self.key, what, row=first_row + at, value=float(values[at]))
        return found

    def _write(self, values: np.ndarray) -> None:
        assert self._values is not None
        self._values.append(values)

    def _code(self, label: str) -> int:
        return self._codes.setdefault(label, len(self._codes))

    def _parsed(self, column: pa.Array, first_row: int) -> list:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if self.kind == "f32" and (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            return pc.cast(column, pa.float64(), safe=False).to_pylist()
        values = column.to_pylist()
        for at, value in enumerate(values):
            if value is None:
                continue
            try:
                values[at] = self._parse(value)
            except (ValueError, TypeError, OverflowError, binascii.Error):
                values[at] = None
                what = f"column {self.name!r} is {self.kind}; the value is {self._wrong}"
                self.complaints.add(self.path, self.key, what, row=first_row + at, value=value)
        return values
