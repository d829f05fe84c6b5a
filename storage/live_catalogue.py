"""One catalogue as the writer has it: rows appended behind the watermark, and what makes them seen once it is released.

Staging writes whole rows where no reader looks yet, so a batch that turns out bad, or a log that cannot be written,
costs nothing: the counts go back. Only :meth:`LiveCatalogue.release` changes words that readers follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mixline.storage.catalogue import NO_ROW, Catalogue
from mixline.storage.codes import BLOCK_ROWS, encode
from mixline.storage.columns import MISSING, Column
from mixline.storage.errors import BadOperation, LiveFull
from mixline.storage.growing import LIVE_ROWS_MAX, Tail
from mixline.storage.ids import is_id, look_up, order_keys, table_key
from mixline.storage.live_index import find_ids, newest_versions, place_of_id, put_id, version_rows
from mixline.storage.live_labels import LiveLabels
from mixline.storage.live_segments import Segment
from mixline.storage.matrices import bitmap
from mixline.storage.records import Record
from mixline.storage.spaces import Space
from mixline.storage.values import PARSE

WORD_ROWS = 64  # of a bitmap
encode_record = msgspec.msgpack.Encoder().encode


class Mark(NamedTuple):
    """How far staging has come."""

    rows: int
    deaths: int


class LiveCatalogue:
    """Appends versions of items or users."""

    def __init__(
        self,
        catalogue: Catalogue,
        spaces: Mapping[str, Space],
        segments: dict[str, Segment],
        tails: dict[str, Tail],
        labels: LiveLabels,
    ) -> None:
        self.catalogue, self.labels = catalogue, labels
        self.name, self.base, self.kinds = catalogue.name, catalogue.base, catalogue.facts.columns
        self._own = {name.split(".", 1)[1]: one for name, one in segments.items() if name.startswith(f"{self.name}.")}
        self._segments, self._tails = segments, tails
        side = self.name[:-1]
        self._spaces = {
            name: (space, f"spaces.{name}.{self.name}", f"spaces.{name}.{side}_norms")
            for name, space in spaces.items()
            if f"spaces.{name}.{self.name}" in segments
        }
        self.count = 0  # of live rows, published
        self.deaths: dict[int, None] = {}  # staged, in order
        self.deaths_count = 0  # published
        self.forgotten: set[int] = set()  # rows of the build that are nobody's any more
        self.dead = np.zeros(self.base + LIVE_ROWS_MAX, dtype=bool)
        self._identities: list[int] = []  # staged, by row from ``count`` on
        self._fresh: dict[int | str, int] = {}  # staged: row by new id
        self._latest: dict[int, list[int]] = {}  # staged: versions by identity

    def open(self, count: int, deaths: int) -> None:
        """Go on from what a state published."""
        self.count = count
        self.deaths_count = deaths
        self.dead[self._own["deaths"].values[:deaths]] = True

    @property
    def staged(self) -> int:
        """Live rows, those that are staged too."""
        return self.count + len(self._identities)

    # What is there

    def identity(self, one: int | str) -> int:
        """The row that stands for an id through all its versions, NO_ROW for an unknown one."""
        found = self._fresh.get(one)
        if found is not None:
            return found
        return int(self.identities([one])[0])

    def identities(self, ids: list | np.ndarray) -> np.ndarray:
        """The same for many (uint32)."""
        rows = self.catalogue.rows_of(ids)
        if self.forgotten:
            rows = np.where(np.isin(rows, [*self.forgotten]), np.uint32(NO_ROW), rows)
        missing = np.flatnonzero(rows == NO_ROW)
        if len(missing) and (self.count or self._fresh):
            rows = rows.copy()
            if isinstance(ids, np.ndarray) and ids.dtype.kind == "u" and self.catalogue.id_kind == "u64":
                keys = ids[missing].astype(np.uint64)
                rows[missing] = find_ids(self._own["table"].values, keys, self.base + self.count)
                missing = missing[rows[missing] == NO_ROW] if self._fresh else missing[:0]
            for at in missing.tolist():
                one = ids[at]
                one = int(one) if isinstance(one, np.integer) else one
                fresh = self._fresh.get(one)
                rows[at] = self._in_table(one) if fresh is None else fresh
        return rows

    def _in_table(self, one: int | str) -> int:
        if not is_id(self.catalogue.id_kind, one):
            return NO_ROW
        row = look_up(self._own["table"].values, one, self.base + self.count)
        if row != NO_ROW and self.catalogue.id_of(row) != one:
            raise BadOperation(f"{self.name}: id {one!r} and {self.catalogue.id_of(row)!r} have one hash; rename one")
        return row

    def current(self, identity: int) -> int:
        """The newest version, NO_ROW where it was deleted."""
        versions = self._latest.get(identity)
        if versions:
            row = versions[-1]
        else:
            end = self.base + self.count
            one = np.array([identity], dtype=np.uint32)
            row = int(newest_versions(one, self._own["newest"].values, self._own["before"].values, self.base, end)[0])
        gone = row == NO_ROW or self.dead[row] or row in self.deaths
        return NO_ROW if gone else row

    # Staging

    def mark(self) -> Mark:
        """Where to go back to."""
        return Mark(self.staged, len(self.deaths))

    def back(self, mark: Mark) -> None:
        """Forget what was staged since ``mark``."""
        kept = mark.rows - self.count
        for row, identity in enumerate(self._identities[kept:], self.base + mark.rows):
            self._latest[identity].remove(row)
            if identity == row:
                self._fresh = {one: known for one, known in self._fresh.items() if known != row}
        del self._identities[kept:]
        self.deaths = dict.fromkeys([*self.deaths][: mark.deaths])

    def upsert(self, one: int | str, columns: dict[str, Any], vectors: dict[str, Any]) -> int:
        """Stage a whole new version; returns its identity."""
        self.check_id(one)
        identity = self.identity(one)
        record = [self._parsed(name, kind, columns.get(name)) for name, kind in self.kinds.items()]
        return self._version(one, identity, None, record, columns, vectors)

    def patch(self, one: int | str, columns: dict[str, Any], vectors: dict[str, Any]) -> int:
        """Stage a version that differs from the newest in what is named."""
        identity = self.identity(one)
        before = NO_ROW if identity == NO_ROW else self.current(identity)
        if before == NO_ROW:
            raise BadOperation(f"{self.name[:-1]} {one!r}: there is none to patch; upsert it")
        record = self.catalogue.stored_record(before) or [None] * len(self.kinds)
        for at, (name, kind) in enumerate(self.kinds.items()):
            if name in columns:
                record[at] = self._parsed(name, kind, columns[name])
        return self._version(one, identity, before, record, columns, vectors)

    def delete(self, one: int | str) -> None:
        """Stage the end of an item."""
        identity = self.identity(one)
        row = NO_ROW if identity == NO_ROW else self.current(identity)
        if row == NO_ROW:
            raise BadOperation(f"{self.name[:-1]} {one!r}: there is none to delete")
        self._die(row)

    def _version(
        self,
        one: int | str,
        identity: int,
        before: int | None,
        record: Record,
        columns: dict[str, Any],
        vectors: dict[str, Any],
    ) -> int:
        unknown = [name for name in columns if name not in self.kinds]
        if unknown:
            raise BadOperation(f"{self.name[:-1]} {one!r}: no column {unknown[0]!r}; there are {', '.join(self.kinds)}")
        at = self.staged
        if at >= LIVE_ROWS_MAX:
            raise LiveFull(self.name, at + 1, LIVE_ROWS_MAX)
        row = self.base + at
        self._write_id(one, at)
        values = dict(zip(self.kinds, record, strict=True))
        for name, kind in self.kinds.items():
            if kind not in ("text", "bytes", "f32"):
                self._write_column(self.catalogue.columns[name], at, values[name])
        self._write_features(at, values)
        self._write_vectors(one, at, before, vectors)
        self._write_record(at, record)
        self._place("origin", at, row if identity == NO_ROW else identity)
        self._own["before"].take(at)
        previous = NO_ROW if identity == NO_ROW else self.current(identity)
        if previous != NO_ROW:
            self._die(previous)
        if identity == NO_ROW:
            identity = row
            self._fresh[one] = row
        self._identities.append(identity)
        self._latest.setdefault(identity, []).append(row)
        return identity

    def _die(self, row: int) -> None:
        self._own["deaths"].take(self.deaths_count + len(self.deaths))
        self.deaths[row] = None

    def check_id(self, one: object) -> None:
        """:class:`BadOperation` for what cannot be an id here."""
        if not is_id(self.catalogue.id_kind, one):
            wanted = "a whole number from 0 to 2^64 - 1" if self.catalogue.id_kind == "u64" else "a string"
            raise BadOperation(f"{self.name[:-1]} id {one!r:.80}: must be {wanted}, as in the store")

    def _parsed(self, name: str, kind: str, value: Any) -> Any:
        if value is None:
            return None
        parse, wrong = PARSE[kind]
        try:
            found = parse(value)
            if kind == "f32":
                with np.errstate(over="ignore"):
                    single = float(np.float32(found))  # type: ignore[arg-type]
                if np.isinf(single) and np.isfinite(found):  # type: ignore[call-overload]
                    raise OverflowError
                return None if single != single else single
            return found
        except (ValueError, TypeError, OverflowError) as error:
            raise BadOperation(f"column {name!r} is {kind}; the value {value!r:.80} is {wrong}") from error

    # What lies there, to be written over

    def segment(self, name: str) -> np.ndarray:
        """The entries of late rows in one of the files."""
        return self._segments[name].values

    def heap_base(self, heap: str) -> int:
        """The place of a heap's first late entry in the whole array."""
        return self._tails[heap].base

    def span(self, heap: str, offsets: str, at: int) -> np.ndarray:
        """What a late row has in a heap."""
        start, stop = (int(one) - self.heap_base(heap) for one in self.segment(offsets)[at : at + 2])
        return self.segment(heap)[start:stop]

    def matrices(self) -> list[tuple[str, str, int]]:
        """The files of vectors and norms, and how many rows each one has."""
        each = [(matrix, norms, space.vectors) for space, matrix, norms in self._spaces.values()]
        return each if self.name == "users" else [(matrix, norms, 1) for matrix, norms, _ in each]

    def _place(self, name: str, at: int, value: Any) -> None:
        segment = self._own[name]
        segment.take(at)
        segment.values[at] = value

    def _tail(self, name: str, at: int, value: Any, count: int = 1) -> None:
        segment = self._segments[name]
        segment.take(at, count)
        segment.values[at : at + count] = value

    def _append(self, heap: str, offsets: str, at: int, data: np.ndarray) -> None:
        """Add a row of varying length: ``offsets`` hold places in the whole array of the heap."""
        base = self._tails[heap].base
        start = int(self._segments[offsets].values[at]) - base if at else 0
        if len(data):
            self._tail(heap, start, data, len(data))
        self._tail(offsets, at, np.array([base + start, base + start + len(data)], dtype=np.uint64), 2)

    def _write_id(self, one: int | str, at: int) -> None:
        ids = f"ids.{self.name}."
        if isinstance(one, str):
            raw = one.encode("utf-8", "surrogatepass")
            self._append(f"{ids}bytes", f"{ids}offsets", at, np.frombuffer(raw, dtype=np.uint8))
            self._tail(f"{ids}keys", at, order_keys([raw]))
        else:
            self._tail(f"{ids}keys", at, np.uint64(one))
        self._own["table"].take_at(np.array([place_of_id(self._own["table"].values, table_key(one))]))

    def _write_column(self, column: Column, at: int, value: Any) -> None:
        name = f"columns.{self.name}.{column.name}"
        if column.kind == "tags":
            codes = [self.labels.code(self.name, column, tag) for tag in value or ()]
            self._append(name, f"{name}.offsets", at, np.array(codes, dtype=np.uint32))
            return
        if column.kind == "category" and value is not None:
            value = self.labels.code(self.name, column, value)
        self._tail(name, at, column.missing if value is None else value)

    def _write_features(self, at: int, values: dict[str, Any]) -> None:
        names = [name for name, kind in self.kinds.items() if kind == "f32"]
        if names:
            row = np.array([np.nan if values[name] is None else values[name] for name in names], dtype=np.float32)
            self._tail(f"columns.{self.name}.interleaved.f32", at, row)
        if "popularity" in self.catalogue.columns and "popularity" not in self.kinds:
            self._tail(f"columns.{self.name}.popularity", at, np.float32(0))

    def _write_vectors(self, one: int | str, at: int, before: int | None, vectors: dict[str, Any]) -> None:
        unknown = [name for name in vectors if name not in self._spaces]
        if unknown:
            have = ", ".join(self._spaces) or "none"
            raise BadOperation(f"{self.name[:-1]} {one!r}: no space {unknown[0]!r} of {self.name}; there are {have}")
        for name, (space, matrix, norms) in self._spaces.items():
            each = 1 if self.name == "items" else space.vectors
            given = vectors.get(name)
            if given is not None:
                rows = given_rows(given, each, space.dim, f"{self.name[:-1]} {one!r}: vector of space {name!r}")
            elif before is not None:
                whole = space.all_items if self.name == "items" else space.users
                assert whole is not None
                rows = np.array(whole[before * each : (before + 1) * each])
            else:
                rows = np.full((each, space.dim), np.nan, dtype=np.float32)
            target = self._segments[matrix]
            self._tail(matrix, at * each, rows if target.values.ndim == 2 else rows[:, 0], each)
            self._tail(norms, at * each, np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)), each)

    def _write_record(self, at: int, record: Record) -> None:
        raw = np.frombuffer(encode_record(record), dtype=np.uint8)
        spans, heap = self._own["spans"], self._own["records"]
        start = sum(spans.values[at - 1].tolist()) if at else 0
        heap.take(start, len(raw))
        heap.values[start : start + len(raw)] = raw
        spans.take(at)
        spans.values[at] = start, len(raw)

    # Release

    def code(self) -> None:
        """Code the vectors of staged items, by whole words of their bitmap: a block that is begun is written again."""
        first, stop = self.count // WORD_ROWS * WORD_ROWS, self.staged
        if self.name != "items" or stop == self.count:
            return
        for name, (space, matrix, _) in self._spaces.items():
            if space.all_codes is None:
                continue
            rows = np.array(self._segments[matrix].values[first:stop].reshape(stop - first, space.dim))
            given = ~np.isnan(rows[:, 0])
            rows[~given] = 0
            coded, block = encode(rows, space.metric, space.frame), first // BLOCK_ROWS
            self._tail(f"{matrix}_int8", block, coded.codes.reshape(len(coded.codes), -1), len(coded.codes))
            self._tail(f"{matrix}_int8_scales", first, coded.scales, len(coded.scales))
            self._tail(f"{matrix}_int8_bounds", block, coded.bounds, len(coded.bounds))
            if f"{matrix}_int8_norms" in self._segments:
                self._tail(f"{matrix}_int8_norms", first, space.frame.lengths(rows), len(rows))
            words = bitmap(given)
            self._tail(f"spaces.{name}.given", first // WORD_ROWS, words, len(words))

    def reserve(self) -> None:
        """Take room for the words that release changes in place."""
        self._own["newest"].take_at(np.array(self._identities, dtype=np.uint32))

    def release(self) -> None:
        """Point readers to what was staged; it counts once the state says so."""
        table = self._own["table"].values
        for one, row in self._fresh.items():
            key = table_key(one)
            put_id(table, place_of_id(table, key), key, row)
        if self._identities:
            rows = np.array(self._identities, dtype=np.uint32)
            first = self.base + self.count
            version_rows(rows, first, self._own["newest"].values, self._own["before"].values, self.base)
        stop = self.deaths_count + len(self.deaths)
        died = [*self.deaths]
        self._own["deaths"].values[self.deaths_count : stop] = died
        self.dead[died] = True
        self.count, self.deaths_count = self.staged, stop
        self.forget()

    def forget(self) -> None:
        """Nothing is staged any more."""
        self._identities, self._fresh, self._latest, self.deaths = [], {}, {}, {}


def given_rows(given: bytes | list[float], each: int, dim: int, where: str) -> np.ndarray:
    """A vector, or those of one user, as (each, dim)."""
    try:
        with np.errstate(over="ignore"):
            flat = np.frombuffer(given, "<f4") if isinstance(given, bytes) else np.array(given, dtype=np.float32)
    except ValueError as error:
        raise BadOperation(f"{where}: {error}") from error
    if flat.size != each * dim:
        raise BadOperation(f"{where}: {flat.size} numbers; it takes {each * dim}")
    if not np.isfinite(flat).all():
        raise BadOperation(f"{where}: holds NaN or infinity")
    return flat.reshape(each, dim)


assert MISSING["category"] == NO_ROW
