"""Snapshots: a consistent epoch and log, taken while a node serves, kept in a folder or sent as one stream.

A lease on the epoch keeps it from being pruned, the log is copied within one of LMDB's transactions, and a snapshot
gets its number by one rename after all of it is on the disk. What an older snapshot of the folder has is linked.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mixline.storage.digests import Advance, digest, seal_of
from mixline.storage.errors import SnapshotMissing, StorageError, StoreDamaged, StoreUnwritable
from mixline.storage.lock import Lease, StoreLock, try_evict
from mixline.storage.manifest import MANIFEST, SEAL, read_manifest
from mixline.storage.publish import epoch_folder, read_current, sync
from mixline.storage.snapshot_files import hashed, may_link, place, protect, settle, snapshot_faults
from mixline.storage.snapshot_log import log_copy
from mixline.storage.snapshot_manifest import (
    LOG_FILE,
    SNAPSHOT,
    SNAPSHOT_FORMAT,
    SNAPSHOT_SEAL,
    SnapshotFile,
    SnapshotManifest,
    encode_snapshot,
    epoch_name,
    read_snapshot,
)
from mixline.storage.snapshot_stream import StreamWriter
from mixline.storage.store import Pruned, Store

SNAPSHOTS = "snapshots"
CREATING, PRUNING = ".creating-", ".pruning-"


class SnapshotInfo(NamedTuple):
    """One line of ``mixline snapshot list``; ``taken`` is the manifest's time in seconds since 1970."""

    number: int
    epoch: int
    live_seq: int
    log_seq: int
    files: int
    bytes: int
    taken: int
    fault: str | None


class Taken(NamedTuple):
    """What a snapshot cost: bytes that other files hold too (links), share until changed (clones), and new ones."""

    number: int
    epoch: int
    live_seq: int
    log_seq: int
    bytes: int
    linked: int
    cloned: int
    copied: int


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """What the file system refuses becomes a message about ``folder``."""
    try:
        yield
    except OSError as error:
        raise StoreUnwritable(folder, error) from error


class Snapshots:
    """A folder of numbered snapshots."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def of(cls, store: str | Path) -> Snapshots:
        """Those that lie in the store itself."""
        return cls(Path(store) / SNAPSHOTS)

    def numbers(self) -> list[int]:
        """Ascending."""
        try:
            names = [path.name for path in self.folder.iterdir() if not path.is_symlink()]
        except FileNotFoundError:
            return []
        return sorted(int(name) for name in names if name.isdecimal() and len(name) >= 6)

    def path(self, number: int | None = None) -> Path:
        """The folder of one snapshot, the newest by default."""
        known = self.numbers()
        if number is None and known:
            number = known[-1]
        if number not in known:
            listed = ", ".join(map(str, known)) or "none"
            wanted = "no snapshot" if number is None else f"there is no snapshot {number}"
            raise SnapshotMissing(f"{self.folder}: {wanted}; there are: {listed}")
        return self.folder / f"{number:06d}"

    def infos(self) -> list[SnapshotInfo]:
        """All of them, oldest first, without reading their files."""
        return [self._info(number) for number in self.numbers()]

    def _info(self, number: int) -> SnapshotInfo:
        folder = self.path(number)
        try:
            taken = int((folder / SNAPSHOT).stat().st_mtime)
            found = read_snapshot(folder)
        except (StorageError, OSError) as error:
            return SnapshotInfo(number, 0, 0, 0, 0, 0, 0, str(error))
        facts = found.epoch, found.live_seq, found.log_seq, len(found.files), found.total_bytes
        return SnapshotInfo(number, *facts, taken, None)

    def verify(self, number: int | None = None, advance: Advance = lambda _: None) -> list[str]:
        """Read all of a snapshot against its digests; every fault, none when it is whole."""
        folder = self.path(number)
        try:
            with Lease(folder, SNAPSHOT):
                return snapshot_faults(folder, advance)
        except (StorageError, OSError) as error:
            return [str(error)]

    def create(self, store: str | Path, epoch: int | None = None, advance: Advance = lambda _: None) -> Taken:
        """Take a snapshot of a store's active epoch, or of ``epoch``, and of its log.

        Every file is read against its digest, linked or not. On any error the folder is as before.
        """
        store = Path(store)
        with Held(store, epoch) as held, unwritable(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with StoreLock(self.folder, "mixline snapshot create"):
                sweep(self.folder)
                number = max(self.numbers(), default=0) + 1
                fresh = self.folder / f"{CREATING}{number:06d}"
                try:
                    return self._fill(held, fresh, number, advance)
                finally:
                    shutil.rmtree(fresh, ignore_errors=True)

    def _fill(self, held: Held, fresh: Path, number: int, advance: Advance) -> Taken:
        log_seq = log_copy(held.store, (fresh / LOG_FILE).parent)
        known = self._known()
        spent = {"linked": 0, "cloned": 0, "copied": 0}
        files: dict[str, SnapshotFile] = {}
        for name, source, facts in held.files():
            target, older = fresh / name, known.get(facts)
            if older is not None and may_link(name) and self._take(older, target, facts, advance):
                spent["linked"] += facts.bytes
            else:
                spent[place(source, target, may_link(name))] += facts.bytes
                if hashed(target, advance) != facts.sha256:
                    raise StoreDamaged(f"{source}: differs from its epoch's manifest; run mixline epoch verify")
            protect(target)
            files[name] = facts
        log = fresh / LOG_FILE
        if log.exists():
            facts = files[LOG_FILE] = SnapshotFile(log.stat().st_size, hashed(log, advance))
            same, spare = known.get(facts), log.with_suffix(".same")
            linked = same is not None and self._take(same, spare, facts, advance)
            if linked:
                spare.replace(log)  # a snapshot's log never changes
            spent["linked" if linked else "copied"] += facts.bytes
            protect(log)
        manifest = SnapshotManifest(SNAPSHOT_FORMAT, held.epoch, held.live_seq, log_seq, files)
        write_snapshot(fresh, manifest)
        settle(fresh)
        fresh.rename(self.folder / f"{number:06d}")
        sync(self.folder)
        return Taken(number, held.epoch, held.live_seq, log_seq, manifest.total_bytes, **spent)

    def _known(self) -> dict[SnapshotFile, Path]:
        """Where each content lies in the snapshots that there are, the newest first."""
        found: dict[SnapshotFile, Path] = {}
        for number in reversed(self.numbers()):
            folder = self.path(number)
            try:
                files = read_snapshot(folder).files
            except StorageError:
                continue  # a damaged one is told of by verify
            for name, facts in files.items():
                found.setdefault(facts, folder / name)
        return found

    def _take(self, older: Path, target: Path, facts: SnapshotFile, advance: Advance) -> bool:
        """Link what an older snapshot has, unless it is damaged or cannot be linked."""
        try:
            way = place(older, target, link=True)
            if way == "linked" and hashed(target, advance) == facts.sha256:
                return True
        except OSError:
            pass  # the epoch's own file will do
        target.unlink(missing_ok=True)
        return False

    def prune(self, keep: int) -> Pruned:
        """Remove all but the ``keep`` newest, and those that are being read."""
        if keep < 1:
            raise ValueError("keep must be at least 1")
        if not self.folder.is_dir():
            raise SnapshotMissing(f"{self.folder}: there are no snapshots here")
        done = Pruned([], [])
        with unwritable(self.folder), StoreLock(self.folder, f"mixline snapshot prune --keep {keep}"):
            sweep(self.folder)
            for number in self.numbers()[:-keep]:
                folder = self.path(number)
                held = try_evict(folder, SNAPSHOT) if (folder / SNAPSHOT).exists() else -1
                if held is None:
                    done.in_use.append(number)
                    continue
                doomed = self.folder / f"{PRUNING}{folder.name}"
                folder.rename(doomed)
                if held >= 0:
                    os.close(held)
                sync(self.folder)
                shutil.rmtree(doomed)
                done.removed.append(number)
        return done


class Held:
    """The epoch that a snapshot is taken of, leased."""

    def __init__(self, store: Path, number: int | None) -> None:
        self.store = store
        while True:
            self.epoch = Store(store).current() if number is None else number
            self.folder = epoch_folder(store, self.epoch)
            try:
                self.lease = Lease(self.folder)
                break
            except StorageError:
                if number is not None or read_current(store) == self.epoch:
                    raise  # else it was replaced and pruned between the two steps
        try:
            self.manifest = read_manifest(self.folder)
        except BaseException:
            self.lease.close()
            raise
        self.live_seq = self.manifest.live_seq

    @property
    def bytes(self) -> int:
        return sum(facts.bytes for facts in self.manifest.files.values())

    def files(self) -> Iterator[tuple[str, Path, SnapshotFile]]:
        """Name in the snapshot, path, and what the file must be; the manifest and its seal first."""
        raw = (self.folder / MANIFEST).read_bytes()
        if (self.folder / SEAL).read_bytes() != seal_of(raw):
            raise StoreDamaged(
                f"{self.folder / MANIFEST}: does not match its digest in {SEAL}; run mixline epoch verify"
            )
        prefix = epoch_name(self.epoch)
        for name in (MANIFEST, SEAL):
            path = self.folder / name
            yield f"{prefix}/{name}", path, SnapshotFile(path.stat().st_size, digest(path))
        for name, facts in sorted(self.manifest.files.items()):
            yield f"{prefix}/{name}", self.folder / name, SnapshotFile(facts.bytes, facts.sha256)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self.lease.close()


def write_snapshot(folder: Path, manifest: SnapshotManifest) -> None:
    """Manifest and seal, the last files of a snapshot."""
    raw = encode_snapshot(manifest)
    for name, content in ((SNAPSHOT, raw), (SNAPSHOT_SEAL, seal_of(raw, SNAPSHOT))):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o444)


def sweep(folder: Path) -> None:
    """Remove what killed commands left. The caller holds the folder's lock."""
    for path in sorted(folder.glob(".*")):
        if path.name.startswith((CREATING, PRUNING)):
            shutil.rmtree(path)


def write_stream(
    store: str | Path, out: BinaryIO, epoch: int | None = None, advance: Advance = lambda _: None
) -> SnapshotManifest:
    """Send a snapshot of a store to ``out`` as a tar; :class:`StoreDamaged` leaves a stream that no reader takes."""
    store = Path(store)
    with Held(store, epoch) as held:
        scratch = store / SNAPSHOTS
        scratch.mkdir(exist_ok=True)
        with StoreLock(scratch, "mixline snapshot create"):
            sweep(scratch)
            copy = scratch / f"{CREATING}stream"
            try:
                log_seq = log_copy(store, copy)
                writer = StreamWriter(out, advance)
                for name, source, facts in held.files():
                    writer.file(name, source, facts)
                log = copy / Path(LOG_FILE).name
                if log.exists():
                    writer.file(LOG_FILE, log, None)
                return writer.close(held.epoch, held.live_seq, log_seq)
            finally:
                shutil.rmtree(copy, ignore_errors=True)
