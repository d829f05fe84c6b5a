"""Features by row: one mapped array per column, so that hydrating hundreds of candidates is a gather.

A missing value has a sentinel of the column's own dtype: NaN (f32), the least int64 (i64), 255 (bool), 0xFFFFFFFF
(category); a row without tags has an empty list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from mixline.storage.errors import UnknownName
from mixline.storage.features import open_interleaved
from mixline.storage.growing import LIVE_TAGS_MAX, Arrays, first_live_row
from mixline.storage.manifest import CatalogueFacts, ColumnKind
from mixline.storage.strings import StringTable

DTYPES = {"f32": "<f4", "i64": "<i8", "bool": "u1", "category": "<u4", "tags": "<u4"}
MISSING: dict[str, float | int | None] = {
    "f32": float("nan"),
    "i64": -(1 << 63),
    "bool": 255,
    "category": 0xFFFFFFFF,
    "tags": None,
}
BLOCKABLE = ("category", "tags", "i64")  # kinds of item columns whose values can be blocked, and name a creator


class Column:
    """One column. ``values`` by row (for tags: codes by ``offsets``, which has count + 1 entries)."""

    def __init__(
        self, folder: Path, name: str, kind: ColumnKind, arrays: Arrays, base: int, values: np.ndarray | None = None
    ) -> None:
        self.name = name
        self.kind = kind
        self.missing = MISSING[kind]
        self.offsets: np.ndarray | None = None
        if values is not None:
            self.values = values
        elif kind == "tags":
            self.values = arrays.heap(folder / f"{name}.npy", LIVE_TAGS_MAX)
            self.offsets = arrays.rows(folder / f"{name}.offsets.npy", base, more=1)
        else:
            self.values = arrays.rows(folder / f"{name}.npy", base)
        self._folder = folder

    @cached_property
    def labels(self) -> list[str]:
        """Label by code, for category and tags; codes are numbered by first appearance in the input."""
        if self.kind not in ("category", "tags"):
            return []
        return StringTable.open(self._folder, f"{self.name}.labels.").to_list()

    @cached_property
    def codes(self) -> dict[str, int]:
        """Code by label."""
        return {label: code for code, label in enumerate(self.labels)}

    def to_list(self, rows: np.ndarray) -> list[object]:
        """Python values of ``rows``, None where missing; categories and tags as their labels."""
        if self.offsets is not None:
            starts = self.offsets[rows].tolist()
            ends = self.offsets[np.asarray(rows, dtype=np.int64) + 1].tolist()
            labels = self.labels
            return [
                [labels[code] for code in self.values[start:end].tolist()]
                for start, end in zip(starts, ends, strict=True)
            ]
        values = self.values[rows].tolist()
        if self.kind == "f32":
            return [None if value != value else value for value in values]
        if self.kind == "i64":
            return [None if value == self.missing else value for value in values]
        if self.kind == "bool":
            return [None if value == self.missing else bool(value) for value in values]
        labels = self.labels
        return [None if code == self.missing else labels[code] for code in values]


class Columns(Mapping[str, Column]):
    """The columns of a catalogue by name, each mapped when first asked for."""

    def __init__(self, epoch: Path, catalogue: str, facts: CatalogueFacts, arrays: Arrays) -> None:
        self._arrays = arrays
        self._base = first_live_row(facts.count)
        self._folder = epoch / "columns" / catalogue
        self._kinds = {name: kind for name, kind in facts.columns.items() if kind in DTYPES}
        if (self._folder / "popularity.npy").exists():
            self._kinds["popularity"] = "f32"
        self._features = [name for name, kind in facts.columns.items() if kind == "f32"]
        self._open: dict[str, Column] = {}

    @cached_property
    def _interleaved(self) -> dict[str, np.ndarray]:
        return open_interleaved(self._folder, self._features, self._arrays, self._base) if self._features else {}

    def __getitem__(self, name: str) -> Column:
        found = self._open.get(name)
        if found is None:
            if name not in self._kinds:
                raise KeyError(name)
            values = self._interleaved.get(name)
            found = Column(self._folder, name, self._kinds[name], self._arrays, self._base, values)
            self._open[name] = found
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def kind_of(self, name: str) -> ColumnKind:
        """The kind of a column without mapping it; :class:`UnknownName` if there is none."""
        if name not in self._kinds:
            raise UnknownName(f"{self._folder}: no column {name!r}; there are {', '.join(self._kinds) or 'none'}")
        return self._kinds[name]
