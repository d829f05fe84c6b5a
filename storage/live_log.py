"""The log of living data: every batch that was acknowledged, in order, in LMDB. Its commit is the only truth.

A batch stands under the number of its last operation, so the last key is the sequence that everything has reached.
In the same transaction stands the last batch of its client, so a batch that is sent again is known and not applied.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import lmdb
import msgspec

from mixline.storage.errors import LogUnwritable, StoreDamaged, StoreLocked
from mixline.storage.live_ops import Batch, decode_batch, encode_batch, operation_count
from mixline.storage.live_paths import LOG_TABLE, log_exists, log_folder

FACTS_TABLE = b"facts"
TABLES = (LOG_TABLE, b"clients", FACTS_TABLE)
PRUNED = b"pruned"  # in facts: the number of the last operation that is no longer there
MAP_BYTES = 1 << 40  # address space; the file grows only with what is written
READERS_MAX = 1024
PRUNE_BATCHES = 10_000  # let go of in one transaction


_here: dict[tuple[int, Path], LiveLog] = {}  # open in this process: LMDB forbids to open an environment twice


class Written(NamedTuple):
    """A client's last batch: its ``sequence``, and the numbers ``first`` .. ``last`` of its operations."""

    sequence: int
    first: int
    last: int


_written = msgspec.msgpack.Decoder(Written)


class LiveLog:
    """The one writer's handle. Any error of the disk ends writing until the log is opened again."""

    def __init__(self, store: Path) -> None:
        self.path = log_folder(store)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path.parent / "WRITER", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            lock_writer(self._lock, store)
            self._env = lmdb.open(str(self.path), map_size=MAP_BYTES, max_dbs=len(TABLES), max_readers=READERS_MAX)
            self._env.reader_check()
            self._log, self._clients, self._facts = (self._env.open_db(name) for name in TABLES)
            with self._env.begin() as transaction:
                self.pruned, self.last = reach_in(transaction, self._log, self._facts)
        except lmdb.Error as error:
            os.close(self._lock)
            raise StoreDamaged(f"{self.path}: {error}; restore a snapshot, or move the folder away") from error
        except BaseException:
            os.close(self._lock)
            raise
        self.fault = ""
        _here[os.getpid(), self.path.resolve()] = self

    def written(self, client: str) -> Written | None:
        """The last batch that stands there of a client."""
        with self._env.begin(db=self._clients) as transaction:
            raw = transaction.get(client.encode("utf-8", "surrogatepass"))
        return None if raw is None else _written.decode(raw)

    def append(self, batches: list[Batch]) -> list[Written]:
        """Put batches down in one transaction, durable on return. All or none."""
        if self.fault:
            raise LogUnwritable(self.fault)
        last, notes = self.last, []
        try:
            with self._env.begin(write=True) as transaction:
                for batch in batches:
                    first, last = last + 1, last + operation_count(batch)
                    note = Written(batch.sequence, first, last)
                    transaction.put(last.to_bytes(8, "big"), encode_batch(batch), db=self._log, append=True)
                    name = batch.client.encode("utf-8", "surrogatepass")
                    transaction.put(name, msgspec.msgpack.encode(note), db=self._clients)
                    notes.append(note)
        except (lmdb.Error, OSError) as error:
            self._fail(error)
        self.last = last
        return notes

    def _fail(self, error: Exception) -> NoReturn:
        # LMDB reports a full disk as an I/O error at times; what lies on the disk now is known after a new open.
        self.fault = (
            f"{self.path}: cannot be written: {error}; nothing was acknowledged. Make room or mend the disk, "
            "then restart the node; it goes on serving, and reads what was acknowledged"
        )
        raise LogUnwritable(self.fault) from error

    def prune(self, sequence: int, pulse: Callable[[], None] = lambda: None) -> None:
        """Let go of what epochs that are kept contain already, the last batch excepted; :class:`LogUnwritable`."""
        while not self.fault:
            pulse()
            try:
                with self._env.begin(write=True) as transaction, transaction.cursor(self._log) as cursor:
                    done, pruned = 0, self.pruned
                    found = cursor.first()
                    while found and done < PRUNE_BATCHES:
                        last = int.from_bytes(cursor.key(), "big")
                        if last > sequence or last == self.last:
                            break
                        found, pruned, done = cursor.delete(), last, done + 1
                    transaction.put(PRUNED, pruned.to_bytes(8, "big"), db=self._facts)
            except (lmdb.Error, OSError) as error:
                self._fail(error)
            self.pruned = pruned
            if done < PRUNE_BATCHES:
                return

    def after(self, sequence: int) -> Iterator[tuple[int, Batch]]:
        """Batches whose last operation lies behind ``sequence``, with the number of the last."""
        with self._env.begin(db=self._log) as transaction, transaction.cursor() as cursor:
            found = cursor.set_range((sequence + 1).to_bytes(8, "big"))
            while found:
                yield int.from_bytes(cursor.key(), "big"), decode_batch(cursor.value())
                found = cursor.next()

    def close(self) -> None:
        """Let another writer in."""
        if self._lock >= 0:
            _here.pop((os.getpid(), self.path.resolve()), None)
            self._env.close()
            os.close(self._lock)
            self._lock = -1


def lock_writer(fd: int, store: Path) -> None:
    """Be the one writer, or :class:`StoreLocked`."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(fd, 40, 0).decode(errors="replace").strip()
        raise StoreLocked(
            f"{store}: process {holder or 'unknown'} writes it; send updates to that node, or stop it"
        ) from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)


def reach_in(transaction: lmdb.Transaction, log: lmdb._Database, facts: lmdb._Database) -> tuple[int, int]:
    """The number of the last operation that was pruned, and of the last one."""
    pruned = transaction.get(PRUNED, db=facts)
    with transaction.cursor(log) as cursor:
        last = int.from_bytes(cursor.key(), "big") if cursor.last() else 0
    return int.from_bytes(pruned or b"", "big"), last


def last_sequence(store: Path) -> int:
    """The number of the last operation in a store's log, 0 where there is none; read beside the writer."""
    return log_reach(store)[1]


def log_reach(store: Path) -> tuple[int, int]:
    """(number of the last operation that was pruned, number of the last one); zeros where there is no log."""
    path = log_folder(store)
    if not log_exists(store):
        return 0, 0
    ours = _here.get((os.getpid(), path.resolve()))
    if ours is not None:
        return ours.pruned, ours.last
    try:
        with (
            lmdb.open(str(path), readonly=True, max_dbs=len(TABLES), max_readers=READERS_MAX) as env,
            env.begin() as transaction,
        ):
            log, facts = (env.open_db(name, transaction, create=False) for name in (LOG_TABLE, FACTS_TABLE))
            return reach_in(transaction, log, facts)
    except lmdb.NotFoundError:
        return 0, 0
    except lmdb.Error as error:
        raise StoreDamaged(f"{path}: {error}; restore a snapshot, or move the folder away") from error
