"""What a request leaves behind as events of its users, written by the node itself once the reply was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixline.storage.catalogue import NO_ROW

if TYPE_CHECKING:
    from mixline.node.call import Call


def record(call: Call, positions: np.ndarray, action: str) -> None:
    """Events of ``action`` with the candidates at ``positions`` of the block, in their order, for those whose user is
    known; nothing for a shadow, and where nobody writes."""
    replied = call.replied
    if replied is None or replied.shadow or replied.outlets is None or replied.outlets.writes is None:
        return
    block, named = call.block, call.ask.users if call.ask.users is not None else [call.ask.user]
    meant = positions[call.users[block.group[positions]] != NO_ROW]
    if not len(meant):
        return
    ids = call.epoch.items.ids_of(block.row[meant])
    replied.outlets.writes.later(
        {
            "op": "events",
            "users": [named[group] for group in block.group[meant].tolist()],
            "items": ids if isinstance(ids, list) else ids.tolist(),
            "actions": action,
            "times": np.full(len(meant), call.now).tolist(),
        }
    )
