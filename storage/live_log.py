"""The log of living data: every batch that was acknowledged, in order, in LMDB. Its commit is the only truth.

A batch stands under the number of its last operation, so the last key is the sequence that everything has reached.
In the same transaction stands the last batch of its client, so a batch that is sent again is known and not applied.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import lmdb
import msgspec

from mixline.storage.errors import LogUnwritable, StorageError, StoreDamaged, StoreLocked
from mixline.storage.live_ops import Batch, Id, decode_batch, encode_batch, granted_in, operation_count
from mixline.storage.live_paths import (
    LOG,
    LOG_DATA,
    LOG_TABLE,
    MAP_STEP,
    ROOM_BYTES,
    log_exists,
    log_folder,
    map_bytes,
    unverified_mark,
)
from mixline.storage.log_readers import LogReaders, OldestReader, clock_ns

log = logging.getLogger("mixline.live")
CLIENT_TABLE = b"clients"
FACTS_TABLE = b"facts"
TABLES = (LOG_TABLE, CLIENT_TABLE, FACTS_TABLE)
PRUNED = b"pruned"  # in facts: the number of the last operation that is no longer there
READERS_MAX = 1024
PRUNE_BATCHES = 10_000  # let go of in one transaction
T = TypeVar("T")
FULL = (errno.ENOSPC, errno.EDQUOT)
PAGES_SPARE = 32 * 4096  # that a commit may need beside the batches themselves


_here: dict[tuple[int, Path], LiveLog] = {}  # open in this process: LMDB forbids to open an environment twice


class Written(NamedTuple):
    """A client's last batch: its ``sequence``, the numbers ``first`` .. ``last`` of its operations, and what it was
    granted (:attr:`Ack.granted`)."""

    sequence: int
    first: int
    last: int
    granted: list[bytes] = []


_written = msgspec.msgpack.Decoder(Written)


class LiveLog:
    """The one writer's handle. A full disk refuses what is written, until there is room; after any other error nothing
    is written until the log has been opened again, and read whole."""

    def __init__(self, store: Path) -> None:
        self.store, self.path = store, log_folder(store)
        self.fault = ""
        self.exchanged = False  # by the latest :meth:`forget`, also by one that failed behind that point
        self.readers = LogReaders(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path.parent / "WRITER", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LogUnwritable(f"{self.path.parent}: cannot be written: {error.strerror}") from error
        try:
            lock_writer(self._lock, store)
            shutil.rmtree(self.path.with_name(f"{LOG}.new"), ignore_errors=True)  # of one that died while forgetting
            self._open()
            if unverified_mark(store).exists():
                self._verify()
        except BaseException:
            os.close(self._lock)
            raise
        _here[os.getpid(), self.path.resolve()] = self

    def _open(self) -> None:
        try:
            self._env = lmdb.open(
                str(self.path), map_size=map_bytes(self.store), max_dbs=len(TABLES), max_readers=READERS_MAX
            )
            self._log, self._clients, self._facts = (self._env.open_db(name) for name in TABLES)
            with self._env.begin() as transaction:
                self.pruned, self.last = reach_in(transaction, self._log, self._facts)
        except OSError as error:  # of the folder, before LMDB begins
            raise LogUnwritable(f"{self.path}: cannot be opened for writing: {error.strerror}") from error
        except lmdb.Error as error:
            if getattr(error, "code", 0) in (*FULL, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM):
                raise LogUnwritable(f"{self.path}: cannot be opened for writing: {error}") from error
            raise StoreDamaged(f"{self.path}: {error}; restore a snapshot, or move the folder away") from error

    def _verify(self) -> None:
        """After an I/O error: believe the log only once all of it has been read."""
        from mixline.storage.log_check import faults_in

        if faults := faults_in(self._env, self.path):
            self._env.close()
            more = f" ({len(faults)} faults)" if len(faults) > 1 else ""
            raise StoreDamaged(
                f"{faults[0]}{more}; an I/O error came before: restore a snapshot, or move {self.path.parent} away"
            )
        try:
            unverified_mark(self.store).unlink(missing_ok=True)
        except OSError as error:
            self._env.close()
            raise LogUnwritable(f"{unverified_mark(self.store)}: cannot be removed: {error.strerror}") from error
        log.warning("%s: is whole up to %d, read after an I/O error", self.path, self.last)

    def look_at_readers(self) -> OldestReader | None:
        """Free the slots of readers that died; returns the oldest of those that hold something up."""
        with suppress(lmdb.Error):  # closed meanwhile
            self.readers.look(self._env, clock_ns())
        return self.readers.oldest

    def written(self, client: str) -> Written | None:
        """The last batch that stands there of a client."""
        try:
            with self._env.begin(db=self._clients) as transaction:
                raw = transaction.get(client.encode("utf-8", "surrogatepass"))
        except lmdb.Error as error:
            raise LogUnwritable(self.fault or f"{self.path}: cannot be read: {error}") from error
        return None if raw is None else _written.decode(raw)

    def append(self, batches: list[Batch]) -> list[Written]:
        """Put batches down in one transaction, durable on return. All or none, unless :attr:`last` moved in spite of
        the error: then they are there, and have to be replayed."""
        if self.fault:
            raise LogUnwritable(self.fault)
        encoded = [encode_batch(batch) for batch in batches]
        return self._commit(sum(map(len, encoded)) + PAGES_SPARE, lambda: self._put(batches, encoded))

    def _commit(self, needed: int, write: Callable[[], T]) -> T:
        """Run one transaction, with more address space where it lacks some."""
        while True:
            try:
                self.readers.look(self._env, clock_ns())
                return write()
            except lmdb.MapFullError:
                self._grow(needed)
            except (lmdb.Error, OSError) as error:
                raise self._failed(error, needed) from error

    def _put(self, batches: list[Batch], encoded: list[bytes]) -> list[Written]:
        last, notes = self.last, []
        with self._env.begin(write=True) as transaction:
            for batch, raw in zip(batches, encoded, strict=True):
                first, last = last + 1, last + operation_count(batch)
                note = Written(batch.sequence, first, last, granted_in(batch))
                transaction.put(last.to_bytes(8, "big"), raw, db=self._log, append=True)
                name = batch.client.encode("utf-8", "surrogatepass")
                transaction.put(name, msgspec.msgpack.encode(note), db=self._clients)
                notes.append(note)
        self.last = last
        return notes

    def prune(self, sequence: int, pulse: Callable[[], None] = lambda: None) -> None:
        """Let go of what epochs that are kept contain already, the last batch excepted."""
        while not self.fault and self._commit(PAGES_SPARE, lambda: self._drop(sequence)) == PRUNE_BATCHES:
            pulse()

    def _drop(self, sequence: int) -> int:
        with self._env.begin(write=True) as transaction, transaction.cursor(self._log) as cursor:
            done, pruned, found = 0, self.pruned, cursor.first()
            while found and done < PRUNE_BATCHES:
                last = int.from_bytes(cursor.key(), "big")
                if last > sequence or last == self.last:
                    break
                found, pruned, done = cursor.delete(), last, done + 1
            if done:
                transaction.put(PRUNED, pruned.to_bytes(8, "big"), db=self._facts)
        self.pruned = pruned
        return done

    def _grow(self, needed: int) -> None:
        """More address space; what the file may take is up to the disk."""
        free = self._free()
        if free < needed:
            raise LogUnwritable(self._no_room(needed, free))
        size = self._env.info()["map_size"]
        self._env.set_mapsize(size + max(size, -(-needed // MAP_STEP) * MAP_STEP))

    def _failed(self, error: Exception, needed: int) -> LogUnwritable:
        """What to say of a commit that failed; on a full disk the log is opened again, to go on once there is room."""
        code = getattr(error, "code", 0) or getattr(error, "errno", 0)
        free = self._free()
        # LMDB says EIO of a write that came out short, as on a disk that fills up.
        if code in FULL or (code == errno.EIO and free < needed):
            try:
                with self.readers.lock:
                    self._env.close()
                    self._open()
                return LogUnwritable(self._no_room(needed, free))
            except StorageError as again:
                self.fault = f"{again}; make room on the disk ({free} bytes are free), then reload the node (SIGHUP)"
                return LogUnwritable(self.fault)
        self.fault = (
            f"{self.path}: cannot be written: {error}; nothing was acknowledged, and nothing will be until the log has "
            "been opened again and read whole: mend the disk, then reload the node (SIGHUP). It goes on serving what "
            "was acknowledged"
        )
        with suppress(OSError):  # the disk fails; the fault holds in this process all the same
            unverified_mark(self.store).touch()
        return LogUnwritable(self.fault)

    def _free(self) -> int:
        """Bytes that may be written to the log's file system."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def _no_room(self, needed: int, free: int) -> str:
        return (
            f"{self.path}: no room: a commit of {needed} bytes was to be written, and {free} are free; nothing was "
            "acknowledged. Make room on that file system: writing goes on by itself, and serving never stopped"
        )

    def forget(self, user: Id, batch: Batch, pulse: Callable[[], None]) -> Written:
        """Write the log anew without a user, and ``batch`` behind it; durable on return, all or nothing."""
        from mixline.storage.log_rewrite import exchange, write_without

        if self.fault:
            raise LogUnwritable(self.fault)
        fresh = self.path.with_name(f"{LOG}.new")
        self.exchanged = False
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            write_without(self._env, TABLES, fresh, user, pulse)
            pulse()
            sync_folder(fresh)
            with self.readers.lock:
                exchange(fresh, self.path)
                self.exchanged = True
                sync_folder(self.path.parent)
                self._env.close()
                self._open()
        except (lmdb.Error, OSError) as error:
            needed = 2 * (self.path / LOG_DATA).stat().st_size
            raise self._failed(error, needed) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return self.append([batch])[0]

    def after(self, sequence: int) -> Iterator[tuple[int, Batch]]:
        """Batches whose last operation lies behind ``sequence``, with the number of the last."""
        with self._env.begin() as transaction:
            yield from batches_in(transaction, self._log, sequence)

    def close(self) -> None:
        """Let another writer in."""
        if self._lock >= 0:
            _here.pop((os.getpid(), self.path.resolve()), None)
            self._env.close()
            os.close(self._lock)
            self._lock = -1


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def unwritable(folder: Path, error: OSError) -> LogUnwritable:
    """What to say of a file of an overlay that could not be written."""
    if error.errno not in FULL:
        return LogUnwritable(
            f"{error.filename or folder}: cannot be written: {error.strerror}; nothing of the batch was applied. What "
            "lies there is derived from the log: mend the disk, then reload the node (SIGHUP). Serving goes on"
        )
    found = os.statvfs(folder)
    return LogUnwritable(
        f"{folder}: no room: steps of {ROOM_BYTES} bytes are taken, and {found.f_bavail * found.f_frsize} are free; "
        "nothing of the batch was applied. Make room on that file system: writing goes on by itself, and serving never "
        "stopped"
    )


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
    with suppress(OSError):  # it only tells others who we are
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)


@contextmanager
def reading(store: Path) -> Iterator[lmdb.Environment]:
    """The log's environment, read beside the writer; not where this process writes it, and not where there is none."""
    with lmdb.open(
        str(log_folder(store)), readonly=True, map_size=map_bytes(store), max_dbs=len(TABLES), max_readers=READERS_MAX
    ) as env:
        yield env


def reach_in(transaction: lmdb.Transaction, log: lmdb._Database, facts: lmdb._Database) -> tuple[int, int]:
    """The number of the last operation that was pruned, and of the last one."""
    pruned = transaction.get(PRUNED, db=facts)
    with transaction.cursor(log) as cursor:
        last = int.from_bytes(cursor.key(), "big") if cursor.last() else 0
    return int.from_bytes(pruned or b"", "big"), last


def batches_in(transaction: lmdb.Transaction, log: lmdb._Database, sequence: int) -> Iterator[tuple[int, Batch]]:
    """:meth:`LiveLog.after`, as of one transaction."""
    with transaction.cursor(log) as cursor:
        found = cursor.set_range((sequence + 1).to_bytes(8, "big"))
        while found:
            yield int.from_bytes(cursor.key(), "big"), decode_batch(cursor.value())
            found = cursor.next()


def batches_after(store: Path, sequence: int) -> Iterator[tuple[int, Batch]]:
    """The same beside the writer, or where this process writes; nothing where there is no log."""
    if not log_exists(store):
        return
    ours = _here.get((os.getpid(), log_folder(store).resolve()))
    if ours is not None:
        yield from ours.after(sequence)
        return
    with reading(store) as env, env.begin() as transaction:
        yield from batches_in(transaction, env.open_db(LOG_TABLE, transaction, create=False), sequence)


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
        with reading(store) as env, env.begin() as transaction:
            log, facts = (env.open_db(name, transaction, create=False) for name in (LOG_TABLE, FACTS_TABLE))
            return reach_in(transaction, log, facts)
    except lmdb.NotFoundError:
        return 0, 0
    except lmdb.Error as error:
        raise StoreDamaged(f"{path}: {error}; restore a snapshot, or move the folder away") from error
