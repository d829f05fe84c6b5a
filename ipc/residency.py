"""How much of a file lies in memory: the difference between a request of microseconds and one that waits for a disk.
And in what pages: rows that lie anywhere cost a walk through page tables each where these are small.

``mincore`` looks without touching. Since Linux 5.2 it tells the truth only to whoever owns the file or may write it,
and calls every page present to others, because residency told processes about each other; so we ask first who we are.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np

from mixline.ipc import _os

HUGE_BYTES = 2 << 20  # of x86, and of ARM with small pages of 4 KiB
LOOKED_AT = 64  # huge pages of a file
POPULATE_READ = 22  # MADV_POPULATE_READ, Linux 5.14


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


def huge_share(path: Path) -> float:
    """The share of a regular file that the page cache holds in huge pages, told from LOOKED_AT places; 1 for a file
    that has no whole one. What of these places is not in memory is read. Raises OSError: EINVAL before Linux 5.14."""
    whole = path.stat().st_size // HUGE_BYTES
    if not whole:
        return 1.0
    with path.open("rb") as file, mmap.mmap(file.fileno(), whole * HUGE_BYTES, prot=mmap.PROT_READ) as mapped:
        places = np.unique(np.linspace(0, whole - 1, LOOKED_AT).astype(int)).tolist()
        for place in places:
            mapped.madvise(POPULATE_READ, place * HUGE_BYTES, mmap.PAGESIZE)
        begins = np.frombuffer(mapped, dtype=np.uint8).__array_interface__["data"][0]
        return mapped_huge(begins) / (len(places) * HUGE_BYTES)


def mapped_huge(address: int) -> int:
    """Bytes of a file that the mapping of this process which begins at ``address`` has in huge pages."""
    here = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, _, rest = line.partition(" ")
        if not first.endswith(":"):
            here = int(first.partition("-")[0], 16) == address
        elif here and first == "FilePmdMapped:":
            return int(rest.split()[0]) * 1024
    return 0
