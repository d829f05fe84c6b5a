"""What an operation of blocking is about, checked against what the store has."""

from __future__ import annotations

from typing import NamedTuple

from mixline.storage.columns import BLOCKABLE
from mixline.storage.epoch import Epoch
from mixline.storage.errors import BadOperation
from mixline.storage.live_catalogue import LiveCatalogue
from mixline.storage.live_labels import LiveLabels
from mixline.storage.live_ops import Block, Blocking
from mixline.storage.live_segments import BLOCK_VALUE, COLUMN_SHIFT, UNBLOCK_VALUE
from mixline.storage.values import PARSE

LOW = (1 << 32) - 1


class Target(NamedTuple):
    """What an operation is about, as a line of events has it."""

    item: int
    action: int
    spare: int


def target_of(op: Blocking, epoch: Epoch, items: LiveCatalogue, labels: LiveLabels) -> Target | None:
    """The target of a block of a value; None for one of an item. New labels are staged."""
    column, value = op.column, op.value
    if op.creator is not None:
        column, value = epoch.creator, op.creator
        if column is None:
            raise BadOperation(
                'creator: the store declares none; add creator = "COLUMN" to [items] of the build specification, '
                "or give column and value"
            )
    if sum((op.item is not None, op.creator is not None, op.column is not None or op.value is not None)) != 1:
        raise BadOperation("give one of: item; creator; column with value")
    if op.item is not None:
        return None
    if column is None or value is None:
        raise BadOperation("column and value go together: give both")
    kind = items.kinds.get(column)
    if kind not in BLOCKABLE:
        have = ", ".join(name for name, one in items.kinds.items() if one in BLOCKABLE) or "none"
        found = "there is no such column" if kind is None else f"it is {kind}"
        raise BadOperation(f"column {column!r}: {found}; values of {', '.join(BLOCKABLE)} are blocked: {have}")
    parse, wrong = PARSE["i64" if kind == "i64" else "category"]
    try:
        parsed = parse(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadOperation(f"column {column!r} is {kind}; the value {value!r:.80} is {wrong}") from error
    if kind != "i64":
        parsed = labels.code(items.name, items.catalogue.columns[column], str(parsed))
    bits = int(parsed) & ((1 << 64) - 1)  # type: ignore[call-overload]
    number = [*items.kinds].index(column) << COLUMN_SHIFT
    return Target(bits & LOW, number | (BLOCK_VALUE if isinstance(op, Block) else UNBLOCK_VALUE), bits >> 32)
