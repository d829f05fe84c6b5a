"""What the user has already acted on does not come again."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.members import are_members
from mixline.node.components.base import Filter

if TYPE_CHECKING:
    from mixline.node.call import Call


class SeenFilter(Filter, frozen=True, kw_only=True):
    """Drops items that the user acted on, by the complete seen set. Sources leave them out while they scan."""

    def excludes(self, call: Call, group: int) -> np.ndarray:
        return call.seen(group)

    def drops(self, call: Call) -> np.ndarray:
        block = call.block
        dropped = np.zeros(len(block), dtype=bool)
        for group, (start, stop) in enumerate(pairwise(block.edges(call.groups))):
            seen = call.seen(group)
            if len(seen):
                dropped[start:stop] = are_members(block.row[start:stop], seen)
        return dropped
