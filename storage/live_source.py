"""A store that lives as the source of a build: its active epoch and all that was written since, as of one state.

What is read only ever grows, so a writer goes on meanwhile; what it writes is applied to the new epoch from the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from mixline.storage.arrays import map_array
from mixline.storage.askers import USERS_MIN, Askers
from mixline.storage.build_source import EventStream, Given
from mixline.storage.carried_state import carried_batches
from mixline.storage.catalogue import NO_ROW, Catalogue
from mixline.storage.catalogue_builder import CatalogueBuilder
from mixline.storage.complaints import Complaints
from mixline.storage.epoch import Epoch
from mixline.storage.errors import StoreLocked, StoreUnfit
from mixline.storage.events import EVENT, kept_fields
from mixline.storage.inputs import Batch as ArrowBatch
from mixline.storage.live_index import BLOCK
from mixline.storage.live_ops import Batch
from mixline.storage.live_paths import overlay_folder
from mixline.storage.live_view import LiveReader, LiveView
from mixline.storage.live_writer import LiveWriter
from mixline.storage.manifest import KEPT, CatalogueFacts
from mixline.storage.past_queries import PastQueries, keys_of_queries, plain_query
from mixline.storage.progress import Progress
from mixline.storage.publish import read_current
from mixline.storage.spec import BuildSpec, EventsSpec, TableSpec
from mixline.storage.store import Store

TABLE_ROWS = 1 << 14  # of one batch
STREAM_EVENTS = 1 << 18
ID = ""  # the name of the id in a batch: no column has it
ARROW = {
    "f32": pa.float64(),
    "i64": pa.int64(),
    "bool": pa.bool_(),
    "category": pa.string(),
    "tags": pa.list_(pa.string()),
    "text": pa.string(),
    "bytes": pa.binary(),
}


class Standing:
    """Items or users as of a view, in the order in which they first came.

    ``rows``: the newest version of each; ``place``: the row that each identity has in the new epoch, NO_ROW for those
    that were deleted.
    """

    textual = False

    def __init__(self, catalogue: Catalogue, view: LiveView, late: int, path: Path) -> None:
        self.catalogue, self.path = catalogue, path
        base = catalogue.base
        came = np.arange(base, base + late, dtype=np.uint32)
        first = came[view.reader.own[f"{catalogue.name}.origin"][:late] == came]
        identities = np.concatenate((np.arange(catalogue.count, dtype=np.uint32), first))
        rows = view.versions(catalogue, identities)
        there = rows != NO_ROW
        if catalogue is view.epoch.users and view.state.forgotten:
            there &= ~np.isin(identities, view.forgotten)
        self.rows = rows[there]
        self.place = np.full(base + late, NO_ROW, dtype=np.uint32)
        self.place[identities[there]] = np.arange(len(self.rows), dtype=np.uint32)

    @property
    def spec(self) -> TableSpec:
        facts = self.catalogue.facts
        return TableSpec("", ID, dict(facts.columns), facts.id_kind)

    def batches(self) -> Iterator[ArrowBatch]:
        """The rows as a file would give them."""
        facts = self.catalogue.facts
        for start in range(0, len(self.rows), TABLE_ROWS):
            rows = self.rows[start : start + TABLE_ROWS]
            columns = {ID: pa.array(self.catalogue.ids_of(rows))}
            for name, values in self.catalogue.records(rows, list(facts.columns)).items():
                columns[name] = pa.array(values, ARROW[facts.columns[name]])
            yield ArrowBatch(start + 1, columns)


class StandingEvents:
    """The events that the epoch keeps and those that came since. ``lost``: those of items that are gone, by the old
    rows of user and item."""

    def __init__(self, epoch: Epoch, view: LiveView, items: Standing, users: Standing) -> None:
        self.epoch, self.items, self.users = epoch, items, users
        late = view.reader.own["events"][: view.state.events]
        self._late = late[(late["action"] < BLOCK) & (late["weight"] != 0)]  # without those of forgotten users
        facts = epoch.manifest.events
        folder = epoch.path / KEPT
        self._kept: dict[str, np.ndarray] = {}
        if facts is not None and facts.count:
            if not (folder / "indptr.npy").exists():
                raise StoreUnfit(
                    f"{epoch.path}: was built by an earlier release, which kept no events; build it from its files once"
                )
            names = ("indptr", "item", "time", "weight", "action")
            self._kept = {name: map_array(at) for name in names if (at := folder / f"{name}.npy").exists()}
        some = bool(len(self._late))
        self.fields = kept_fields(
            time=some or "time" in self._kept, weight="weight" in self._kept, action=some or "action" in self._kept
        )
        self.labels = view.action_labels
        self.expected = len(self._late) + (facts.count if facts is not None else 0)
        self.count, self.skipped = 0, facts.skipped if facts is not None else 0
        self.newest: int | None = None
        self.lost: list[np.ndarray] = []

    def batches(self) -> Iterator[np.ndarray]:
        for every in self._old():
            events = every[self.users.place[every["user"]] != NO_ROW]
            standing = events.copy()
            standing["user"], standing["item"] = self.users.place[events["user"]], self.items.place[events["item"]]
            gone = standing["item"] == NO_ROW
            if gone.any():
                self.lost.append(events[gone])
                standing = standing[~gone]
            if len(standing):
                newest = int(standing["time"].max())
                self.newest = newest if self.newest is None else max(self.newest, newest)
                self.count += len(standing)
                yield standing

    def _old(self) -> Iterator[np.ndarray]:
        """All events by the old rows, those of the epoch first."""
        if self._kept:
            ends, count = self._kept["indptr"], len(self._kept["item"])
            for start in range(0, count, STREAM_EVENTS):
                here = slice(start, min(start + STREAM_EVENTS, count))
                events = np.zeros(here.stop - start, dtype=EVENT)
                events["weight"] = 1.0
                events["user"] = np.searchsorted(ends, np.arange(start, here.stop), side="right") - 1
                for name in self._kept.keys() - {"indptr"}:
                    events[name] = self._kept[name][here]
                yield events
        for start in range(0, len(self._late), STREAM_EVENTS):
            late = self._late[start : start + STREAM_EVENTS]
            events = np.zeros(len(late), dtype=EVENT)
            for name in EVENT.names or ():
                events[name] = late[name]
            yield events


class StandingVectors:
    """One side of a space: (count, dim), or (count, vectors of each, dim); a vector that is missing reads as zeros."""

    def __init__(self, matrix: np.ndarray, rows: np.ndarray, each: int) -> None:
        self._matrix, self._rows = matrix.reshape(-1, each, matrix.shape[1]) if each > 1 else matrix, rows
        self.shape = len(rows), *self._matrix.shape[1:]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice) -> np.ndarray:
        found = self._matrix[self._rows[rows]]
        found[np.isnan(found)] = 0
        return found

    def absent(self) -> np.ndarray:
        """The rows without a vector."""
        first = self._matrix[:, 0] if self._matrix.ndim == 2 else self._matrix[:, 0, 0]
        return np.flatnonzero(np.isnan(first[self._rows])).astype(np.uint32)


class LiveSource:
    """Everything that stands in a store. Close it, or use ``with``."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.epoch = Store(store).open(grows=True)
        try:
            self.view = self._view()
            self.spec = spec_of(self.epoch, self.view)
            self.live_seq = self.view.live_seq
            path = self.epoch.path
            self._items = Standing(self.epoch.items, self.view, self.view.state.items, path)
            self._users = Standing(self.epoch.users, self.view, self.view.state.users, path)
        except BaseException:
            self.epoch.close()
            raise
        self._events: StandingEvents | None = None

    def _view(self) -> LiveView:
        with suppress(StoreLocked):  # a node writes, and what is derived is up to the log
            LiveWriter(self.store, [self.epoch]).close()
        view = LiveReader(self.epoch, overlay_folder(self.store, self.epoch.number)).view()
        if view is None:
            raise StoreUnfit(f"{self.store}: the writer of epoch {self.epoch.number} is not ready yet; run it again")
        return view

    @property
    def pending(self) -> int:
        """Operations of the log that the epoch does not contain."""
        return self.live_seq - self.epoch.live_seq

    def check(self, complaints: Complaints) -> None:
        """Called under the store's lock: what is built must follow the epoch that is active."""
        active = read_current(self.store)
        if active != self.epoch.number:
            raise StoreUnfit(
                f"{self.store}: epoch {active} was activated while epoch {self.epoch.number} was read; run it again"
            )

    def items(self, builder: CatalogueBuilder, progress: Progress) -> CatalogueFacts:
        return builder.from_table(self._items, self._items.spec, progress)

    def users(self, builder: CatalogueBuilder, progress: Progress) -> CatalogueFacts:
        return builder.from_table(self._users, self._users.spec, progress)

    def events(
        self, ids: Path, items: CatalogueFacts, users: CatalogueFacts, complaints: Complaints
    ) -> EventStream | None:
        if self.spec.events is None:
            return None
        self._events = StandingEvents(self.epoch, self.view, self._items, self._users)
        return self._events

    def vectors(self, name: str, items: int, users: int, complaints: Complaints) -> list[Given]:
        space, found = self.epoch.spaces[name], []
        for side, matrix, standing, each in (
            ("items", space.all_items, self._items, 1),
            ("users", space.users, self._users, space.vectors),
        ):
            if matrix is not None:
                rows = StandingVectors(matrix, standing.rows, each)
                found.append(Given(side, self.epoch.path / "spaces" / name / f"{side}.npy", rows, rows.absent()))
        return found

    def past_queries(self, ids: Path, items: CatalogueFacts, complaints: Complaints) -> PastQueries:
        completions, acted_on = self.epoch.completions, self.epoch.acted_on
        if completions is None:
            return PastQueries.none()
        past, known = PastQueries.none()._replace(asked=completions.past_queries()), self.epoch.askers
        if known is None:
            known = Askers.none()._replace(public=np.unique(keys_of_queries(past.asked)))
        past = past._replace(askers=known)
        if acted_on is not None:
            past = past._replace(numbers=acted_on.numbers(), rows=acted_on.rows, counts=acted_on.counts)
        past = and_later(past, self.view)
        rows = self._items.place[past.rows]
        there = rows != NO_ROW
        counts = past.counts[there].astype(np.float64)
        askers = past.askers.placed(self._users.place, NO_ROW)
        return past._replace(numbers=past.numbers[there], rows=rows[there], counts=counts, askers=askers)

    def carried(self) -> Sequence[Batch]:
        lost = self._events.lost if self._events is not None else []
        return carried_batches(self.view, lost, self._users.place != NO_ROW)

    def close(self) -> None:
        """Let go of the epoch."""
        self.epoch.close()

    def __enter__(self) -> LiveSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def and_later(past: PastQueries, view: LiveView) -> PastQueries:
    """Past queries, and those that led to acts since the build; rows are identities."""
    if not view.state.events:
        return past
    lines = view.reader.own["events"][: view.state.events]
    away = (lines["action"] >= BLOCK) | (lines["weight"] == 0) | np.isin(lines["action"], view.shown_codes)
    acts = lines[~away & (lines["spare"] > 0)]
    codes, which, counts = np.unique(acts["spare"] - 1, return_inverse=True, return_counts=True)
    labels, asked = view.reader.labels[-2].labels, dict(past.asked)
    place = {query: at for at, query in enumerate(asked)}
    spelt = {plain_query(query): query for query in asked}
    numbers = np.zeros(len(codes), dtype=np.uint32)
    for at, (code, count) in enumerate(zip(codes.tolist(), counts.tolist(), strict=True)):
        query = spelt.get(labels[code], labels[code])
        numbers[at] = place.setdefault(query, len(place))
        asked[query] = asked.get(query, 0.0) + count
    keys = keys_of_queries(labels[code] for code in codes.tolist())
    text = view.epoch.manifest.text
    return PastQueries(
        asked,
        np.concatenate((past.numbers, numbers[which])).astype(np.uint32),
        np.concatenate((past.rows, acts["item"])).astype(np.uint32),
        np.concatenate((past.counts, np.ones(len(acts)))),
        past.askers.joined(keys[which], acts["user"], USERS_MIN if text is None else text.queries_users),
    )


def spec_of(epoch: Epoch, view: LiveView) -> BuildSpec:
    """The specification that the epoch was built with, and events of their own where there were none."""
    parts = {**epoch.manifest.spec, "folder": epoch.path}
    spec = msgspec.convert(parts, BuildSpec, dec_hook=lambda kind, value: kind(value))
    if spec.events is None and view.state.events:
        events = EventsSpec("", "user", "item", time="time", action="action")
        spec = msgspec.structs.replace(spec, events=events)
    return spec
