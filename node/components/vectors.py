"""Which space a component means and which vector a request asks with: shared by nearest and dot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from mixline.node.errors import BadRequest
from mixline.storage.catalogue import NO_ROW
from mixline.storage.epoch import Epoch
from mixline.storage.spaces import Space

if TYPE_CHECKING:
    from mixline.node.call import Call

QueryKind = Literal["user", "item", "recent", "given"]
RECENT_ITEMS = 20


def find_space(epoch: Epoch, name: str, query: str) -> Space | None:
    """The named space, or for an empty name the first with the matrices that ``query`` needs."""
    if name:
        return epoch.spaces.get(name)
    return next((space for space in epoch.spaces.values() if not lacks(space, query)), None)


def lacks(space: Space, query: str) -> str:
    """What the space lacks for such a query, or an empty string."""
    if space.items is None:
        return f"space {space.name!r} has no item vectors"
    if query == "user" and space.users is None:
        return f'space {space.name!r} has no user vectors; use query = "recent"'
    return ""


def space_misfits(epoch: Epoch, name: str, query: str) -> Iterator[str]:
    """Problems with a space named in the file."""
    if not name:
        return
    space = epoch.spaces.get(name)
    if space is None:
        yield f"space = {name!r}: the store has {', '.join(epoch.spaces) or 'no spaces'}"
    elif lacking := lacks(space, query):
        yield f"query = {query!r}: {lacking}"


def query_vector(call: Call, space: Space, query: str, group: int) -> np.ndarray | None:
    """The float32 vector (dim,) to ask with; None when there is none, as for a user without history."""
    assert space.items is not None
    if query == "given":
        return given_vector(call, space)
    if query == "user":
        row = int(call.users[group])
        return None if row == NO_ROW or space.users is None else space.users[row]
    rows = call.items if query == "item" else call.recent(group, RECENT_ITEMS)
    if not len(rows):
        return None
    return space.items[rows[0]] if len(rows) == 1 else space.items[rows].mean(axis=0, dtype=np.float32)


def given_vector(call: Call, space: Space) -> np.ndarray | None:
    """The request's own ``vector=``."""
    given = call.ask.vector
    if given is None:
        raise BadRequest("this surface asks with a vector: give vector=")
    if isinstance(given, bytes):
        if len(given) % 4:
            raise BadRequest(f"vector of {len(given)} bytes: float32 needs a multiple of 4")
        vector = np.frombuffer(given, dtype="<f4")
    else:
        with np.errstate(over="ignore"):  # beyond float32: an infinity, refused below
            vector = np.array(given, dtype=np.float32)
    if len(vector) != space.dim:
        raise BadRequest(f"vector of {len(vector)} dimensions: space {space.name!r} has {space.dim}")
    if not np.isfinite(vector).all():
        raise BadRequest("vector: holds a NaN or an infinity")
    return vector
