"""Memory files that processes share: made once by the supervisor, sealed in size, mapped by whoever inherits the fd.

The seals forbid growing and shrinking, so no process can take a page from under another (which would be SIGBUS). A
reader gets a descriptor opened read-only, so a wild write in a worker cannot reach the requests of others.
"""

from __future__ import annotations

import fcntl
import mmap
import os

from mixline.ipc.errors import SegmentError

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def create(name: str, size: int) -> int:
    """A new sealed memory file of ``size`` zero bytes; the descriptor is close-on-exec. Unused pages cost nothing."""
    if size <= 0 or size % mmap.PAGESIZE:
        raise SegmentError(f"segment {name}: {size} bytes, must be a positive multiple of {mmap.PAGESIZE}")
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except OSError as error:
        os.close(fd)
        raise SegmentError(f"segment {name}: {size} bytes: {error}") from error
    return fd


def reopen_readonly(fd: int) -> int:
    """A second descriptor of the same memory that can only be mapped for reading."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)


def map_segment(fd: int, size: int, *, writable: bool) -> mmap.mmap:
    """Map all of a segment; SegmentError when it is not sealed or not of the expected size."""
    actual = os.fstat(fd).st_size
    if actual != size:
        raise SegmentError(f"segment at fd {fd}: {actual} bytes, expected {size}: processes of different versions?")
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS != SEALS:
        raise SegmentError(f"segment at fd {fd}: not sealed, so its pages could vanish under a reader")
    return mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0))


def page_round(size: int) -> int:
    """``size`` rounded up to whole pages."""
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
