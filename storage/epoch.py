"""One immutable version of all data, opened by any number of processes that share one copy.

Opening reads the manifest, one ``stat`` per file and LMDB's two meta pages; arrays are mapped when first asked for.
So a worker is ready in milliseconds and pays only for the pages that its requests touch.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from types import TracebackType

import numpy as np

from mixline.storage.arrays import map_array
from mixline.storage.askers import Askers
from mixline.storage.catalogue import Catalogue
from mixline.storage.completions import Completions
from mixline.storage.counting import Built
from mixline.storage.digests import stamp_of, stamps_of
from mixline.storage.errors import StoreDamaged
from mixline.storage.growing import Arrays, GrowingArrays
from mixline.storage.histories import History, unpack_history
from mixline.storage.item_times import open_item_times
from mixline.storage.lock import Lease, try_evict
from mixline.storage.manifest import Manifest, read_manifest
from mixline.storage.neighbours import Bipartite, Csr, Popularity, open_neighbours, open_popularity
from mixline.storage.owner import Owner
from mixline.storage.past_queries import ActedOn, has_acted
from mixline.storage.records import RecordStore, row_key
from mixline.storage.spaces import Space
from mixline.storage.text_index import TextIndex


class Epoch:
    """Read-only; leased, so that it is not pruned while open; refuses use after a fork. Close it, or use ``with``.

    With ``grows``, arrays by row have room for rows that come later, and are longer than the epoch's counts.
    """

    def __init__(self, path: Path, *, grows: bool = False) -> None:
        self.path = path
        self.arrays = GrowingArrays(path) if grows else Arrays()
        self._lease = Lease(path)
        try:
            self.manifest: Manifest = read_manifest(path)
            self._stamps = stamps_of(path, self.manifest)
            self._owner = Owner(str(path))
            self.records = RecordStore(path, self._owner)
        except BaseException:
            self._lease.close()
            raise
        self.number = self.manifest.number
        self.live_seq = self.manifest.live_seq
        self._items = Catalogue(path, "items", self.manifest.items, self.records, self.arrays)
        self._users = Catalogue(path, "users", self.manifest.users, self.records, self.arrays)
        counts = self.manifest.items.count, self.manifest.users.count
        self._spaces = {
            name: Space(path, name, facts, self.arrays, counts) for name, facts in self.manifest.spaces.items()
        }

    @property
    def items(self) -> Catalogue:
        self._owner.check()
        return self._items

    @property
    def users(self) -> Catalogue:
        self._owner.check()
        return self._users

    @property
    def spaces(self) -> dict[str, Space]:
        self._owner.check()
        return self._spaces

    @property
    def actions(self) -> tuple[str, ...]:
        """Label by action code; events of a build without actions have the empty one."""
        events = self.manifest.events
        return events.actions if events is not None and events.actions else ("",)

    @property
    def creator(self) -> str | None:
        """The column of items that says who made them, None where the build named none."""
        return self.manifest.spec.get("items", {}).get("creator")

    @cached_property
    def popularity(self) -> Popularity:
        """The most popular items; empty when the epoch was built without events."""
        self._owner.check()
        if self.manifest.events is None:
            return Popularity(np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.float32))
        return open_popularity(self.path)

    @cached_property
    def neighbours(self) -> Csr | None:
        """Item-to-item lists by co-occurrence, None when the epoch has none."""
        self._owner.check()
        events = self.manifest.events
        return open_neighbours(self.path) if events is not None and events.neighbours else None

    @cached_property
    def text(self) -> TextIndex | None:
        """What the items' texts are found by; None when the epoch was built without."""
        self._owner.check()
        facts = self.manifest.text
        return TextIndex(self.path, facts, self._items.count) if facts is not None else None

    @cached_property
    def completions(self) -> Completions | None:
        """What completes the words that somebody types; None when the epoch has no column for it."""
        self._owner.check()
        facts = self.manifest.text
        return Completions(self.path) if facts is not None and facts.suggest else None

    @cached_property
    def acted_on(self) -> ActedOn | None:
        """Which items those acted on who asked before; None when the epoch was built without."""
        self._owner.check()
        folder = self.path / "text"
        return ActedOn(folder) if has_acted(folder) else None

    @cached_property
    def askers(self) -> Askers | None:
        """Which past queries others may be told of; None when the epoch was built before that was asked."""
        self._owner.check()
        return Askers.open(self.path / "text")

    @cached_property
    def item_times(self) -> Built | None:
        """When the events of each item happened, to be counted; None when the epoch does not have it."""
        self._owner.check()
        events = self.manifest.events
        return open_item_times(self.path) if events is not None and events.item_times else None

    def history(self, user_row: int) -> History:
        """The newest events of a user (at most the specification's ``history_max``), newest first."""
        return unpack_history(self.records.get("history", row_key(user_row)))

    def seen(self, user_row: int) -> np.ndarray:
        """Sorted unique rows (uint32, mapped) of all items the user ever acted on."""
        self._owner.check()
        if self._seen is None or not 0 <= user_row < self._users.count:
            return np.zeros(0, dtype=np.uint32)
        indptr, rows = self._seen
        return rows[indptr[user_row] : indptr[user_row + 1]]

    @cached_property
    def acted(self) -> Bipartite | None:
        """Who acted on what, from both sides; None when the epoch does not have it."""
        self._owner.check()
        events = self.manifest.events
        if events is None or not events.seen_by or self._seen is None:
            return None
        graph = self.path / "graph"
        return Bipartite(map_array(graph / "seen_by_indptr.npy"), map_array(graph / "seen_by_users.npy"), *self._seen)

    @cached_property
    def _seen(self) -> tuple[np.ndarray, np.ndarray] | None:
        if self.manifest.events is None:
            return None
        folder = self.path / "graph"
        return map_array(folder / "seen_indptr.npy"), map_array(folder / "seen_rows.npy")

    def check_unchanged(self) -> None:
        """Raise :class:`StoreDamaged` if any file's size, inode or time differs from when the epoch was opened."""
        for name, stamp in self._stamps.items():
            try:
                same = stamp_of(self.path / name) == stamp
            except FileNotFoundError:
                same = False
            if not same:
                raise StoreDamaged(f"{self.path / name}: changed while being served; restart on another epoch")

    def lease(self) -> Lease:
        """A further hold on this epoch that outlives :meth:`close`."""
        self._owner.check()
        return Lease(self.path)

    def read_by_others(self) -> bool:
        """Whether anybody else holds a lease; ours is let go for the moment."""
        self._owner.check()
        self._lease.close()
        held = try_evict(self.path)
        if held is not None:
            os.close(held)
        self._lease = Lease(self.path)
        return held is None

    def close(self) -> None:
        """Close LMDB and let go of the lease. Arrays already handed out stay valid while they are referenced."""
        if self._owner.open:
            self._owner.check()
            self.records.close()
            self._lease.close()
            self._owner.open = False

    def __enter__(self) -> Epoch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
