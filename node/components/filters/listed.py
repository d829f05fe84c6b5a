"""Filters that drop the items of a list that each user has: of those seen, of those blocked."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.members import are_members

if TYPE_CHECKING:
    from mixline.node.call import Call


def drop_listed(call: Call, listed: Callable[[int], np.ndarray]) -> np.ndarray:
    """Where the block holds an item out of its group's sorted rows ``listed(group)``."""
    block = call.block
    dropped = np.zeros(len(block), dtype=bool)
    for group, (start, stop) in enumerate(pairwise(block.edges(call.groups))):
        rows = listed(group)
        if len(rows):
            dropped[start:stop] = are_members(block.row[start:stop], rows)
    return dropped
