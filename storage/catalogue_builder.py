"""Items or users from a file, or users from the events: rows in file order, ids indexed, columns and records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import pyarrow as pa

from mixline.storage.arrays import ArrayWriter
from mixline.storage.complaints import Complaints
from mixline.storage.features import interleave
from mixline.storage.fields import Field
from mixline.storage.identifiers import DistinctIds, IdReader, index_ids, kind_of_column, textual_kind, valid_of
from mixline.storage.inputs import Batch, Input
from mixline.storage.manifest import CatalogueFacts, IdKind
from mixline.storage.progress import Progress
from mixline.storage.records import RecordWriter, row_key
from mixline.storage.spec import EventsSpec, TableSpec
from mixline.storage.strings import StringTableWriter
from mixline.storage.text_builder import TextBuilder

ROWS_MAX = 0xFFFFFFFE


class Table(Protocol):
    """Rows of items or users: ``textual`` where every cell is a string."""

    path: Path
    textual: bool

    def batches(self) -> Iterator[Batch]:
        """Arrow batches in the order of the rows."""
        ...


class CatalogueBuilder:
    """Writes one catalogue into the folder of a coming epoch."""

    def __init__(self, folder: Path, name: str, records: RecordWriter, complaints: Complaints) -> None:
        self.folder, self.name = folder, name
        self.ids = folder / "ids" / name
        self.records, self.complaints = records, complaints
        self.text: TextBuilder | None = None  # takes what is searched
        self.count = 0
        self.kind = "u64"
        self._keys = ArrayWriter(self.ids / "keys.npy", "<u8")
        self._strings: StringTableWriter | None = None

    def from_table(self, table: Table, spec: TableSpec, progress: Progress) -> CatalogueFacts:
        """Read the table to its end; the caller settles the complaints."""
        path = table.path
        columns = self.folder / "columns" / self.name
        fields = [
            Field(columns, name, kind, path, f"{self.name}.columns.{name}", self.complaints)
            for name, kind in spec.columns.items()
        ]
        progress.phase(f"reading {self.name}")
        if spec.id_kind is not None:
            self._take_kind(spec.id_kind)
        for batch in table.batches():
            if spec.id_kind is None and not self.count:
                self._decide_kind(batch.columns[spec.id], table)
            self._append(batch, path, spec.id, fields)
            progress.advance(batch.count)
        for field in fields:
            field.close()
        interleave(columns, [name for name, kind in spec.columns.items() if kind == "f32"])
        self._close(path, f"{self.name}.id")
        return CatalogueFacts(self.count, self.kind, dict(spec.columns))  # type: ignore[arg-type]

    def from_events(self, path: Path, spec: EventsSpec, progress: Progress) -> CatalogueFacts:
        """The distinct users of the events, in ascending order of id (strings by their bytes)."""
        table = Input(path, "events", {"events.user": spec.user}, self.complaints)
        known = DistinctIds()
        reader: IdReader | None = None
        progress.phase("finding users in the events")
        for batch in table.batches():
            column = batch.columns[spec.user]
            if reader is None:
                if spec.user_kind is None:
                    self._decide_kind(column, table, "events.user")
                else:
                    self._take_kind(spec.user_kind)
                reader = IdReader(self.kind, path, "events.user", self.complaints, nulls_pass=spec.unknown == "skip")
            keys, raw = reader.read(column, batch.first_row)
            known.add(keys[valid_of(column)], raw)
            progress.advance(batch.count)
        keys, raw = known.sorted()
        if self.kind == "str":
            self._write_strings(keys, raw or [])
        else:
            self._keys.append(keys)
            self.count = len(keys)
        self._close(path, "events.user")
        return CatalogueFacts(self.count, self.kind, {})  # type: ignore[arg-type]

    def empty(self, kind: IdKind) -> CatalogueFacts:
        """A catalogue without rows, for ids of ``kind``: a store without users, until some come while it serves."""
        self._take_kind(kind)
        self._close(self.folder, self.name)
        return CatalogueFacts(0, kind, {})

    def _decide_kind(self, ids: pa.Array, table: Table, key: str | None = None) -> None:
        kind = textual_kind(ids) if table.textual else kind_of_column(ids)
        if kind == "other":
            what = f"ids are {ids.type}; they must be whole numbers or strings"
            self.complaints.add(table.path, key or f"{self.name}.id", what)
            kind = "u64"
        self._take_kind(kind)

    def _take_kind(self, kind: str) -> None:
        self.kind = kind
        if kind == "str":
            self._strings = StringTableWriter(self.ids)

    def _append(self, batch: Batch, path: Path, column: str, fields: list[Field]) -> None:
        reader = IdReader(self.kind, path, f"{self.name}.id", self.complaints)
        keys, raw = reader.read(batch.columns[column], batch.first_row)
        first = self.count
        if raw is not None:
            self._write_strings(keys, raw)
        else:
            self._keys.append(keys)
            self.count += len(keys)
        if self.count > ROWS_MAX:
            self.complaints.add(reader.path, f"{self.name}.path", f"more than {ROWS_MAX} rows")
            self.complaints.settle()
        values = [field.append(batch.columns[field.name], batch.first_row) for field in fields]
        if self.text is not None:
            found = {field.name: one for field, one in zip(fields, values, strict=True) if field.kind == "text"}
            self.text.add(found, batch.count)
        encode = msgspec.msgpack.Encoder().encode
        rows = zip(*values, strict=True) if values else ()
        self.records.put(
            self.name, ((row_key(row), encode(record)) for row, record in enumerate(rows, first)), append=True
        )

    def _write_strings(self, keys: np.ndarray, raw: list[bytes]) -> None:
        assert self._strings is not None
        self._keys.append(keys)
        self._strings.append(np.array([len(one) for one in raw]), np.frombuffer(b"".join(raw), dtype=np.uint8))
        table = "item_ids" if self.name == "items" else "user_ids"
        pairs = ((one, row.to_bytes(4, "little")) for row, one in enumerate(raw, self.count) if one)
        self.records.put(table, pairs, append=False)
        self.count += len(raw)

    def _close(self, path: Path, key: str) -> None:
        self._keys.close()
        if self._strings is not None:
            self._strings.close()
        # Bad ids all read as one key, and lines left out shift the rows: no search for duplicates then.
        if not self.complaints.about(path, key, f"{key.split('.')[0]}.path"):
            index_ids(self.ids, path, key, self.kind, self.complaints)
