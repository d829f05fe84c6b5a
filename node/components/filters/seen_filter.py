"""What the user has already acted on does not come again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
        for group in range(call.groups):
            seen = call.seen(group)
            if len(seen):
                start, stop = np.searchsorted(block.group, [group, group + 1])
                dropped[start:stop] = np.isin(block.row[start:stop], seen)
        return dropped
