"""The user of a group, as components look for what is known of somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixline.storage.catalogue import NO_ROW
from mixline.storage.columns import Column

if TYPE_CHECKING:
    from mixline.node.call import Call


def version(call: Call, group: int) -> int:
    """The row that has what is known of the group's user now."""
    row = call.users[group : group + 1]
    if call.view is not None and row[0] != NO_ROW:
        row = call.view.versions(call.epoch.users, row)
    return int(row[0])


def labels_of(column: Column, row: int) -> list[str]:
    """The labels that a user has in a category or tags column; none for nobody (``NO_ROW``)."""
    if row == NO_ROW:
        return []
    found = column.to_list(np.array([row], dtype=np.uint32))[0]
    if isinstance(found, list):
        return found
    return [] if found is None else [str(found)]
