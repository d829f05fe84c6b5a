"""Which space a component means and which vector a request asks with: shared by nearest and dot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from mixline.node import limits
from mixline.node.errors import BadRequest
from mixline.node.session import Recent, session_vector
from mixline.storage.catalogue import NO_ROW
from mixline.storage.epoch import Epoch
from mixline.storage.spaces import Space

if TYPE_CHECKING:
    from mixline.node.call import Call

QueryKind = Literal["user", "item", "recent", "given", "text"]


def find_space(epoch: Epoch, name: str, query: str) -> Space | None:
    """The named space, or for an empty name the first with the matrices that ``query`` needs."""
    if name:
        return epoch.spaces.get(name)
    fitting = [space for space in epoch.spaces.values() if not lacks(space, query)]
    if query == "text":  # what users have vectors in was learnt from what they did, not from texts
        fitting.sort(key=lambda space: space.users is not None)
    return fitting[0] if fitting else None


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


def item_space(epoch: Epoch, name: str) -> Space:
    """The space whose item vectors are compared; only where :func:`no_item_space` has nothing to say."""
    space = find_space(epoch, name, "item")
    assert space is not None
    return space


def no_item_space(epoch: Epoch, name: str) -> str:
    """Why there is none, or an empty string."""
    return "" if find_space(epoch, name, "item") else "the store has no space with item vectors"


def query_vectors(call: Call, space: Space, query: str, group: int, recent: Recent) -> np.ndarray:
    """The float32 vectors (m, dim), C-contiguous, to ask with; none when there are none, as for a user without history.

    Of several a row of zeros only fills up a matrix, and is left out.
    """
    assert space.items is not None
    if query == "text" and call.ask.vector is None:
        return np.zeros((0, space.dim), dtype=np.float32)
    if query in ("given", "text", "user"):
        found = user_vectors(call, space, group) if query == "user" else given_vectors(call, space)
        return found if len(found) < 2 else found[found.any(axis=1)]
    assert space.all_items is not None
    if query == "recent":
        return session_vector(call, space.all_items, group, recent)
    found = space.all_items[call.items]
    found = found[~np.isnan(found[:, 0])]  # an item may have come without a vector
    return found if len(found) < 2 else found.mean(axis=0, dtype=np.float32, keepdims=True)


def user_vectors(call: Call, space: Space, group: int) -> np.ndarray:
    """All vectors (m, dim) of the group's user; none for an unknown one."""
    row = int(call.users[group])
    if call.view is not None and row != NO_ROW:
        row = int(call.view.versions(call.epoch.users, call.users[group : group + 1])[0])
    if row == NO_ROW or space.users is None:
        return np.zeros((0, space.dim), dtype=np.float32)
    found = space.users[row * space.vectors : (row + 1) * space.vectors]
    return found[:0] if np.isnan(found[0, 0]) else found


def given_vectors(call: Call, space: Space) -> np.ndarray:
    """The request's own ``vector=``, as (m, dim)."""
    given = call.ask.vector
    if given is None:
        raise BadRequest("this surface asks with a vector: give vector=")
    many = call.ask.vectors
    if not 1 <= many <= limits.vectors_max:
        raise BadRequest(f"vectors = {many}: give 1 to {limits.vectors_max}")
    if isinstance(given, bytes):
        if len(given) % (4 * many):
            raise BadRequest(f"vector of {len(given)} bytes: {many} of float32 need a multiple of {4 * many}")
        flat = np.frombuffer(given, dtype="<f4")
    else:
        with np.errstate(over="ignore"):  # beyond float32: an infinity, refused below
            flat = np.array(given, dtype=np.float32)
    if len(flat) != many * space.dim:
        what = f"vector of {len(flat)} dimensions" if many == 1 else f"{many} vectors of {len(flat)} numbers"
        raise BadRequest(f"{what}: space {space.name!r} has {space.dim}")
    if not np.isfinite(flat).all():
        raise BadRequest("vector: holds a NaN or an infinity")
    return flat.reshape(many, space.dim)
