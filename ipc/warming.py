"""Bring files into the page cache before a request waits for them, and hold them there.

``MADV_POPULATE_READ`` (Linux 5.14) reads a mapping as a fault would, without a copy and without SIGBUS: what is
not there is an error code. Where the kernel does not know it, the file is read and the bytes thrown away.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from mixline.ipc import _os

STEP_BYTES = 32 << 20  # a multiple of every page size, huge ones too
READ_BYTES = 1 << 20
Way = Literal["huge", "populated", "read"]


def populate(path: Path, wanted: int, advance: Callable[[int], None], huge: bool = False) -> Way:
    """Bring the first ``wanted`` bytes of a file into memory; says how. Raises OSError.

    ``huge`` asks for huge pages of the page cache, which ext4 (Linux 6.16), XFS and btrfs have.
    """
    way: Way = "huge" if huge else "populated"
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        wanted = min(wanted, os.fstat(fd).st_size)
        at = 0
        while at < wanted:
            count = min(STEP_BYTES, wanted - at)
            failure = 0 if way == "read" else _os.lib.mx_populate(fd, at, count, way == "huge")
            if failure == errno.EINVAL:
                way = "populated" if way == "huge" else "read"
                continue
            if failure:
                raise OSError(failure, os.strerror(failure), str(path))
            if way == "read":
                read_through(fd, at, count)
            at += count
            advance(count)
    finally:
        os.close(fd)
    return way


def read_through(fd: int, at: int, count: int) -> None:
    """Read for the sake of the page cache alone."""
    buffer = bytearray(READ_BYTES)
    end = at + count
    while at < end:
        found = os.preadv(fd, [memoryview(buffer)[: min(READ_BYTES, end - at)]], at)
        if not found:
            return  # shorter than it was: whoever serves it says so
        at += found


def hold(path: Path) -> None:
    """Lock a file in memory until this process ends. Raises OSError: EPERM or ENOMEM beyond RLIMIT_MEMLOCK."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        failure = _os.lib.mx_hold(fd, size) if size else 0
    finally:
        os.close(fd)
    if failure:
        raise OSError(failure, os.strerror(failure), str(path))


def forget(path: Path) -> None:
    """Ask the kernel to drop a file's clean pages that nobody maps. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
