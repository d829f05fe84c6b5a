"""The user of a group, as components look for what is known of somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixline.storage.catalogue import NO_ROW

if TYPE_CHECKING:
    from mixline.node.call import Call


def version(call: Call, group: int) -> int:
    """The row that has what is known of the group's user now."""
    row = call.users[group : group + 1]
    if call.view is not None and row[0] != NO_ROW:
        row = call.view.versions(call.epoch.users, row)
    return int(row[0])
