"""Where a user still is besides living data: in epochs, which are written again without them, and in snapshots."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import lmdb
import msgspec
import numpy as np

from mixline.storage.digests import facts_of
from mixline.storage.epoch import Epoch
from mixline.storage.epoch_erase import erase_users
from mixline.storage.errors import StorageError, StoreUnwritable, UnknownId
from mixline.storage.live_erase import forgotten_rows
from mixline.storage.live_ops import Id, decode_batch
from mixline.storage.live_paths import LOG_TABLE
from mixline.storage.lock import StoreLock
from mixline.storage.log_rewrite import traces_of, without_user
from mixline.storage.publish import BUILDING, EPOCHS, epoch_folder, epoch_numbers, publish, sweep, write_current
from mixline.storage.self_test import self_test
from mixline.storage.snapshot_manifest import LOG_FILE, epoch_name, read_snapshot
from mixline.storage.snapshots import Snapshots
from mixline.storage.store import Store

TABLES_MAX = 8


class Forgot(NamedTuple):
    """``active``: the new epoch without the user, None where the active one did not have them. ``removed``: epochs that
    had them and are gone; ``held``: those that somebody still reads."""

    active: int | None
    removed: list[int]
    held: list[int]


def forget_in_epochs(path: Path, user: Id) -> Forgot:
    """Write the active epoch again without a user, and without all that were forgotten while it was served, make that
    the active one, and remove every other epoch that has one of them: rolling back to it would bring them back."""
    store = Store(path)
    with StoreLock(path, "mixline forget"):
        sweep(path)
        active = store.current()
        having = {number: rows for number in epoch_numbers(path) if len(rows := rows_in(path, number, user))}
        fresh: int | None = None
        if active in having:
            fresh = max(epoch_numbers(path)) + 1
            try:
                publish_without(path, active, fresh, having[active])
            except (OSError, lmdb.Error) as error:
                raise StoreUnwritable(path, error) from error
            self_test(epoch_folder(path, fresh))
            write_current(path, fresh)
        done = Forgot(fresh, [], [])
        for number in having:
            (done.removed if store.remove(epoch_folder(path, number)) else done.held).append(number)
        return done


def rows_in(store: Path, number: int, user: Id) -> np.ndarray:
    """Rows of an epoch that are to be nobody's: the user's, and those that were forgotten since it was built."""
    with Epoch(epoch_folder(store, number)) as epoch:
        rows = set(forgotten_rows(store, number).tolist())
        with suppress(UnknownId):
            rows.add(epoch.users.row_of(user))
    return np.array(sorted(rows), dtype=np.uint32)


def publish_without(store: Path, number: int, fresh: int, rows: np.ndarray) -> None:
    """Publish an epoch again under the number ``fresh``, without the users of ``rows``."""
    folder = store / EPOCHS / f"{BUILDING}{fresh:06d}"
    try:
        folder.mkdir()
        with Epoch(epoch_folder(store, number)) as epoch:
            changed = erase_users(epoch, rows, folder)
            files = dict(epoch.manifest.files)
            files.update({name: facts_of(folder / name) for name in changed})
            manifest = msgspec.structs.replace(epoch.manifest, number=fresh, files=files)
        publish(store, folder, manifest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def snapshots_with(folder: Path, user: Id) -> Iterator[str]:
    """The snapshots in a folder that hold a user, and those that cannot be read to know."""
    shots = Snapshots(folder)
    for number in shots.numbers():
        path = shots.path(number)
        try:
            if snapshot_has(path, user):
                yield str(path)
        except (StorageError, OSError, lmdb.Error) as error:
            yield f"{path} (cannot be read: {error})"


def snapshot_has(path: Path, user: Id) -> bool:
    """Whether a snapshot's epoch has a user, or its log."""
    manifest = read_snapshot(path)
    with Epoch(path / epoch_name(manifest.epoch)) as epoch:
        try:
            epoch.users.row_of(user)
            return True
        except UnknownId:
            pass
    log = path / LOG_FILE
    return log.exists() and log_has(log.parent, user)


def log_has(folder: Path, user: Id) -> bool:
    """Whether a log that nobody writes names a user."""
    traces = traces_of(user)
    with lmdb.open(str(folder), readonly=True, lock=False, create=False, max_dbs=TABLES_MAX) as env:
        try:
            table = env.open_db(LOG_TABLE, create=False)
        except lmdb.NotFoundError:
            return False
        with env.begin(db=table) as transaction:
            for _, raw in transaction.cursor():
                if any(trace in raw for trace in traces):
                    batch = decode_batch(raw)
                    if without_user(batch, user) != batch:
                        return True
    return False
