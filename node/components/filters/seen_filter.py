"""What the user has already acted on does not come again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mixline.node.components.base import Filter
from mixline.node.components.filters.listed import drop_listed

if TYPE_CHECKING:
    from mixline.node.call import Call


class SeenFilter(Filter, frozen=True, kw_only=True):
    """Drops items that the user acted on, by the complete seen set. Sources leave them out while they scan.

    - `actions`: events of these actions alone, for example `["served"]` for what was shown, when that is recorded as
      events; of the build they are known in the history that it kept (`history_max`). Left out: every action.
    """

    commutes: ClassVar[bool] = True
    actions: tuple[str, ...] | None = None

    def wrong(self) -> Iterator[str]:
        yield from Filter.wrong(self)
        if self.actions is not None and not self.actions:
            yield "actions = []: name at least one, or leave the key out for all"

    def excludes(self, call: Call, group: int) -> np.ndarray:
        return call.seen_set(group, self.actions)

    def drops(self, call: Call) -> np.ndarray:
        return drop_listed(call, lambda group: call.seen_set(group, self.actions))
