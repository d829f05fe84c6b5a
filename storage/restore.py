"""From a snapshot to a store that serves: staged beside, read against every digest, and only then given its names.

The log goes only into a store that has no active epoch, since a log and the epoch that it is replayed on change hands
together and two renames are not one step: CURRENT, written last, is the step. Whoever is killed before it leaves a
folder that is cleared by the next one that holds the store's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mixline.storage.digests import Advance
from mixline.storage.errors import RestoreRefused, SnapshotDamaged
from mixline.storage.live_paths import log_folder
from mixline.storage.lock import LOCK, Lease, StoreLock
from mixline.storage.publish import (
    CURRENT,
    EPOCHS,
    MOVING,
    RESTORING,
    clear_restore,
    epoch_folder,
    epoch_numbers,
    read_current,
    sweep,
    sync,
    write_current,
)
from mixline.storage.self_test import self_test
from mixline.storage.snapshot_files import faults_in, may_link, place, protect, settle
from mixline.storage.snapshot_log import log_span
from mixline.storage.snapshot_manifest import LOG_FILE, SNAPSHOT, SnapshotManifest, plain_files, read_snapshot
from mixline.storage.snapshots import SNAPSHOTS, unwritable

OURS = frozenset((LOCK, RESTORING, EPOCHS, "live", SNAPSHOTS, "lost+found", f".{CURRENT}.new"))


class Restored(NamedTuple):
    """What a restore has made."""

    epoch: int
    live_seq: int
    log_seq: int
    bytes: int
    active: bool
    log: bool


def restore(
    snapshot: Path, store: Path, *, activate: bool = True, epoch_only: bool = False, advance: Advance = lambda _: None
) -> Restored:
    """Restore the snapshot that lies in the folder ``snapshot``."""

    def stage(folder: Path) -> SnapshotManifest:
        manifest = read_snapshot(snapshot)
        check_fits(manifest, store, epoch_only)  # before anything is copied
        present = set(plain_files(snapshot))  # refuses links, of files and of folders
        for name in manifest.files:
            if name not in present:
                raise SnapshotDamaged(f"{snapshot / name}: missing; run mixline snapshot verify")
            place(snapshot / name, folder / name, may_link(name))
        return manifest

    with Lease(snapshot, SNAPSHOT):
        return _restore(stage, store, activate, epoch_only, advance)


def restore_stream(
    source: BinaryIO,
    where: str,
    store: Path,
    *,
    activate: bool = True,
    epoch_only: bool = False,
    advance: Advance = lambda _: None,
) -> Restored:
    """Restore what a stream holds; ``where`` is its name in messages."""

    def stage(folder: Path) -> SnapshotManifest:
        from mixline.storage.snapshot_stream import unpack

        unpack(source, where, folder, lambda _: None)
        return read_snapshot(folder)

    return _restore(stage, store, activate, epoch_only, advance)


def _restore(
    stage: Callable[[Path], SnapshotManifest], store: Path, activate: bool, epoch_only: bool, advance: Advance
) -> Restored:
    with unwritable(store):
        check_ours(store)
        (store / EPOCHS).mkdir(parents=True, exist_ok=True)
        with StoreLock(store, "mixline snapshot restore"):
            sweep(store)
            folder = store / RESTORING / "files"
            try:
                folder.mkdir(parents=True)
                manifest = stage(folder)  # all but manifest and seal, or all
                check_fits(manifest, store, epoch_only)
                faults = faults_in(folder, manifest, advance)
                if faults:
                    listed = "\n  ".join(faults)
                    raise SnapshotDamaged(f"the snapshot is damaged, nothing was restored:\n  {listed}")
                return _publish(folder, manifest, store, activate, epoch_only)
            finally:
                clear_restore(store)


def _publish(folder: Path, manifest: SnapshotManifest, store: Path, activate: bool, epoch_only: bool) -> Restored:
    fresh = read_current(store) is None
    with_log = LOG_FILE in manifest.files and fresh and not epoch_only
    for path in folder.rglob("*"):
        if path.is_file():
            protect(path)
    if with_log:
        (folder / LOG_FILE).chmod(0o644)
    settle(folder)
    if fresh:
        (store / RESTORING / MOVING).write_text(f"{manifest.epoch} {int(with_log)}\n", "ascii")
        sync(store / RESTORING / MOVING)
        sync(store / RESTORING)
        sync(store)
    if with_log:
        target = log_folder(store)
        target.parent.mkdir(exist_ok=True)
        log_folder(folder).rename(target)
        sync(target.parent)
        sync(store)
    final = epoch_folder(store, manifest.epoch)
    (folder / EPOCHS / final.name).rename(final)
    sync(final.parent)
    if activate:
        self_test(final)
        write_current(store, manifest.epoch)
    elif fresh:
        (store / RESTORING / MOVING).unlink()  # this is all that was wanted
    return Restored(manifest.epoch, manifest.live_seq, manifest.log_seq, manifest.total_bytes, activate, with_log)


def check_ours(store: Path) -> None:
    """Refuse a folder that is neither new, nor empty, nor a store."""
    if not store.exists() or (store / CURRENT).exists():
        return
    if not store.is_dir():
        raise RestoreRefused(f"{store}: is no folder; name a new or an empty one")
    strange = sorted(path.name for path in store.iterdir() if path.name not in OURS)
    if strange:
        raise RestoreRefused(f"{store}: holds {strange[0]!r} and is no store; name a new or an empty folder")


def check_fits(manifest: SnapshotManifest, store: Path, epoch_only: bool) -> None:
    """Refuse what would overwrite, or be replayed on, what the store already has."""
    if manifest.epoch in epoch_numbers(store):
        raise RestoreRefused(
            f"{store}: already has an epoch {manifest.epoch}; mixline epoch activate {store} {manifest.epoch} makes it "
            "the active one, or restore into a new folder"
        )
    own_log = log_folder(store)
    has_log = (own_log / Path(LOG_FILE).name).exists()
    if read_current(store) is None:
        if has_log and not epoch_only:
            raise RestoreRefused(f"{store}: has a live log and no active epoch; restore into a new folder")
        return
    if LOG_FILE in manifest.files and not epoch_only:
        raise RestoreRefused(
            f"{store}: has an active epoch, and the snapshot has a log of its own, which would replace or mix with the "
            "store's; restore into a new folder, or give --epoch-only to leave the snapshot's log out"
        )
    if has_log:
        span = log_span(own_log)
        if span is not None and span[0] > manifest.live_seq + 1:
            raise RestoreRefused(
                f"{store}: its log begins at {span[0]}, and epoch {manifest.epoch} ends at {manifest.live_seq}: "
                "updates between the two would be lost; restore into a new folder"
            )
