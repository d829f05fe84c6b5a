"""Records, string ids and histories in LMDB: what is looked up by key or varies in length.

Opened read-only and without locks, which is sound only because a published epoch never changes. Row keys are 4 bytes
big-endian, so that LMDB's order is row order and a build appends.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import lmdb
import msgspec

from mixline.storage.environments import close_shared, open_shared
from mixline.storage.errors import StoreDamaged
from mixline.storage.owner import Owner

RECORDS = "records.lmdb"
TABLES = ("items", "users", "item_ids", "user_ids", "history")
MAP_BYTES = 1 << 42  # address space while building; the file grows only with what is written
COMMIT_BYTES = 16 << 20  # dirty pages live in our memory until commit, so this bounds them

Record = list[object]
decode_record = msgspec.msgpack.Decoder(list).decode


def row_key(row: int) -> bytes:
    return row.to_bytes(4, "big")


class RecordStore:
    """Read access to the tables; one lasting read transaction per thread."""

    def __init__(self, folder: Path, owner: Owner) -> None:
        self.path = folder / RECORDS
        self._owner = owner
        try:
            self._shared = open_shared(self.path, TABLES)
        except (lmdb.Error, OSError) as error:
            raise StoreDamaged(f"{self.path}: {error}; run mixline epoch verify, or build again") from error
        self._env, self._tables = self._shared.environment, self._shared.tables
        self._threads = threading.local()

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value of ``key``, or None."""
        self._owner.check()
        found = self._transaction().get(key, db=self._tables[table])
        return None if found is None else bytes(found)

    def record(self, table: str, row: int) -> Record:
        """The values of one row in the order of the schema's columns."""
        raw = self.get(table, row_key(row))
        return [] if raw is None else decode_record(raw)

    def scan(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """All keys and values of a table in key order."""
        self._owner.check()
        with self._env.begin(db=self._tables[table]) as transaction, transaction.cursor() as cursor:
            yield from cursor

    def close(self) -> None:
        self._threads = threading.local()
        close_shared(self._shared)

    def _transaction(self) -> lmdb.Transaction:
        found = getattr(self._threads, "transaction", None)
        if found is None:
            found = self._threads.transaction = self._env.begin()
        return found


class RecordWriter:
    """Fill a fresh environment; commits whenever enough is dirty, syncs once at the end."""

    def __init__(self, folder: Path) -> None:
        path = folder / RECORDS
        self._env = lmdb.open(
            str(path), map_size=MAP_BYTES, lock=False, sync=False, metasync=False, max_dbs=len(TABLES), readahead=False
        )
        self._tables = {name: self._env.open_db(name.encode()) for name in TABLES}
        self._transaction: lmdb.Transaction | None = None
        self._dirty_bytes = 0

    def put(self, table: str, pairs: Iterable[tuple[bytes, bytes]], *, append: bool) -> None:
        """Write pairs; with ``append`` their keys ascend and lie above all present ones."""
        for key, value in pairs:
            if self._transaction is None:
                self._transaction = self._env.begin(write=True)
            self._transaction.put(key, value, db=self._tables[table], append=append)
            self._dirty_bytes += len(key) + len(value) + 16
            if self._dirty_bytes > COMMIT_BYTES:
                self._commit()

    def close(self) -> None:
        self._commit()
        self._env.sync(True)
        self._env.close()

    def _commit(self) -> None:
        if self._transaction is not None:
            self._transaction.commit()
        self._transaction = None
        self._dirty_bytes = 0
