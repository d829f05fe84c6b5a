"""The log written anew without one of its users: every batch keeps its number, what was the user's becomes a count."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import numpy as np

from mixline.storage.errors import LogUnwritable
from mixline.storage.granting import LINE
from mixline.storage.live_ops import (
    AnyOperation,
    Batch,
    BudgetOperation,
    Events,
    Forgotten,
    Grants,
    Id,
    PatchUser,
    UpsertUser,
    decode_batch,
    encode_batch,
)

BATCHES = 1000  # of a transaction
AT_FDCWD, RENAME_EXCHANGE = -100, 2


def traces_of(user: Id) -> tuple[bytes, ...]:
    """What a batch that names a user must hold."""
    if isinstance(user, str):
        return (user.encode("utf-8", "surrogatepass"),)
    return msgspec.msgpack.encode(user), user.to_bytes(8, "little")


def without_user(batch: Batch, user: Id) -> Batch:
    """The batch with as many operations, none of them the user's."""
    ops: list[AnyOperation] = []
    for op in batch.ops:
        if (isinstance(op, (UpsertUser, PatchUser)) and op.id == user) or getattr(op, "user", None) == user:
            ops.append(Forgotten(count=1))
        elif isinstance(op, Events):
            ops += events_without(op, user)
        elif isinstance(op, BudgetOperation):
            ops += entries_without(op, user)
        elif isinstance(op, Grants):
            ops.append(grants_without(op, user))
        else:
            ops.append(op)
    return msgspec.structs.replace(batch, ops=ops)


def events_without(op: Events, user: Id) -> list[AnyOperation]:
    """The events of all others, and how many were the user's."""
    kept = others(op.users, user)
    if kept.all():
        return [op]
    gone: list[AnyOperation] = [Forgotten(count=int((~kept).sum()))]
    if not kept.any():
        return gone
    actions = op.actions if isinstance(op.actions, str) else pick(op.actions, kept)
    queries = op.queries if isinstance(op.queries, str) else pick(op.queries, kept)
    users, items, times = pick(op.users, kept), pick(op.items, kept), pick(op.times, kept, "<i8")
    return [Events(users=users, items=items, times=times, actions=actions, queries=queries), *gone]


def entries_without(op: BudgetOperation, user: Id) -> list[AnyOperation]:
    """The entries of all others with what was decided of them, and how many were the user's."""
    kept = np.ones(1, dtype=bool) if op.users is None else others(op.users, user)
    if kept.all():
        return [op]  # type: ignore[list-item]
    gone: list[AnyOperation] = [Forgotten(count=int((~kept).sum()))]
    if not kept.any():
        return gone
    amounts = op.amounts if isinstance(op.amounts, int) else pick(op.amounts, kept)
    taken = pick(op.taken, kept, "<i8")
    return [msgspec.structs.replace(op, users=pick(op.users, kept), amounts=amounts, taken=taken), *gone]  # type: ignore[list-item]


def grants_without(op: Grants, user: Id) -> Grants:
    """The lines of all others; they take one number of the log however many they are."""
    kept = others(op.users, user)
    lines = np.frombuffer(op.lines, dtype=LINE)[kept]
    return msgspec.structs.replace(op, users=pick(op.users, kept), lines=lines.tobytes())


def others(users: Sequence[Id | None] | bytes, user: Id) -> np.ndarray:
    """Which entries are not the user's."""
    if isinstance(users, bytes):
        whole = np.frombuffer(users, dtype="<u8")
        return whole != np.uint64(user) if isinstance(user, int) else np.ones(len(whole), dtype=bool)
    return np.array([one != user for one in users], dtype=bool)


def pick(column: Any, kept: np.ndarray, dtype: str = "<u8") -> Any:
    """The entries of a column that stay; a column that is left out stays so."""
    if not len(column):
        return column
    if isinstance(column, bytes):
        return np.frombuffer(column, dtype=dtype)[kept].tobytes()
    return [one for one, stays in zip(column, kept.tolist(), strict=True) if stays]


def write_without(
    source: lmdb.Environment, tables: tuple[bytes, ...], target: Path, user: Id, pulse: Callable[[], None]
) -> None:
    """Copy a log into the folder ``target`` without a user, entry by entry: no page of the old one is taken over."""
    target.mkdir()
    traces = traces_of(user)
    with lmdb.open(str(target), map_size=source.info()["map_size"], max_dbs=len(tables), sync=False) as env:
        for name in tables:
            table, fresh = source.open_db(name, create=False), env.open_db(name)
            with source.begin(db=table) as transaction, transaction.cursor() as cursor:
                found = cursor.first()
                while found:
                    with env.begin(write=True, db=fresh) as writing:
                        for _ in range(BATCHES):
                            value = cursor.value()
                            if name == tables[0] and any(trace in value for trace in traces):
                                value = encode_batch(without_user(decode_batch(value), user))
                            writing.put(cursor.key(), value, append=True)
                            found = cursor.next()
                            if not found:
                                break
                    pulse()
        env.sync(True)


def exchange(one: Path, other: Path) -> None:
    """Let two folders have each other's name, at once (renameat2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        code = ctypes.get_errno()
        raise LogUnwritable(
            f"{one}: cannot be exchanged with {other.name}: {os.strerror(code)}; nobody was forgotten. "
            "Forgetting needs a file system that exchanges folders at once (ext4, xfs, btrfs, tmpfs)"
        )
