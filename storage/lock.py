"""Who may change a store, and who still reads an epoch: two uses of ``flock``.

The kernel drops a ``flock`` when its holder dies, however it dies, so neither needs cleaning up. Builders and managers
hold the store's lock file exclusively; readers hold a shared lease on the manifest of the epoch that they mapped.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from mixline.storage.errors import StoreLocked, StoreMissing, StoreUnwritable
from mixline.storage.manifest import MANIFEST

LOCK = "LOCK"


class StoreLock:
    """The exclusive right to build into or manage a store; a context manager, never waits."""

    def __init__(self, store: Path, purpose: str) -> None:
        self.path = store / LOCK
        self.purpose = purpose
        self._fd = -1

    def __enter__(self) -> StoreLock:
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreMissing(f"{self.path.parent}: there is no store here; mixline build makes one") from error
        except OSError as error:
            raise StoreUnwritable(self.path.parent, error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(fd, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(fd)
            raise StoreLocked(
                f"{self.path.parent}: in use by {holder}; wait for it to end, then run the command again"
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"process {os.getpid()} ({self.purpose})\n".encode(), 0)
        self._fd = fd
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.ftruncate(self._fd, 0)
        os.close(self._fd)
        self._fd = -1


class Lease:
    """A shared hold on one epoch; ``mixline epoch prune`` leaves a leased epoch alone. Close it to let go.

    A snapshot is held likewise, by its own ``manifest``.
    """

    def __init__(self, epoch: Path, manifest: str = MANIFEST) -> None:
        self._fd = -1
        path = epoch / manifest
        what = "epoch" if manifest == MANIFEST else "snapshot"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise StoreMissing(f"{epoch}: no such {what}; mixline {what} list shows what there is") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            # A pruner may have moved the folder between our open and our lock.
            if os.fstat(fd).st_ino != path.stat().st_ino:
                raise FileNotFoundError
        except (BlockingIOError, FileNotFoundError) as error:
            os.close(fd)
            raise StoreMissing(f"{epoch}: this {what} is being pruned; open the current one") from error
        self._fd = fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def try_evict(epoch: Path, manifest: str = MANIFEST) -> int | None:
    """Lock an epoch against new readers: the descriptor that holds it, or None while somebody holds a lease."""
    fd = os.open(epoch / manifest, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
