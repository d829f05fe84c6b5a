"""The user's tables as a stream of Arrow batches, whatever their format.

Nothing is inferred from a sample: CSV cells arrive as strings and JSON values as they are written, so that a wrong type
in row N is found by our own conversion, which can name the row. Memory is one batch.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mixline.storage.complaints import Complaints
from mixline.storage.errors import ExtraMissing

try:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet
except ImportError as error:
    raise ExtraMissing("pyarrow", "build", "mixline build") from error

BATCH_ROWS = 1 << 16
CSV_BLOCK_BYTES = 4 << 20
STREAM_BYTES = 1 << 20


class Batch(NamedTuple):
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
        rows = 0
        try:
            for columns in self._read():
                batch = Batch(rows + 1, columns)
                rows += batch.count
                if batch.count:
                    yield batch
        except (OSError, pa.ArrowException, EOFError, UnicodeDecodeError) as error:
            what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            after = f" after row {rows}" if rows else ""
            self.complaints.add(self.path, f"{self.section}.path", f"cannot be read{after}: {what}")
            return
        if not rows and not self.complaints:
            self.complaints.add(self.path, f"{self.section}.path", "holds no rows")

    def _read(self) -> Iterator[dict[str, pa.Array]]:
        if self.path.name.endswith(".parquet"):
            return self._read_parquet()
        return self._read_csv() if self.textual else self._read_json()

    def _missing(self, present: list[str]) -> bool:
        from mixline.storage.spec import nearest

        missing = {key: name for key, name in self.wanted.items() if name not in present}
        for key, name in missing.items():
            self.complaints.add(self.path, key, f"the file has no column {name!r}{nearest(name, present)}")
        return bool(missing)

    def _read_parquet(self) -> Iterator[dict[str, pa.Array]]:
        with pa.parquet.ParquetFile(self.path, buffer_size=STREAM_BYTES, pre_buffer=False) as file:
            if self._missing(file.schema_arrow.names):
                return
            for batch in file.iter_batches(BATCH_ROWS, columns=self.names, use_threads=False):
                yield {name: batch.column(name) for name in self.names}

    def _read_csv(self) -> Iterator[dict[str, pa.Array]]:
        tab = self.path.name.endswith((".tsv", ".tsv.gz"))
        parse = pa.csv.ParseOptions(
            delimiter="\t" if tab else ",",
            newlines_in_values=True,
            invalid_row_handler=self._bad_line,
        )
        read = pa.csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES)
        with pa.csv.open_csv(self.path, read, parse) as reader:
            if self._missing(reader.schema.names):
                return
        convert = pa.csv.ConvertOptions(
            include_columns=self.names,
            column_types={name: pa.string() for name in self.names},
            strings_can_be_null=True,
            null_values=[""],
        )
        self.lines_bad = 0
        with pa.csv.open_csv(self.path, read, parse, convert) as reader:
            for batch in reader:
                yield {name: batch.column(name) for name in self.names}

    def _bad_line(self, row: Any) -> str:
        # Called twice for a line of the first block (once while the header is read); the set of rows keeps one.
        what = f"has {row.actual_columns} cells instead of {row.expected_columns}"
        seen: set[int] = self.__dict__.setdefault("_bad_rows", set())
        if row.number is None or row.number not in seen:
            seen.add(row.number)
            number = None if row.number is None else row.number - 1
            self.complaints.add(self.path, f"{self.section}.path", f"a line {what}", row=number, value=row.text[:60])
        return "skip"

    def _read_json(self) -> Iterator[dict[str, pa.Array]]:
        opener = gzip.open if self.path.name.endswith(".gz") else open
        decode = msgspec.json.Decoder(dict).decode
        present: set[str] = set()
        first = 1
        with opener(self.path, "rb") as file:
            while lines := list(islice(file, BATCH_ROWS)):
                found = []
                for at, line in enumerate(lines):
                    try:
                        found.append(decode(line))
                    except (msgspec.DecodeError, UnicodeDecodeError) as error:
                        found.append({})
                        key = f"{self.section}.path"
                        self.complaints.add(self.path, key, "not a JSON object", row=first + at, value=str(error))
                present.update(*found)
                yield {name: self._arrow(name, [one.get(name) for one in found], first) for name in self.names}
                first += len(lines)
        if first > 1:
            self._missing(sorted(present))

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
            return pa.array(values, pa.uint64()) if kinds == {"number"} else pa.array([str(one) for one in values])


def _family(value: object) -> str:
    for kind, name in ((bool, "boolean"), ((int, float), "number"), (str, "string"), (list, "list")):
        if isinstance(value, kind):
            return name
    return "object"
