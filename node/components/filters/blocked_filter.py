"""What a user asked not to see again, or nobody shall see, does not come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mixline.kernels.bitmap import holds_rows
from mixline.node.components.base import Filter
from mixline.node.components.filters.listed import drop_listed

if TYPE_CHECKING:
    from mixline.node.call import Call


class BlockedFilter(Filter, frozen=True, kw_only=True):
    """Drops items that are blocked for the user or for everybody (operation `block`): by their id, their creator, or
    another value that they have. Sources leave them out while they scan."""

    commutes: ClassVar[bool] = True

    def excludes(self, call: Call, group: int) -> list[np.ndarray]:
        return call.blocked(group)

    def admits(self, call: Call, bound: Any) -> np.ndarray | None:
        return call.unblocked

    def drops(self, call: Call) -> np.ndarray:
        dropped = drop_listed(call, call.blocked)
        unblocked = call.unblocked
        return dropped if unblocked is None else dropped | ~holds_rows(unblocked, call.block.row)
