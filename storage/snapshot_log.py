"""A consistent copy of the live log while its writer commits: LMDB's own copy, which reads one transaction."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import lmdb

from mixline.storage.errors import StoreDamaged
from mixline.storage.live_paths import LOG_TABLE, log_exists, log_folder, map_bytes

TABLES_MAX = 8


def log_copy(store_path: str | Path, target_folder: str | Path) -> int:
    """Copy the log of a store into ``target_folder/data.mdb``; returns the last sequence number in the copy.

    0 when the log is empty or absent; absent, nothing is made. Raises :class:`StoreDamaged` and ``OSError``.
    """
    source, target = log_folder(Path(store_path)), Path(target_folder)
    if not log_exists(Path(store_path)):
        return 0
    target.mkdir(parents=True, exist_ok=True)
    try:
        with lmdb.open(
            str(source),
            readonly=True,
            lock=True,
            create=False,
            max_dbs=TABLES_MAX,
            map_size=map_bytes(Path(store_path)),
        ) as log:
            log.copy(str(target), compact=True)
    except lmdb.DiskError as error:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
    except lmdb.Error as error:
        raise StoreDamaged(f"{source}: the log cannot be copied: {error}; mixline doctor --store says more") from error
    span = log_span(target)
    return span[1] if span else 0


def log_span(folder: Path) -> tuple[int, int] | None:
    """First and last sequence number of the log in ``folder``, which nobody writes; None when it is empty."""
    try:
        with lmdb.open(str(folder), readonly=True, lock=False, create=False, max_dbs=TABLES_MAX) as log:
            try:
                table = log.open_db(LOG_TABLE, create=False)
            except lmdb.NotFoundError:
                return None
            with log.begin(db=table) as transaction, transaction.cursor() as cursor:
                if not cursor.first():
                    return None
                first = int.from_bytes(cursor.key(), "big")
                cursor.last()
                return first, int.from_bytes(cursor.key(), "big")
    except lmdb.Error as error:
        raise StoreDamaged(f"{folder}: no log can be read here: {error}") from error
