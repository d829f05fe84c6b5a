"""A live log as its writer makes it, without the writer: big-endian sequence numbers in the table ``log``."""

from __future__ import annotations

from pathlib import Path

import lmdb

LOG = "live/log"


def write_log(store: Path, first: int, last: int) -> None:
    """Append entries ``first`` to ``last``, one transaction each."""
    (store / LOG).mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(store / LOG), map_size=1 << 30, max_dbs=4, sync=False) as log:
        table = log.open_db(b"log")
        for number in range(first, last + 1):
            with log.begin(write=True) as transaction:
                transaction.put(number.to_bytes(8, "big"), b"entry %d" % number * 20, db=table, append=True)


def read_log(folder: Path) -> list[int]:
    """All sequence numbers of the log in a folder that nobody writes."""
    with (
        lmdb.open(str(folder), readonly=True, lock=False, max_dbs=4) as log,
        log.begin(db=log.open_db(b"log", create=False)) as transaction,
        transaction.cursor() as cursor,
    ):
        return [int.from_bytes(key, "big") for key in cursor.iternext(values=False)]
