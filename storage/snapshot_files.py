"""How a file comes to lie in a second place: as a hard link, as a clone that shares blocks, or as a copy.

Files of epochs never change, so a link is as good as a copy until the disk fails. Three are never linked to a store's:
the log, which changes, and an epoch's manifest and seal, since leases are locks on the manifest's inode and two stores
must not share them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from io import UnsupportedOperation
from pathlib import Path
from typing import BinaryIO, Literal

from mixline.storage.digests import Advance
from mixline.storage.manifest import MANIFEST, SEAL
from mixline.storage.publish import sync
from mixline.storage.snapshot_manifest import (
    LOG_FILE,
    SnapshotManifest,
    disagreements,
    epoch_name,
    plain_files,
    read_snapshot,
)

FICLONE = 0x40049409  # linux/fs.h
STEP_BYTES = 1 << 20
SYNC_BYTES = 16 << 20
Way = Literal["linked", "cloned", "copied"]
NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def may_link(name: str) -> bool:
    """Whether two snapshots or stores may share this file's inode."""
    return name != LOG_FILE and name.rsplit("/", 1)[-1] not in (MANIFEST, SEAL)


def place(source: Path, target: Path, link: bool) -> Way:
    """Make ``target``, which does not exist, of ``source``; raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        try:
            os.link(source, target, follow_symlinks=False)
            return "linked"
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
    with source.open("rb") as old, target.open("xb") as new:
        try:
            fcntl.ioctl(new, FICLONE, old.fileno())
            return "cloned"
        except OSError as error:
            if error.errno not in (*NO_LINK, errno.ENOTTY):
                raise
        while part := old.read(SYNC_BYTES):
            new.write(part)
            let_go(new)
        os.fsync(new.fileno())
    return "copied"


def let_go(file: BinaryIO) -> None:
    """Write out what a file has so far and drop its pages, which are nobody's: those of the store shall stay in memory.

    Little by little, since a heap of dirty pages is written at once and stops everybody.
    """
    file.flush()
    try:
        fd = file.fileno()
    except UnsupportedOperation:  # no file at all
        return
    if stat.S_ISREG(os.fstat(fd).st_mode):
        os.fdatasync(fd)  # an error is told once: swallowed here it would be lost
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def protect(path: Path) -> None:
    """Mode 0444, left alone where it is so already: a linked file may be another user's."""
    if path.stat().st_mode & 0o777 != 0o444:
        path.chmod(0o444)


def hashed(path: Path, advance: Advance) -> str:
    """SHA-256 of a file, telling of each step."""
    import hashlib

    digest, buffer = hashlib.sha256(), bytearray(STEP_BYTES)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(view[:count])
            advance(count)
    return digest.hexdigest()


def settle(folder: Path) -> None:
    """fsync all files and folders below ``folder``, deepest first, and itself."""
    for path in sorted(folder.rglob("*"), reverse=True):
        sync(path)
    sync(folder)


def faults_in(folder: Path, manifest: SnapshotManifest, advance: Advance) -> list[str]:
    """Every difference between the files in ``folder`` and a snapshot's manifest; reads all of them."""
    present = set(plain_files(folder))
    faults = [f"{folder / name}: not named by the manifest" for name in sorted(present - manifest.files.keys())]
    for name, facts in manifest.files.items():
        path = folder / name
        if name not in present:
            faults.append(f"{path}: missing")
        elif (found := path.lstat().st_size) != facts.bytes:
            faults.append(f"{path}: {found} bytes instead of {facts.bytes}")
        elif hashed(path, advance) != facts.sha256:
            faults.append(f"{path}: its SHA-256 differs from the manifest's")
    inner = folder / epoch_name(manifest.epoch) / MANIFEST
    return faults or disagreements(manifest, inner.read_bytes() if inner.exists() else None, str(folder))


def snapshot_faults(folder: Path, advance: Advance = lambda _: None) -> list[str]:
    """Every fault of the snapshot in ``folder``; empty when all of it may be trusted."""
    return faults_in(folder, read_snapshot(folder), advance)
