"""From a source of data to a published epoch: the order of the steps, and cleaning up when one fails.

Everything is written into a hidden folder under the store's lock and gets its name by one rename at the end; what a
killed builder left is removed by the next one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import lmdb

from mixline.storage.als import learn
from mixline.storage.arrays import map_array
from mixline.storage.build_source import BuildSource, Given
from mixline.storage.carried import write_carried
from mixline.storage.catalogue_builder import CatalogueBuilder
from mixline.storage.codes import write_codes
from mixline.storage.complaints import Complaints
from mixline.storage.cooccurrence import build_neighbours, build_popularity, build_seen_by
from mixline.storage.digests import files_of
from mixline.storage.errors import BadSpec, StoreUnwritable
from mixline.storage.events import Settler, Spill
from mixline.storage.frames import write_frame
from mixline.storage.indexing import build_indexes, check_memory
from mixline.storage.item_times_builder import ItemTimesWriter, item_times
from mixline.storage.kernels import BuildKernels
from mixline.storage.live_log import log_reach
from mixline.storage.lock import StoreLock
from mixline.storage.manifest import FORMAT, CatalogueFacts, EventFacts, IndexFacts, Manifest, SpaceFacts
from mixline.storage.matrices import copy_matrix, leave_out
from mixline.storage.nibbles import NIBBLES_MIN, write_nibbles
from mixline.storage.past_queries import write_acted
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
from mixline.storage.spec import SpaceSpec, spec_facts
from mixline.storage.text_builder import TEXT, TextBuilder


class Builder:
    """One build into ``store``."""

    def __init__(
        self, source: BuildSource, store: Path, kernels: BuildKernels, memory_bytes: int, progress: Progress
    ) -> None:
        self.source, self.spec, self.store, self.kernels = source, source.spec, store, kernels
        self.memory_bytes, self.progress = memory_bytes, progress
        self.complaints = Complaints()

    def build(self, *, activate: bool = True) -> Manifest:
        """Build, publish and activate; returns the new epoch's manifest. On any error the store is as before."""
        live_seq = self.source.live_seq
        pruned, last = log_reach(self.store)
        if not pruned <= live_seq <= last:
            none = "" if pruned else "; 0 for none of them"
            raise BadSpec(
                f"live_seq {live_seq}: the log of {self.store} has operations {pruned + 1} to {last}{none}"
                + (", so the files must contain those before: pass --live-seq" if live_seq < pruned else "")
            )
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
        if self.completions is not None:
            path = self.folder / "columns" / "items" / "popularity.npy"
            popularity = map_array(path) if path.exists() else None
            past = self.source.past_queries(self.folder / "ids", items, self.complaints)
            self.completions.close(items.count, popularity, past.asked, past.public())
            write_acted(self.folder / TEXT, past)
            past.askers.write(self.folder / TEXT)
            self.complaints.settle()
        spaces = {name: self._space(name, one, items, users) for name, one in self.spec.spaces.items()}
        self.complaints.settle()
        write_carried(self.folder, self.source.carried())
        total = sum((self.folder / name).stat().st_size for name in files_of(self.folder))
        self.progress.phase("writing digests", total)
        return Manifest(
            format=FORMAT,
            number=number,
            live_seq=self.source.live_seq,
            items=items,
            users=users,
            events=events,
            spaces=spaces,
            files=measure(self.folder, self.progress.advance),
            spec=spec_facts(self.spec),
            text=self.text,
        )

    def _catalogues(self) -> tuple[CatalogueFacts, CatalogueFacts]:
        source, complaints = self.source, self.complaints
        source.check(complaints)
        complaints.settle()
        builder = CatalogueBuilder(self.folder, "items", self.records, complaints)
        if self.spec.text is not None:
            builder.text = TextBuilder(self.folder, self.scratch, self.spec.text)
        items = source.items(builder, self.progress)
        self.text = builder.text.close(self.progress) if builder.text is not None else None
        self.completions = builder.text.completions if builder.text is not None else None
        users = source.users(CatalogueBuilder(self.folder, "users", self.records, complaints), self.progress)
        if not complaints:  # shapes are judged before the long work, together with the catalogues' faults
            for name in self.spec.spaces:
                source.vectors(name, items.count, users.count, complaints)
        complaints.settle()
        for name, space in self.spec.spaces.items():
            check_memory(name, space, items.count, self.memory_bytes)
        return items, users

    def _events(self, items: CatalogueFacts, users: CatalogueFacts) -> EventFacts | None:
        spec, ids = self.spec.events, self.folder / "ids"
        stream = self.source.events(ids, items, users, self.complaints)
        if stream is None or spec is None:
            return None
        spill = Spill(self.scratch / "events", 0, users.count, stream.expected)
        by_item: Spill | None = None
        if "time" in stream.fields:
            by_item = Spill(self.scratch / "item_times", 0, items.count, stream.expected, key="item")
        self.progress.phase("reading events")
        try:
            for events in stream.batches():
                if not self.complaints:
                    spill.write(events)
                    if by_item is not None:
                        by_item.write(item_times(events))
                self.progress.advance(len(events))
        finally:
            for one in (spill, by_item):
                if one is not None:
                    one.close()
        self.complaints.settle()
        newest = stream.newest if spec.time is not None else None
        settler = Settler(
            self.folder, self.scratch, spec, stream.fields, items.count, newest, self.records, stream.labels
        )
        self.progress.phase("settling events", stream.count)
        settler.settle_all(spill, self.progress)
        settler.close()
        if by_item is not None:
            self.progress.phase("settling times of items", stream.count)
            writer = ItemTimesWriter(self.folder)
            writer.settle_all(by_item, self.progress)
            writer.close()
        keys = map_array(ids / "items" / "keys.npy")
        build_popularity(self.folder, settler.popularity, keys, spec.popular_max)
        build_seen_by(self.folder, items.count, self.progress)
        if spec.neighbours_max:
            build_neighbours(
                self.folder, self.scratch, keys, spec.neighbours_max, self.kernels.accumulate, self.progress
            )
        return EventFacts(
            count=stream.count,
            skipped=stream.skipped,
            newest=newest,
            actions=stream.labels,
            half_life_days=spec.half_life_days if spec.time is not None else None,
            history_max=spec.history_max,
            neighbours=spec.neighbours_max > 0,
            item_times=by_item is not None,
            seen_by=True,
        )

    def _space(self, name: str, space: SpaceSpec, items: CatalogueFacts, users: CatalogueFacts) -> SpaceFacts:
        folder = self.folder / "spaces" / name
        given = self.source.vectors(name, items.count, users.count, self.complaints)
        if not given:
            graph, counts = self.folder / "graph", (users.count, items.count)
            learnt = learn(name, space, graph, self.scratch, *counts, self.memory_bytes, self.progress)
            given = [Given("items", Path(), learnt[0]), Given("users", Path(), learnt[1])]
        dim = given[0].rows.shape[-1]
        vectors = next((one.rows.shape[1] for one in given if one.side == "users" and len(one.rows.shape) == 3), 1)
        self.progress.phase(f"copying {name}", sum(len(one.rows) for one in given))
        for one in given:
            key = f"spaces.{name}.{one.side}"
            copy_matrix(one.rows, folder, one.side, one.path, key, self.complaints, self.progress)
        self.complaints.settle()
        sides_present = {one.side for one in given}
        indexes: tuple[IndexFacts, ...] = ()
        if "items" in sides_present:
            write_frame(folder, "items", space.metric, rotate=space.rotate)
            self.progress.phase(f"coding {name}", items.count)
            write_codes(folder, "items", space.metric, self.progress)
            if items.count >= NIBBLES_MIN:
                self.progress.phase(f"coding {name} again, in int4", items.count)
                write_nibbles(folder, "items", space.metric, self.progress)
            shape = items.count, dim
            indexes = build_indexes(name, space, folder, shape, self.kernels, self.memory_bytes, self.progress)
        for one in given:
            leave_out(folder, one.side, one.absent, vectors if one.side == "users" else 1)
        return SpaceFacts(
            dim,
            space.metric,  # type: ignore[arg-type]
            space.index if indexes else "exact",
            "items" in sides_present,
            "users" in sides_present,
            indexes,
            vectors,
            "items" in sides_present and space.rotate,
        )
