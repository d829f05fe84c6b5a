"""What a user asked not to see again does not come."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.members import are_members
from mixline.node.components.base import Filter

if TYPE_CHECKING:
    from mixline.node.call import Call


class BlockedFilter(Filter, frozen=True, kw_only=True):
    """Drops items that are blocked for the user (operation `block`). Sources leave them out while they scan."""

    def excludes(self, call: Call, group: int) -> np.ndarray:
        return call.blocked(group)

    def drops(self, call: Call) -> np.ndarray:
        block = call.block
        dropped = np.zeros(len(block), dtype=bool)
        for group, (start, stop) in enumerate(pairwise(block.edges(call.groups))):
            blocked = call.blocked(group)
            if len(blocked):
                dropped[start:stop] = are_members(block.row[start:stop], blocked)
        return dropped
