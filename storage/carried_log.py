"""What a build from files carries of the log that the files contain: blocks and budgets, which no file says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from mixline.storage.carried import read_carried
from mixline.storage.live_log import batches_after
from mixline.storage.live_ops import Batch, Block, BudgetOperation, Grants, Unblock
from mixline.storage.manifest import read_manifest
from mixline.storage.publish import epoch_folder, epoch_numbers

CARRIED = Block, Unblock, BudgetOperation, Grants


def carried_up_to(store: Path, live_seq: int) -> list[Batch]:
    """Batches that bring an epoch built from files to the blocks and grants that stand after operation ``live_seq``: of
    the latest epoch that is no later, which knows what was let go of before it, and then of the log."""
    if not live_seq:
        return []
    start, found = 0, []
    for number in epoch_numbers(store):
        folder = epoch_folder(store, number)
        reached = read_manifest(folder).live_seq
        if start <= reached <= live_seq:
            start, found = reached, list(kept(read_carried(folder)))
    later = (batch for last, batch in batches_after(store, start) if last <= live_seq)
    return found + list(kept(later))


def kept(batches: Iterable[Batch]) -> Iterator[Batch]:
    for batch in batches:
        ops = [op for op in batch.ops if isinstance(op, CARRIED)]
        if ops:
            yield msgspec.structs.replace(batch, ops=ops)
