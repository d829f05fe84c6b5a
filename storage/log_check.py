"""Whether a log is whole: every batch can be read, and their numbers follow one another without a gap."""

from __future__ import annotations

from pathlib import Path

import lmdb
import msgspec

from mixline.storage.errors import BadOperation
from mixline.storage.live_log import TABLES, Written, reach_in, reading
from mixline.storage.live_ops import decode_batch, operation_count
from mixline.storage.live_paths import log_exists, log_folder

FAULTS_MAX = 20


def log_faults(store: Path) -> list[str]:
    """What is wrong with the log of a store, the first few; empty when it is whole or there is none."""
    if not log_exists(store):
        return []
    try:
        with reading(store) as env:
            return faults_in(env, log_folder(store))
    except lmdb.Error as error:
        return [f"{log_folder(store)}: cannot be read: {error}"]


def faults_in(env: lmdb.Environment, path: Path) -> list[str]:
    """The same in an open environment."""
    found: list[str] = []
    last = 0
    try:
        log, clients, facts = (env.open_db(name, create=False) for name in TABLES)
    except lmdb.NotFoundError:
        return found
    with env.begin() as transaction:
        before = reach_in(transaction, log, facts)[0]
        for key, value in transaction.cursor(log):
            last = int.from_bytes(key, "big")
            try:
                count = operation_count(decode_batch(value))
            except BadOperation as error:
                found.append(f"{path}: batch {last}: {error}")
            else:
                if before and last - count != before:
                    found.append(f"{path}: batch {last} has {count} operations, and the one before ends at {before}")
            before = last
            if len(found) >= FAULTS_MAX:
                return found
        for key, value in transaction.cursor(clients):
            try:
                note = msgspec.msgpack.decode(value, type=Written)
            except msgspec.DecodeError as error:
                found.append(f"{path}: client {key!r}: {error}")
                continue
            if note.last > last:
                found.append(f"{path}: client {key!r} has written up to {note.last}, and the log ends at {last}")
    return found[:FAULTS_MAX]
