"""What a user asked not to see again does not come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixline.node.components.base import Filter
from mixline.node.components.filters.listed import drop_listed

if TYPE_CHECKING:
    from mixline.node.call import Call


class BlockedFilter(Filter, frozen=True, kw_only=True):
    """Drops items that are blocked for the user (operation `block`). Sources leave them out while they scan."""

    def excludes(self, call: Call, group: int) -> np.ndarray:
        return call.blocked(group)

    def drops(self, call: Call) -> np.ndarray:
        return drop_listed(call, call.blocked)
