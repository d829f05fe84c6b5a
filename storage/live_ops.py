"""Operations on living data as they travel and as the log keeps them: a batch is one MessagePack map.

A batch is applied whole or not at all. ``client`` and ``sequence`` name it, so that one that is sent again is known.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from mixline.storage.errors import BadOperation

Id = int | str
OPERATIONS_MAX = 100_000  # of one batch, each event counted
CLIENT_BYTES_MAX = 64
SEQUENCE_MAX = (1 << 63) - 1
DURABLE = ("sync", "interval")


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="op"):
    """One operation; ``op`` on the wire says which."""


class UpsertItem(Operation, frozen=True, tag="upsert_item", kw_only=True):
    """Make or replace an item: columns and spaces not named are missing."""

    id: Id
    columns: dict[str, Any] = {}
    vectors: dict[str, bytes | list[float]] = {}


class PatchItem(Operation, frozen=True, tag="patch_item", kw_only=True):
    """Change what is named of an item that exists, and leave the rest."""

    id: Id
    columns: dict[str, Any] = {}
    vectors: dict[str, bytes | list[float]] = {}


class DeleteItem(Operation, frozen=True, tag="delete_item", kw_only=True):
    """Remove an item; it can be made again."""

    id: Id


class UpsertUser(Operation, frozen=True, tag="upsert_user", kw_only=True):
    """Make or replace a user."""

    id: Id
    columns: dict[str, Any] = {}
    vectors: dict[str, bytes | list[float]] = {}


class PatchUser(Operation, frozen=True, tag="patch_user", kw_only=True):
    """Change what is named of a user that exists, and leave the rest."""

    id: Id
    columns: dict[str, Any] = {}
    vectors: dict[str, bytes | list[float]] = {}


class Blocking(Operation, frozen=True, kw_only=True):
    """What of items, for whom: an ``item``, or all that have ``value`` in ``column``, also those that come later.
    ``creator`` is a value of the column that the build's ``[items] creator`` names. Without ``user``: for everybody."""

    user: Id | None = None
    item: Id | None = None
    column: str | None = None
    value: Id | None = None
    creator: Id | None = None


class Block(Blocking, frozen=True, tag="block", kw_only=True):
    """Never show it, until it is unblocked."""


class Unblock(Blocking, frozen=True, tag="unblock", kw_only=True):
    """Take a block back."""


class Events(Operation, frozen=True, tag="events", kw_only=True):
    """Users acted on items: columns of equal length. ``times`` (seconds since 1970) is given or stamped by the node;
    ``actions`` are labels, one for all or one each; a user that is new is made. ``queries``: what was searched for when
    it was found, one for all or one each, "" for nothing."""

    users: list[Id] | bytes
    items: list[Id] | bytes
    times: list[int] | bytes = b""
    actions: list[str] | str = ""
    queries: list[str] | str = ""


class BudgetOperation(Operation, frozen=True, kw_only=True):
    """An entry for each of ``users`` (left out: one, of the budget for all), with amounts, one for all or one each.

    ``window``: seconds after which what was granted is free again, 0 never. ``taken``: what the writer decided, int64
    for each entry, -1 for a refusal; an operation has it in the log.
    """

    budget: str
    users: list[Id] | bytes | None = None
    amounts: list[int] | int = 1
    window: int = 0
    taken: bytes = b""


class Reserve(BudgetOperation, frozen=True, tag="reserve", kw_only=True):
    """Take amounts from budgets where no more than ``limit`` is then in use."""

    limit: int


class Spend(BudgetOperation, frozen=True, tag="spend", kw_only=True):
    """Say that reserved amounts were spent, the latest first; what exceeds them is taken as by :class:`Reserve`."""

    limit: int


class Release(BudgetOperation, frozen=True, tag="release", kw_only=True):
    """Give reserved amounts back, the latest first."""


class Grants(Operation, frozen=True, tag="grants", kw_only=True):
    """What an epoch carries of budgets: their lines, as they were. None among ``users`` is the budget for all."""

    budgets: list[str]
    users: list[Id | None]
    lines: bytes


class Forget(Operation, frozen=True, tag="forget", kw_only=True):
    """Remove a user from all living data, the log too; alone in its batch. Unknown users may be forgotten."""

    user: Id


class Forgotten(Operation, frozen=True, tag="forgotten", kw_only=True):
    """The log's word for ``count`` operations of users that were forgotten, so that the others keep their numbers."""

    count: int


AnyOperation = (
    UpsertItem
    | PatchItem
    | DeleteItem
    | UpsertUser
    | PatchUser
    | Block
    | Unblock
    | Events
    | Reserve
    | Spend
    | Release
    | Grants
    | Forget
    | Forgotten
)


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Operations of one client, in order. ``at``: the second in which the writer took it, which stamps its events."""

    client: str
    sequence: int
    ops: list[AnyOperation]
    durability: str = "sync"
    at: int = 0


_decoder = msgspec.msgpack.Decoder(Batch)
encode_batch = msgspec.msgpack.Encoder(enc_hook=lambda value: plain(value)).encode


def plain(value: Any) -> Any:
    """NumPy values as they travel."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f":
            return np.ascontiguousarray(value, dtype="<f4").tobytes()
        if value.dtype.kind in "iu":
            return value.tolist()
    elif isinstance(value, np.generic):
        return value.item()
    raise BadOperation(f"{type(value).__name__} {value!r:.60}: no value of an operation")


def decode_batch(body: bytes | memoryview) -> Batch:
    """Read a batch; :class:`BadOperation` names the key that is wrong."""
    try:
        batch = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadOperation(f"batch: {error}; docs/protocol.md lists operations, keys and types") from None
    if not 0 < len(batch.client.encode("utf-8", "surrogatepass")) <= CLIENT_BYTES_MAX:
        raise BadOperation(f"client: give 1 to {CLIENT_BYTES_MAX} bytes")
    if not 0 <= batch.sequence <= SEQUENCE_MAX:
        raise BadOperation(f"sequence {batch.sequence}: must lie in 0 .. 2^63 - 1")
    if batch.durability not in DURABLE:
        raise BadOperation(f"durability {batch.durability!r}: give {' or '.join(map(repr, DURABLE))}")
    if not batch.ops:
        raise BadOperation("ops: none; give at least one operation")
    if not 0 < (count := operation_count(batch)) <= OPERATIONS_MAX:
        raise BadOperation(f"ops: {count} operations, each event counted; give 1 to {OPERATIONS_MAX}")
    return batch


def operation_count(batch: Batch) -> int:
    """How many numbers of the log a batch takes."""
    count = 0
    for op in batch.ops:
        if isinstance(op, Events | BudgetOperation) and op.users is not None:
            count += len(op.users) // 8 if isinstance(op.users, bytes) else len(op.users)
        elif isinstance(op, Forgotten):
            count += op.count
        else:
            count += 1
    return count


def granted_in(batch: Batch) -> list[bytes]:
    """For each operation on budgets that was decided, a byte for each entry: 1 where it was granted."""
    return [
        (np.frombuffer(op.taken, dtype="<i8") >= 0).tobytes() for op in batch.ops if isinstance(op, BudgetOperation)
    ]
