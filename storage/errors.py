"""What can go wrong with stores and builds, one exception per thing a caller would handle differently.

Each message says what, where, why, and what to do; each class carries the sysexits code with which the command line
ends: 65 for bad data, 66 for a store that is not
there, 73 for one that cannot be written, 75 for "try again", 78 for a bad specification or configuration.
"""

from __future__ import annotations

from pathlib import Path

EX_DATAERR = 65
EX_NOINPUT = 66
EX_CANTCREAT = 73
EX_TEMPFAIL = 75
EX_CONFIG = 78


class StorageError(Exception):
    """Base of everything this folder raises on purpose."""

    exit_code = EX_DATAERR


class UnknownId(StorageError):
    """An external id that the catalogue does not hold."""

    def __init__(self, catalogue: str, external_id: object) -> None:
        super().__init__(f"{catalogue}: no row has the id {external_id!r}")
        self.catalogue = catalogue
        self.external_id = external_id


class UnknownName(StorageError):
    """A column, space or field that the epoch does not hold."""


class StoreMissing(StorageError):
    """There is no store, no active epoch, or not the epoch asked for."""

    exit_code = EX_NOINPUT


class StoreDamaged(StorageError):
    """A file of an epoch is missing, truncated, altered or unreadable."""


class SnapshotMissing(StorageError):
    """There is no snapshot, or not the one asked for."""

    exit_code = EX_NOINPUT


class SnapshotDamaged(StorageError):
    """A snapshot, in a folder or a stream, is torn, altered, or holds what a snapshot may not."""


class RestoreRefused(StorageError):
    """A snapshot would overwrite what the store already has."""

    exit_code = EX_CANTCREAT


class FormatUnknown(StorageError):
    """The epoch was written in a format version that this release cannot read."""

    exit_code = EX_CONFIG


class StoreLocked(StorageError):
    """Another process builds into, or manages, the store."""

    exit_code = EX_TEMPFAIL


class StoreUnwritable(StorageError):
    """The file system refused to write: full, read-only, or not ours."""

    exit_code = EX_CANTCREAT

    def __init__(self, store: Path, error: Exception) -> None:
        what = getattr(error, "strerror", None) or str(error)
        where = getattr(error, "filename", None) or store
        super().__init__(f"{where}: cannot be written: {what}; the store is as it was")


class WrongProcess(StorageError):
    """A handle was used in another process than the one that opened it (after a fork)."""


class BadInput(StorageError):
    """The user's files do not hold what the specification says; lists every kind of fault, counted."""

    exit_code = EX_DATAERR


class BadSpec(StorageError):
    """The build specification is wrong; lists every fault with its key path."""

    exit_code = EX_CONFIG


class BadOperation(StorageError):
    """An operation on living data is wrong; sending it again cannot help."""


class LiveFull(StorageError):
    """What came since the epoch was built fills its room: a new epoch is needed first."""

    exit_code = EX_TEMPFAIL

    def __init__(self, where: object, wanted: int, room: int) -> None:
        super().__init__(
            f"{where}: {wanted} entries of {room}: what came since the epoch was built fills its room; fold it into a "
            "new one with mixline epoch build STORE --from-live, and send the node SIGHUP"
        )


class StoreUnfit(StorageError):
    """What the store holds cannot be folded into a new epoch, or need not."""


class LogUnwritable(StorageError):
    """The log could not be written, so nothing was acknowledged; reading goes on."""

    exit_code = EX_CANTCREAT


class ExtraMissing(StorageError):
    """An optional library is not installed."""

    exit_code = EX_CONFIG

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {library}, which is not installed: run pip install 'mixline[{extra}]'")


class MemoryRefused(StorageError):
    """A step states a memory need above the limit that the caller gave."""

    exit_code = EX_CONFIG
