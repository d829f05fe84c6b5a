"""The reader table of an LMDB environment, read from its lock file without opening the environment.

Opening it would register us there and may rewrite the table, and the doctor changes nothing. The layout is that of
LMDB 0.9 on 64-bit Linux (``mdb.c``, MDB_txninfo and MDB_reader); a file that does not look so is not judged.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from mixline.tools.doctor_machine import Unseen

MAGIC = 0xBEEFC0DE
HEADER = struct.Struct("<II40xQI")  # magic, format, a mutex, newest transaction, reader slots ever used
READERS_AT, READER_BYTES = 128, 64
READER = struct.Struct("<QI4xQ")  # transaction, pid, thread
IDLE = (1 << 64) - 1  # a reader between two transactions


class Reader(NamedTuple):
    """One slot in use. ``lag``: transactions committed since its snapshot, None between two transactions."""

    pid: int
    lag: int | None


class Readers(NamedTuple):
    """``slots``: room in the table."""

    slots: int
    readers: list[Reader]


def read_readers(path: Path) -> Readers:
    """The table in a ``lock.mdb``; raises Unseen."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Unseen(f"{path}: {error.strerror}") from None
    if len(raw) < READERS_AT + READER_BYTES:
        raise Unseen(f"{path}: {len(raw)} bytes are no lock file")
    magic, _, newest, used = HEADER.unpack_from(raw)
    slots = (len(raw) - READERS_AT) // READER_BYTES
    if magic != MAGIC or used > slots:
        raise Unseen(f"{path}: not the lock file of LMDB 0.9 on this kind of machine")
    found = []
    for at in range(used):
        transaction, pid, _ = READER.unpack_from(raw, READERS_AT + at * READER_BYTES)
        if pid:
            found.append(Reader(pid, None if transaction == IDLE else max(0, newest - transaction)))
    return Readers(slots, found)
