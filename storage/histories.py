"""What one user did, newest first and bounded: packed arrays in one LMDB value.

Layout of a value of n events: n times (int64), n rows (uint32), n action codes (uint8), little-endian, 13 n bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

EVENT_BYTES = 13


# Actions that are none of the user's, but what a node did: what it showed, and what it kept for later.
NODES_OWN = ("served", "sent"), ("kept",)
SHOWN = tuple(action for actions in NODES_OWN for action in actions)
CODES = 256  # of actions


def shown_codes(labels: Iterable[str]) -> np.ndarray:
    """The codes (uint8) of :data:`SHOWN` among the labels of actions."""
    return np.array([code for code, label in enumerate(labels) if label in SHOWN], dtype=np.uint8)


def kinds_of(labels: Iterable[str]) -> np.ndarray:
    """For every code of an action its kind (uint8): 0 acts of the user, 1 and on those of :data:`NODES_OWN`. A history
    keeps the newest of each kind, so that none pushes another out."""
    found = np.zeros(CODES, dtype=np.uint8)
    for code, label in enumerate(labels):
        found[code] = next((at for at, own in enumerate(NODES_OWN, 1) if label in own), 0)
    return found


class History(NamedTuple):
    """``times`` are seconds since 1970 (0 when the events have none); ``actions`` index the manifest's labels."""

    rows: np.ndarray
    times: np.ndarray
    actions: np.ndarray


def pack_history(rows: np.ndarray, times: np.ndarray, actions: np.ndarray) -> bytes:
    """Arrays must already be <u4, <i8 and u1."""
    return times.tobytes() + rows.tobytes() + actions.tobytes()


def unpack_history(raw: bytes | None) -> History:
    count = len(raw) // EVENT_BYTES if raw else 0
    raw = raw or b""
    return History(
        rows=np.frombuffer(raw, dtype="<u4", count=count, offset=8 * count),
        times=np.frombuffer(raw, dtype="<i8", count=count),
        actions=np.frombuffer(raw, dtype="u1", count=count, offset=12 * count),
    )
