"""What was shown, recorded as events: for the filter `served`, for caps, counters and sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from mixline.node.components.base import SideEffect
from mixline.storage.catalogue import NO_ROW

if TYPE_CHECKING:
    from mixline.node.call import Call


class ServedSideEffect(SideEffect, frozen=True, kw_only=True):
    """Records every item of the page as an event of its user, once the reply was sent, for the attempt that was
    answered.

    - `action`: `"served"` or `"sent"`. Events of these two actions are no acts of the user: `seen`, `recent`, counts
      and builds leave them out unless they name the action.

    Of requests without a user, or with an unknown one, nothing is recorded. The events are durable, and seen by
    requests, a few milliseconds after the reply; those of a worker that is killed in that time are lost.
    """

    action: Literal["served", "sent"] = "served"

    def after(self, call: Call) -> None:
        replied = call.replied
        if replied is None or replied.shadow or replied.outlets is None or replied.outlets.writes is None:
            return
        block, named = call.block, call.ask.users if call.ask.users is not None else [call.ask.user]
        shown = block.slate[call.users[block.group[block.slate]] != NO_ROW]
        if not len(shown):
            return
        ids = call.epoch.items.ids_of(block.row[shown])
        replied.outlets.writes.later(
            {
                "op": "events",
                "users": [named[group] for group in block.group[shown].tolist()],
                "items": ids if isinstance(ids, list) else ids.tolist(),
                "actions": self.action,
                "times": np.full(len(shown), call.now).tolist(),
            }
        )
