"""Interactions, in memory that does not grow with their number: spilled by user range, then settled range by range.

A range that is still too large is spilled again; a single user too large for memory is streamed. What comes out is per
user (all events in their order, history, seen set, basket for co-occurrence) and per item (decayed popularity).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixline.storage.arrays import ArrayWriter
from mixline.storage.catalogue import NO_ROW
from mixline.storage.complaints import Complaints
from mixline.storage.histories import NODES_OWN, kinds_of, pack_history
from mixline.storage.identifiers import IdReader, RowFinder
from mixline.storage.inputs import Batch, Input
from mixline.storage.manifest import KEPT
from mixline.storage.progress import Progress
from mixline.storage.records import RecordWriter, row_key
from mixline.storage.spec import EventsSpec

EVENT = np.dtype([("user", "<u4"), ("item", "<u4"), ("time", "<i8"), ("weight", "<f4"), ("action", "u1")], align=True)
SETTLE_EVENTS = 1 << 20  # events held in memory at once: 24 MB, about 150 MB with the sort's temporaries
RANGES_MAX = 128
ACTIONS_MAX = 256
WEIGHT_MAX = 1e9  # so that no sum of them overflows a float32
DAY_S = 86_400
EVENT_BYTES_GUESS = 8  # of input, to choose how many spill files; a range that turns out too large is spilled again
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def kept_fields(**given: object) -> tuple[str, ...]:
    """Which fields of its events an epoch keeps: items, and of the others those that are given."""
    return ("item", *(name for name in ("time", "weight", "action") if given[name]))


class EventReader:
    """The events file as structured arrays of rows; unknown ids are complaints, or counted and skipped."""

    def __init__(
        self, path: Path, spec: EventsSpec, users: RowFinder, items: RowFinder, complaints: Complaints
    ) -> None:
        self.path, self.spec, self.complaints = path, spec, complaints
        self._finders = {"user": users, "item": items}
        self.actions: dict[str, int] = {}
        self.fields = kept_fields(time=spec.time, weight=spec.weight, action=spec.action)
        self.expected = path.stat().st_size // EVENT_BYTES_GUESS
        self.count = self.skipped = 0
        self.newest: int | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the actions, by code."""
        return tuple(self.actions)

    def batches(self) -> Iterator[np.ndarray]:
        spec = self.spec
        wanted = spec.wanted()
        for batch in Input(self.path, "events", wanted, self.complaints).batches():
            events = np.zeros(batch.count, dtype=EVENT)
            known = np.ones(batch.count, dtype=bool)
            for key in ("user", "item"):
                events[key] = self._rows(key, batch.columns[wanted[f"events.{key}"]], batch, known)
            events["weight"] = 1.0 if spec.weight is None else self._weights(batch.columns[spec.weight], batch)
            if spec.time is not None:
                events["time"] = self._times(batch.columns[spec.time], batch)
            if spec.action is not None:
                events["action"] = self._actions(batch.columns[spec.action], batch)
            self.skipped += int(batch.count - known.sum())
            events = events[known]
            self.count += len(events)
            if spec.time is not None and len(events):
                newest = int(events["time"].max())
                self.newest = newest if self.newest is None else max(self.newest, newest)
            yield events

    def _rows(self, key: str, column: pa.Array, batch: Batch, known: np.ndarray) -> np.ndarray:
        finder = self._finders[key]
        reader = IdReader(finder.kind, self.path, f"events.{key}", self.complaints, nulls_pass=True)
        rows = finder.rows(reader, column, batch.first_row)
        lost = rows == NO_ROW
        if lost.any():
            if self.spec.unknown == "error":
                at = np.flatnonzero(lost)
                examples = [f"row {batch.first_row + int(one)} ({column[int(one)].as_py()!r})" for one in at[:3]]
                self.complaints.count(self.path, f"events.{key}", f"unknown {key}", len(at), examples)
            known &= ~lost
        return rows

    def _weights(self, column: pa.Array, batch: Batch) -> np.ndarray:
        values = self._numbers(column, "weight", batch)
        bad = ~((values >= 0) & (values <= WEIGHT_MAX))
        self._bad(bad, column, "weight", f"a weight is missing or is no number from 0 to {WEIGHT_MAX:g}", batch)
        return np.where(bad, 0.0, values).astype(np.float32)

    def _times(self, column: pa.Array, batch: Batch) -> np.ndarray:
        kind = column.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            stamps = pc.cast(column, pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
            values = pc.cast(stamps, pa.int64())
            bad = np.asarray(pc.is_null(values))
            self._bad(bad, column, "time", "a time is missing", batch)
            return pc.fill_null(values, 0).to_numpy(zero_copy_only=False) // 1_000_000
        unit = UNITS[self.spec.time_unit]
        if not pa.types.is_floating(kind):
            try:  # whole numbers stay exact: a float64 cannot tell two neighbouring nanoseconds apart
                return pc.cast(column, pa.int64()).to_numpy(zero_copy_only=True) // unit
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                pass  # missing values, dates or no times at all: the slow way tells them apart
        values = self._numbers(column, "time", batch)
        bad = ~(np.abs(values) < 9e18)
        self._bad(bad, column, "time", "a time is missing or is no number of seconds nor an ISO date", batch)
        return np.floor(np.where(bad, 0.0, values) / unit).astype(np.int64)

    def _numbers(self, column: pa.Array, key: str, batch: Batch) -> np.ndarray:
        """float64 values, NaN where there is none; strings are parsed (times also as ISO 8601, UTC)."""
        try:
            return pc.fill_null(pc.cast(column, pa.float64(), safe=False), np.nan).to_numpy(zero_copy_only=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return np.array([_number(value, key, self.spec.time_unit) for value in column.to_pylist()])

    def _actions(self, column: pa.Array, batch: Batch) -> np.ndarray:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        column = column.dictionary_encode("encode")
        labels = ["" if one is None else str(one) for one in column.dictionary.to_pylist()]
        codes = [self.actions.setdefault(label, len(self.actions)) for label in labels]
        if len(self.actions) > ACTIONS_MAX:
            self.complaints.add(self.path, "events.action", f"more than {ACTIONS_MAX} different actions")
            self.complaints.settle()
        return np.array(codes, dtype=np.uint8)[column.indices.to_numpy(zero_copy_only=False)]

    def _bad(self, bad: np.ndarray, column: pa.Array, key: str, what: str, batch: Batch) -> None:
        at = np.flatnonzero(bad)
        if len(at):
            examples = [f"row {batch.first_row + int(one)} ({column[int(one)].as_py()!r})" for one in at[:3]]
            self.complaints.count(self.path, f"events.{key}", what, len(at), examples)


def _number(value: object, key: str, unit: str) -> float:
    from datetime import UTC, datetime

    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        if key != "time" or not isinstance(value, str):
            return float("nan")
    try:
        stamp = datetime.fromisoformat(value)
    except ValueError:
        return float("nan")
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp() * UNITS[unit]


class Spill:
    """Events of users (or of what ``key`` says) [low, high), divided into files by ranges of them."""

    def __init__(self, folder: Path, low: int, high: int, events: int, key: str = "user") -> None:
        self.low, self.high, self.key = low, high, key
        self.parts = max(1, min(RANGES_MAX, high - low, -(-events // SETTLE_EVENTS)))
        folder.mkdir()
        self.paths = [folder / f"{part:03d}" for part in range(self.parts)]
        self._files = [path.open("wb") for path in self.paths]

    def bounds(self, part: int) -> tuple[int, int]:
        """Keys of a part: those u with (u - low) * parts // (high - low) == part."""
        width = self.high - self.low
        return self.low - (-part * width // self.parts), self.low - (-(part + 1) * width // self.parts)

    def write(self, events: np.ndarray) -> None:
        part = (events[self.key].astype(np.int64) - self.low) * self.parts // (self.high - self.low)
        order = np.argsort(part, kind="stable")
        ordered, sizes = events[order], np.bincount(part, minlength=self.parts)
        at = 0
        for index in np.flatnonzero(sizes).tolist():
            ordered[at : at + sizes[index]].tofile(self._files[index])
            at += sizes[index]

    def close(self) -> None:
        for file in self._files:
            file.close()


class Settling(ABC):
    """Goes through spilled events range by range of their ``key``, in memory that does not grow with their number."""

    dtype: np.dtype
    key: str

    def settle(self, path: Path, low: int, high: int, progress: Progress) -> None:
        """All events of keys [low, high), which are in the file ``path``; removes it."""
        count = path.stat().st_size // self.dtype.itemsize
        if count <= SETTLE_EVENTS:
            self._settle_range(np.fromfile(path, dtype=self.dtype), low, high)
            progress.advance(count)
        elif high - low == 1:
            self._settle_giant(path, low)
            progress.advance(count)
        else:
            spill = Spill(path.with_name(f"{path.name}-"), low, high, count, key=self.key)
            for events in self._chunks(path):
                spill.write(events)
            spill.close()
            self.settle_all(spill, progress)
        path.unlink()

    def settle_all(self, spill: Spill, progress: Progress) -> None:
        """Every part of a spill, in ascending order of keys."""
        for part, path in enumerate(spill.paths):
            self.settle(path, *spill.bounds(part), progress)

    def _chunks(self, path: Path) -> Iterator[np.ndarray]:
        """The events of a spill file, a bounded number at a time."""
        with path.open("rb") as file:
            while len(found := np.fromfile(file, dtype=self.dtype, count=SETTLE_EVENTS // 8)):
                yield found

    @abstractmethod
    def _settle_range(self, events: np.ndarray, low: int, high: int) -> None:
        """Events that fit into memory."""

    @abstractmethod
    def _settle_giant(self, path: Path, key: int) -> None:
        """One key with more events than fit."""


class Settler(Settling):
    """Turns spilled events, user range by user range, into what the epoch keeps of them."""

    dtype, key = EVENT, "user"

    def __init__(
        self,
        folder: Path,
        scratch: Path,
        spec: EventsSpec,
        fields: tuple[str, ...],
        items: int,
        newest: int | None,
        records: RecordWriter,
        labels: tuple[str, ...],
    ) -> None:
        self.spec, self.items, self.newest, self.records = spec, items, newest, records
        self._kinds = kinds_of(labels)
        self._kept_ends = ArrayWriter(folder / KEPT / "indptr.npy", "<i8")
        self._kept = {name: ArrayWriter(folder / KEPT / f"{name}.npy", EVENT[name].str) for name in fields}
        self.scratch = scratch
        self.popularity = np.zeros(items, dtype=np.float64)
        self._seen_ends = ArrayWriter(folder / "graph" / "seen_indptr.npy", "<i8")
        self._seen_rows = ArrayWriter(folder / "graph" / "seen_rows.npy", "<u4")
        self._seen_weights = ArrayWriter(scratch / "seen_weights.npy", "<f4")
        self._basket_ends = ArrayWriter(scratch / "basket_indptr.npy", "<i8")
        self._basket_rows = ArrayWriter(scratch / "basket_rows.npy", "<u4")
        for ends in (self._kept_ends, self._seen_ends, self._basket_ends):
            ends.append(np.zeros(1, dtype=np.int64))

    def close(self) -> None:
        for writer in (self._seen_ends, self._seen_rows, self._seen_weights, self._basket_ends, self._basket_rows):
            writer.close()
        for writer in (self._kept_ends, *self._kept.values()):
            writer.close()

    def _decayed(self, events: np.ndarray) -> None:
        weights = events["weight"].astype(np.float64)
        if self.newest is not None:
            age_s = self.newest - events["time"].astype(np.float64)
            weights *= np.exp2(-age_s / (self.spec.half_life_days * DAY_S))
        np.add.at(self.popularity, events["item"], weights)

    def _keep(self, events: np.ndarray) -> None:
        for name, writer in self._kept.items():
            writer.append(events[name])

    def _end_kept(self, counts: np.ndarray) -> None:
        """Close the runs of users whose events were all kept."""
        self._kept_ends.append(self._kept["item"].count - int(counts.sum()) + np.cumsum(counts))

    def _settle_range(self, events: np.ndarray, low: int, high: int) -> None:
        # Sums are added by user and then in file order, so that their last bit does not depend on how events spilled.
        events = events[np.argsort(events["user"], kind="stable")]
        self._keep(events)
        self._end_kept(np.bincount(events["user"].astype(np.int64) - low, minlength=high - low))
        acts = events[self._acts(events)]
        self._decayed(acts)
        self._settle_seen(acts, low, high)
        later_first = events[::-1]
        newest_first = later_first[np.lexsort((~later_first["time"], later_first["user"]))]
        self._settle_histories(newest_first, low, high)
        self._settle_baskets(newest_first[self._acts(newest_first)], low, high)

    def _acts(self, events: np.ndarray) -> np.ndarray:
        """Which events are acts of users, and not of a node."""
        return self._kinds[events["action"]] == 0

    def _settle_seen(self, events: np.ndarray, low: int, high: int) -> None:
        user = events["user"].astype(np.int64) - low
        pairs, where = np.unique((user << 32) | events["item"], return_inverse=True)
        self._write(self._seen_ends, self._seen_rows, pairs >> 32, pairs & 0xFFFFFFFF, high - low)
        self._seen_weights.append(np.bincount(where, weights=events["weight"], minlength=len(pairs)))

    def _settle_histories(self, events: np.ndarray, low: int, high: int) -> None:
        kinds = self._kinds[events["action"]]
        order = np.lexsort((kinds, events["user"]))  # of each user the acts, then what a node did
        run = events["user"][order].astype(np.int64) * (1 + len(NODES_OWN)) + kinds[order]
        nth = np.arange(len(order)) - np.searchsorted(run, run)
        events = events[np.sort(order[nth < self.spec.history_max])]
        counts = np.bincount(events["user"].astype(np.int64) - low, minlength=high - low)
        starts = np.concatenate(([0], np.cumsum(counts)))
        rows, times, actions = (np.ascontiguousarray(events[name]) for name in ("item", "time", "action"))

        def histories() -> Iterator[tuple[bytes, bytes]]:
            for at in np.flatnonzero(np.diff(starts)).tolist():
                one = slice(int(starts[at]), int(starts[at + 1]))
                yield row_key(low + at), pack_history(rows[one], times[one], actions[one])

        self.records.put("history", histories(), append=True)

    def _settle_baskets(self, events: np.ndarray, low: int, high: int) -> None:
        user, rows = events["user"].astype(np.int64) - low, events["item"]
        _, first = np.unique((user << 32) | rows, return_index=True)
        kept = np.sort(first)  # the newest event of each (user, item), newest first within the user
        owner = user[kept]
        begin = np.searchsorted(owner, owner)
        kept = kept[np.arange(len(kept)) - begin < self.spec.neighbours_history]
        self._write(self._basket_ends, self._basket_rows, user[kept], rows[kept], high - low)

    @staticmethod
    def _write(ends: ArrayWriter, values: ArrayWriter, owner: np.ndarray, rows: np.ndarray, owners: int) -> None:
        before = values.count
        values.append(rows)
        ends.append(before + np.cumsum(np.bincount(owner, minlength=owners)))

    def _settle_giant(self, path: Path, user: int) -> None:
        """One user with more events than fit: memory is a chunk, a history, and 28 bytes an item."""
        newest = [np.zeros(0, dtype=EVENT)] * (1 + len(NODES_OWN))  # by kind
        weights = np.zeros(self.items, dtype=np.float64)
        last_time = np.full(self.items, -(1 << 63), dtype=np.int64)
        last_at = np.full(self.items, -1, dtype=np.int64)
        done = 0
        for events in self._chunks(path):
            self._keep(events)
            done, first = done + len(events), done
            kinds = self._kinds[events["action"]]
            newest = [self._newest(events[kinds == kind], before) for kind, before in enumerate(newest)]
            places = first + np.flatnonzero(kinds == 0)
            events = events[kinds == 0]
            self._decayed(events)
            np.add.at(weights, events["item"], events["weight"])
            order = np.lexsort((np.arange(len(events)), events["time"], events["item"]))
            item = events["item"][order]
            last = order[np.append(item[1:] != item[:-1], True)]
            item, time = events["item"][last], events["time"][last]
            later = (time >= last_time[item]) | (last_at[item] < 0)
            last_time[item[later]], last_at[item[later]] = time[later], places[last[later]]
        self._end_kept(np.array([done]))
        history = np.concatenate(newest)
        history = history[np.argsort(~history["time"], kind="stable")]
        packed = pack_history(*(np.ascontiguousarray(history[name]) for name in ("item", "time", "action")))
        self.records.put("history", [(row_key(user), packed)], append=True)
        rows = np.flatnonzero(last_at >= 0)
        self._write(self._seen_ends, self._seen_rows, np.zeros(len(rows), dtype=np.int64), rows, 1)
        self._seen_weights.append(weights[rows])
        basket = rows[np.lexsort((-last_at[rows], ~last_time[rows]))][: self.spec.neighbours_history]
        self._write(self._basket_ends, self._basket_rows, np.zeros(len(basket), dtype=np.int64), basket, 1)

    def _newest(self, events: np.ndarray, newest: np.ndarray) -> np.ndarray:
        """The newest of those that were kept so far and of later ones, as many as a history has."""
        joined = np.concatenate((events[::-1], newest))
        return joined[np.argsort(~joined["time"], kind="stable")[: self.spec.history_max]]
