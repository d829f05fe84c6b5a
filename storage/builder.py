"""From a specification to a published epoch: the order of the steps, and cleaning up when one fails.

Everything is written into a hidden folder under the store's lock and gets its name by one rename at the end; what a
killed builder left is removed by the next one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import lmdb

from mixline.storage.als import learn
from mixline.storage.arrays import map_array
from mixline.storage.catalogue_builder import CatalogueBuilder
from mixline.storage.codes import write_codes
from mixline.storage.complaints import Complaints
from mixline.storage.cooccurrence import build_neighbours, build_popularity
from mixline.storage.digests import files_of
from mixline.storage.errors import BadSpec, StoreUnwritable
from mixline.storage.events import EventReader, Settler, Spill
from mixline.storage.graph_index import write_graph
from mixline.storage.identifiers import RowFinder
from mixline.storage.inputs import Input
from mixline.storage.ivf import build_ivf, is_wanted
from mixline.storage.kernels import BuildKernels
from mixline.storage.live_log import last_sequence
from mixline.storage.lock import StoreLock
from mixline.storage.manifest import FORMAT, CatalogueFacts, EventFacts, IndexFacts, Manifest, SpaceFacts
from mixline.storage.matrices import copy_matrix, open_matrix
from mixline.storage.nibbles import NIBBLES_MIN, write_nibbles
from mixline.storage.progress import Progress
from mixline.storage.publish import (
    BUILDING,
    EPOCHS,
    epoch_folder,
    epoch_numbers,
    measure,
    publish,
    sweep,
    write_current,
)
from mixline.storage.records import RecordWriter
from mixline.storage.self_test import self_test
from mixline.storage.spec import BuildSpec, SpaceSpec, spec_facts

EVENT_BYTES_GUESS = 8  # of input, to choose how many spill files; a range that turns out too large is spilled again


class Builder:
    """One build into ``store``."""

    def __init__(
        self, spec: BuildSpec, store: Path, kernels: BuildKernels, memory_bytes: int, progress: Progress
    ) -> None:
        self.spec, self.store, self.kernels = spec, store, kernels
        self.memory_bytes, self.progress = memory_bytes, progress
        self.complaints = Complaints()

    def build(self, *, activate: bool = True, live_seq: int = 0) -> Manifest:
        """Build, publish and activate; returns the new epoch's manifest. On any error the store is as before.

        The files contain what the store's log has up to ``live_seq``, so that is not applied to this epoch again.
        """
        if not 0 <= live_seq <= (last := last_sequence(self.store)):
            raise BadSpec(
                f"live_seq {live_seq}: the log of {self.store} has operations 1 to {last}; 0 for none of them"
            )
        self.live_seq = live_seq
        try:
            (self.store / EPOCHS).mkdir(parents=True, exist_ok=True)
            with StoreLock(self.store, "mixline build"):
                sweep(self.store)
                manifest = self._publish(max(epoch_numbers(self.store), default=0) + 1)
                if activate:
                    # The digests were computed from these files a moment ago; activation need not read them again.
                    self_test(epoch_folder(self.store, manifest.number))
                    write_current(self.store, manifest.number)
                return manifest
        except (OSError, lmdb.Error) as error:
            # Faults of the user's files are complaints; what is left is the file system under the store.
            raise StoreUnwritable(self.store, error) from error

    def _publish(self, number: int) -> Manifest:
        self.folder = self.store / EPOCHS / f"{BUILDING}{number:06d}"
        self.scratch = self.store / EPOCHS / f"{BUILDING}{number:06d}-scratch"
        try:
            self.folder.mkdir()
            self.scratch.mkdir()
            manifest = self._fill(number)
            publish(self.store, self.folder, manifest)
            return manifest
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _fill(self, number: int) -> Manifest:
        self.records = RecordWriter(self.folder)
        try:
            items, users = self._catalogues()
            events = self._events(items, users)
        finally:
            self.records.close()
        spaces = {name: self._space(name, one, items, users) for name, one in self.spec.spaces.items()}
        self.complaints.settle()
        total = sum((self.folder / name).stat().st_size for name in files_of(self.folder))
        self.progress.phase("writing digests", total)
        return Manifest(
            format=FORMAT,
            number=number,
            live_seq=self.live_seq,
            items=items,
            users=users,
            events=events,
            spaces=spaces,
            files=measure(self.folder, self.progress.advance),
            spec=spec_facts(self.spec),
        )

    def _catalogues(self) -> tuple[CatalogueFacts, CatalogueFacts]:
        self._check_files()
        spec = self.spec
        builder = CatalogueBuilder(self.folder, "items", self.records, self.complaints)
        items = builder.from_file(spec.at(spec.items.path), spec.items, self.progress)
        builder = CatalogueBuilder(self.folder, "users", self.records, self.complaints)
        if spec.users is not None:
            users = builder.from_file(spec.at(spec.users.path), spec.users, self.progress)
        elif spec.events is not None:
            users = builder.from_events(spec.at(spec.events.path), spec.events, self.progress)
        else:
            users = builder.empty()
        self._check_matrices(items, users)
        self.complaints.settle()
        return items, users

    def _check_files(self) -> None:
        """All files that cannot be opened or lack a column, in one answer, before any is read."""
        spec = self.spec
        for name, table in (("items", spec.items), ("users", spec.users)):
            if table is not None:
                Input(spec.at(table.path), name, table.wanted(name), self.complaints).check()
        if spec.events is not None:
            Input(spec.at(spec.events.path), "events", spec.events.wanted(), self.complaints).check()
        for name, space in spec.spaces.items():
            for side, path in (("items", space.items), ("users", space.users)):
                if path is not None:
                    open_matrix(spec.at(path), f"spaces.{name}.{side}", None, space.dim, self.complaints)
        self.complaints.settle()

    def _check_matrices(self, items: CatalogueFacts, users: CatalogueFacts) -> None:
        """Shapes are judged before the long work, together with the catalogues' faults."""
        if self.complaints:
            return
        for name, space in self.spec.spaces.items():
            dim = space.dim
            for side, path, count in (("items", space.items, items.count), ("users", space.users, users.count)):
                if path is not None:
                    at, key = self.spec.at(path), f"spaces.{name}.{side}"
                    found = open_matrix(at, key, count, dim, self.complaints)
                    dim = found.shape[-1] if found is not None and dim is None else dim

    def _events(self, items: CatalogueFacts, users: CatalogueFacts) -> EventFacts | None:
        spec = self.spec.events
        if spec is None:
            return None
        path, ids = self.spec.at(spec.path), self.folder / "ids"
        finders = RowFinder(ids / "users", users.id_kind), RowFinder(ids / "items", items.id_kind)
        reader = EventReader(path, spec, *finders, self.complaints)
        spill = Spill(self.scratch / "events", 0, users.count, path.stat().st_size // EVENT_BYTES_GUESS)
        self.progress.phase("reading events")
        try:
            for events in reader.batches():
                if not self.complaints:
                    spill.write(events)
                self.progress.advance(len(events))
        finally:
            spill.close()
        self.complaints.settle()
        settler = Settler(self.folder, self.scratch, spec, items.count, reader.newest, self.records)
        self.progress.phase("settling events", reader.count)
        for part, one in enumerate(spill.paths):
            settler.settle(one, *spill.bounds(part), self.progress)
        settler.close()
        keys = map_array(ids / "items" / "keys.npy")
        build_popularity(self.folder, settler.popularity, keys, spec.popular_max)
        if spec.neighbours_max:
            build_neighbours(
                self.folder, self.scratch, keys, spec.neighbours_max, self.kernels.accumulate, self.progress
            )
        return EventFacts(
            count=reader.count,
            skipped=reader.skipped,
            newest=reader.newest,
            actions=tuple(reader.actions),
            half_life_days=spec.half_life_days if spec.time is not None else None,
            history_max=spec.history_max,
            neighbours=spec.neighbours_max > 0,
        )

    def _space(self, name: str, space: SpaceSpec, items: CatalogueFacts, users: CatalogueFacts) -> SpaceFacts:
        folder = self.folder / "spaces" / name
        if space.learn is not None:
            graph, counts = self.folder / "graph", (users.count, items.count)
            sides = learn(name, space, graph, self.scratch, *counts, self.memory_bytes, self.progress)
            given = [("items", Path(), sides[0]), ("users", Path(), sides[1])]
        else:
            given = []
            for side, path, count in (("items", space.items, items.count), ("users", space.users, users.count)):
                if path is not None:
                    at = self.spec.at(path)
                    found = open_matrix(at, f"spaces.{name}.{side}", count, space.dim, self.complaints)
                    self.complaints.settle()
                    assert found is not None
                    given.append((side, at, found))
        dim = given[0][2].shape[-1]
        vectors = next((found.shape[1] for side, _, found in given if side == "users" and found.ndim == 3), 1)
        self.progress.phase(f"copying {name}", sum(len(one[2]) for one in given))
        for side, at, source in given:
            copy_matrix(source, folder, side, at, f"spaces.{name}.{side}", self.complaints, self.progress)
        self.complaints.settle()
        if any(side == "items" for side, _, _ in given):
            self.progress.phase(f"coding {name}", items.count)
            write_codes(folder, "items", space.metric, self.progress)
            if items.count >= NIBBLES_MIN:
                self.progress.phase(f"coding {name} again, in int4", items.count)
                write_nibbles(folder, "items", space.metric, self.progress)
        sides_present = {side for side, _, _ in given}
        indexes = self._indexes(name, space, folder, items.count) if "items" in sides_present else ()
        return SpaceFacts(
            dim,
            space.metric,  # type: ignore[arg-type]
            space.index if indexes else "exact",
            "items" in sides_present,
            "users" in sides_present,
            indexes,
            vectors,
        )

    def _indexes(self, name: str, space: SpaceSpec, folder: Path, count: int) -> tuple[IndexFacts, ...]:
        """Build the approximate indexes that the space shall have."""
        kernels = self.kernels
        found: tuple[IndexFacts, ...] = ()
        if is_wanted(space.index, count):
            found += build_ivf(
                folder, space.metric, kernels.assign, kernels.list_search, kernels.exact, self.progress, name
            )
        if space.index == "graph":
            self.progress.phase(f"linking {name}", count)
            threads = len(os.sched_getaffinity(0))
            found += write_graph(
                folder, space.metric, kernels.link, kernels.walk, kernels.exact, threads, self.progress
            )
        return found
