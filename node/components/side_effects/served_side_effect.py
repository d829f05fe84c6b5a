"""What was shown, recorded as events: for the filter `served`, for caps, counters and sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mixline.node.components.base import SideEffect
from mixline.node.components.side_effects.recording import record

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
        record(call, call.block.slate, self.action)
