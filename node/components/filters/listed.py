"""Filters that drop the items of sets that each user has: of those seen, of those blocked."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.bitmap import holds_rows
from mixline.kernels.members import are_members
from mixline.node.components.base import Excluded, sets_of

if TYPE_CHECKING:
    from mixline.node.call import Call

BITMAP = np.dtype(np.uint64)


def drop_listed(call: Call, listed: Callable[[int], Excluded]) -> np.ndarray:
    """Where the block holds an item out of its group's sets ``listed(group)``: sorted rows, or bitmaps."""
    block = call.block
    dropped = np.zeros(len(block), dtype=bool)
    for group, (start, stop) in enumerate(pairwise(block.edges(call.groups))):
        rows = block.row[start:stop]
        for one in sets_of(listed(group)):
            if one.dtype == BITMAP:
                dropped[start:stop] |= holds_rows(one, rows)
            elif len(one):
                dropped[start:stop] |= are_members(rows, one)
    return dropped
