"""The user's tables as a stream of Arrow batches, whatever their format.

Nothing is inferred from a sample: CSV cells arrive as strings and JSON values as they are written, so that a wrong type
in row N is found by our own conversion, which can name the row. Memory is one batch.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mixline.storage.complaints import Complaints
from mixline.storage.errors import ExtraMissing
from mixline.storage.spec_checks import nearest

try:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet
except ImportError as error:
    raise ExtraMissing("pyarrow", "build", "mixline build") from error

BATCH_ROWS = 1 << 16
BLOCK_BYTES = 4 << 20  # of input, about, in one batch
CSV_ROW_BYTES = 1 << 20  # Arrow reads CSV in blocks of this size, up to 32 ahead; no row may be longer
STREAM_BYTES = 1 << 20
READ_ERRORS = (OSError, pa.ArrowException, EOFError, UnicodeDecodeError, zlib.error)


@dataclass(frozen=True, slots=True)
class Batch:
    """``first_row`` counts from 1; ``columns`` by name, all of one length."""

    first_row: int
    columns: dict[str, pa.Array]

    @property
    def count(self) -> int:
        return len(next(iter(self.columns.values())))


class Input:
    """One file and the columns wanted of it: ``wanted`` is key path of the specification -> column name."""

    def __init__(self, path: Path, section: str, wanted: dict[str, str], complaints: Complaints) -> None:
        self.path = path
        self.section = section
        self.wanted = wanted
        self.complaints = complaints
        self.names = list(dict.fromkeys(wanted.values()))
        self.textual = path.name.endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz"))

    def batches(self) -> Iterator[Batch]:
        """Stream the file; faults of the file itself become complaints and end the stream."""
        last = 0
        faults_before = self.complaints.total
        try:
            for batch in self._read():
                if batch.count:
                    last = batch.first_row + batch.count - 1
                    yield batch
        except READ_ERRORS as error:
            self._unreadable(error, f" after row {last}" if last else "")
            return
        if not last and self.complaints.total == faults_before:
            self.complaints.add(self.path, f"{self.section}.path", "holds no rows")

    def check(self) -> None:
        """Complain if the file cannot be opened or lacks a wanted column, without reading its rows.

        JSON has no header, and a key may first appear in the last line; there only opening is tried.
        """
        try:
            if self.path.name.endswith(".parquet"):
                with pa.parquet.ParquetFile(self.path, buffer_size=STREAM_BYTES, pre_buffer=False) as file:
                    self._names_present(file.schema_arrow.names)
            elif self.textual:
                with self._open_csv(lambda _: "skip") as reader:
                    self._names_present(reader.schema.names)
            else:
                with self._open_json() as lines:
                    lines.read(1)
        except READ_ERRORS as error:
            self._unreadable(error, "")

    def _unreadable(self, error: Exception, after: str) -> None:
        what = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        if "straddling object" in what:
            what = f"a row is longer than {CSV_ROW_BYTES:,} bytes, or a quote is never closed"
        self.complaints.add(self.path, f"{self.section}.path", f"cannot be read{after}: {what}")

    def _read(self) -> Iterator[Batch]:
        if self.path.name.endswith(".parquet"):
            return self._read_parquet()
        return self._read_csv() if self.textual else self._read_json()

    def _names_present(self, present: list[str]) -> bool:
        good = True
        for key, name in self.wanted.items():
            found = present.count(name)
            if found != 1:
                near = "" if found else nearest(name, present)
                what = (
                    f"the file has {found} columns named {name!r}"
                    if found
                    else f"the file has no column {name!r}{near}"
                )
                self.complaints.add(self.path, key, what)
                good = False
        return good

    def _read_parquet(self) -> Iterator[Batch]:
        first = 1
        with pa.parquet.ParquetFile(self.path, buffer_size=STREAM_BYTES, pre_buffer=False) as file:
            if not self._names_present(file.schema_arrow.names):
                return
            rows = self._parquet_rows(file.metadata)
            for batch in file.iter_batches(rows, columns=self.names, use_threads=False):
                yield Batch(first, {name: batch.column(name) for name in self.names})
                first += len(batch)

    def _parquet_rows(self, facts: pa.parquet.FileMetaData) -> int:
        """Rows of a batch: fewer when they are wide, by what the file says of its columns before encoding."""
        size = 0
        for group in map(facts.row_group, range(facts.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                if column.path_in_schema.split(".")[0] in self.names or column.path_in_schema in self.names:
                    size += column.total_uncompressed_size
        return max(1, min(BATCH_ROWS, BLOCK_BYTES * facts.num_rows // max(1, size)))

    def _open_csv(self, on_bad_line: Any, convert: pa.csv.ConvertOptions | None = None) -> pa.csv.CSVStreamingReader:
        tab = self.path.name.endswith((".tsv", ".tsv.gz"))
        parse = pa.csv.ParseOptions(
            delimiter="\t" if tab else ",", newlines_in_values=True, invalid_row_handler=on_bad_line
        )
        read = pa.csv.ReadOptions(use_threads=False, block_size=CSV_ROW_BYTES)
        return pa.csv.open_csv(self.path, read, parse, convert)

    def _read_csv(self) -> Iterator[Batch]:
        with self._open_csv(lambda _: "skip") as reader:
            if not self._names_present(reader.schema.names):
                return
        bad_rows: deque[int] = deque()

        def bad_line(row: Any) -> str:
            number = row.number - 1  # the parser counts the header as row 1
            bad_rows.append(number)
            what = f"a line has {row.actual_columns} cells instead of {row.expected_columns}"
            self.complaints.add(self.path, f"{self.section}.path", what, row=number, value=row.text[:60])
            return "skip"

        convert = pa.csv.ConvertOptions(
            include_columns=self.names,
            column_types={name: pa.string() for name in self.names},
            strings_can_be_null=True,
            null_values=[""],
        )
        first = 1
        with self._open_csv(bad_line, convert) as reader:
            for batch in reader:
                # Refused lines are not in the batch, and still count as rows: cut it where they lay.
                at = 0
                while bad_rows and bad_rows[0] <= first + len(batch) - at:
                    size = bad_rows.popleft() - first
                    yield Batch(first, {name: batch.column(name).slice(at, size) for name in self.names})
                    at, first = at + size, first + size + 1
                yield Batch(first, {name: batch.column(name).slice(at) for name in self.names})
                first += len(batch) - at

    def _open_json(self) -> Any:
        return gzip.open(self.path, "rb") if self.path.name.endswith(".gz") else self.path.open("rb")

    def _read_json(self) -> Iterator[Batch]:
        decode = msgspec.json.Decoder(dict).decode
        present: set[str] = set()
        first = 1
        with self._open_json() as file:
            while lines := file.readlines(BLOCK_BYTES):
                found = []
                for at, line in enumerate(lines):
                    try:
                        found.append(decode(line))
                    except (msgspec.DecodeError, UnicodeDecodeError) as error:
                        found.append({})
                        key = f"{self.section}.path"
                        self.complaints.add(self.path, key, "not a JSON object", row=first + at, value=str(error))
                present.update(*found)
                columns = {name: self._arrow(name, [one.get(name) for one in found], first) for name in self.names}
                yield Batch(first, columns)
                first += len(lines)
        if first > 1:
            self._names_present(sorted(present))

    def _arrow(self, name: str, values: list, first_row: int) -> pa.Array:
        """Values of one JSON column as Arrow; what does not fit the first value's kind is a complaint and a null."""
        kinds = {_family(value) for value in values if value is not None}
        if len(kinds) > 1:
            expected = next(_family(value) for value in values if value is not None)
            key = next(key for key, wanted in self.wanted.items() if wanted == name)
            for at, value in enumerate(values):
                if value is not None and _family(value) != expected:
                    what = f"wrong type: {_family(value)} in a column of {expected}s"
                    self.complaints.add(self.path, key, what, row=first_row + at, value=value)
                    values[at] = None
            kinds = {expected}
        try:
            if kinds == {"number"} and any(type(value) is float for value in values):
                return pa.array([None if value is None else float(value) for value in values], pa.float64())
            return pa.array(values)
        except (pa.ArrowException, OverflowError):
            try:
                return pa.array(values, pa.uint64())
            except (pa.ArrowException, OverflowError, TypeError):
                # Too large, or lists and objects of mixed content: as text, whose reader will name each bad row.
                return pa.array([None if one is None else str(one) for one in values], pa.string())


def _family(value: object) -> str:
    for kind, name in ((bool, "boolean"), ((int, float), "number"), (str, "string"), (list, "list")):
        if isinstance(value, kind):
            return name
    return "object"
