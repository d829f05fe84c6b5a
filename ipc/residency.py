"""How much of a file lies in memory: the difference between a request of microseconds and one that waits for a disk.

``mincore`` looks without touching. Since Linux 5.2 it tells the truth only to whoever owns the file or may write it,
and calls every page present to others, because residency told processes about each other; so we ask first who we are.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from mixline.ipc import _os


def resident_bytes(path: Path) -> int | None:
    """Bytes of a regular file that are in memory, at most its size; None where the kernel would not tell us.

    Raises OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        facts = os.fstat(fd)
        if facts.st_uid != os.geteuid() and not os.access(path, os.W_OK):
            return None
        pages = _os.lib.mx_resident_pages(fd, facts.st_size)
        if pages < 0:
            raise OSError(-pages, os.strerror(-pages), str(path))
        return min(pages * mmap.PAGESIZE, facts.st_size)
    finally:
        os.close(fd)
