"""Updates as callers give them: numbered, encoded, and acknowledged; the same for clients and an in-process node."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from functools import partial
from threading import Lock
from typing import Any

import msgspec

from mixline.node.errors import BadRequest
from mixline.storage.errors import BadOperation
from mixline.storage.live_ops import encode_batch


class Acknowledged(msgspec.Struct, frozen=True):
    """Operations ``first`` .. ``live_seq`` are durable, and visible to every later request on this node.

    ``durability`` says how: ``sync``, they are on the disk. ``repeated``: they were applied before, under the same
    client and sequence. ``granted``: for each operation on budgets, in their order, a byte for each entry, 1 where it
    was granted.
    """

    first: int
    live_seq: int
    durability: str
    repeated: bool
    granted: list[bytes] = []


class Prepared:
    """A batch ready to send, any number of times. A context manager, which gives its lane back when it has ended."""

    def __init__(self, body: bytes, end: Callable[[], None]) -> None:
        self.body = body
        self._end = end

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @staticmethod
    def acknowledged(body: bytes | memoryview) -> Acknowledged:
        """Read what came back."""
        return msgspec.msgpack.decode(body, type=Acknowledged)


class Lane:
    """A name under which one batch is under way at a time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sequence = 0


class Updates:
    """Names the batches of one caller, so that one that is sent again is not applied again.

    The sequences of a name ascend in the order in which its batches arrive. Batches that are under way at once may
    overtake one another, so each has a name of its own: a lane, which the next one takes when it is over.
    """

    def __init__(self) -> None:
        self._name = uuid.uuid4().hex
        self._free: list[Lane] = []
        self._lanes = 0
        self._lock = Lock()

    def prepare(
        self,
        operations: Iterable[dict[str, Any]],
        *,
        client: str | None = None,
        sequence: int | None = None,
        durability: str = "sync",
    ) -> Prepared:
        """Encode a batch. ``client`` with ``sequence`` name it across restarts of the caller; they go together."""
        if (client is None) != (sequence is None):
            raise BadRequest("client and sequence name a batch together: give both or none")
        end: Callable[[], None] = no_lane
        if client is None:
            lane = self._take()
            client, sequence, end = lane.name, lane.sequence, partial(self._give, lane)
        batch = {"client": client, "sequence": sequence, "ops": [*operations], "durability": durability}
        try:
            return Prepared(encode_batch(batch), end)
        except (BadOperation, TypeError, OverflowError) as error:
            end()
            raise BadRequest(f"operations: {error}") from None

    def _take(self) -> Lane:
        with self._lock:
            if self._free:
                lane = self._free.pop()
            else:
                lane = Lane(f"{self._name}.{self._lanes}")
                self._lanes += 1
            lane.sequence += 1
            return lane

    def _give(self, lane: Lane) -> None:
        with self._lock:
            self._free.append(lane)


def no_lane() -> None:
    """The caller named the batch."""


def event(
    user: int | str, item: int | str, action: str = "", time: int | None = None, query: str = ""
) -> dict[str, Any]:
    """The operation that records one event."""
    found: dict[str, Any] = {"op": "events", "users": [user], "items": [item], "actions": action}
    if query:
        found["queries"] = query
    return found if time is None else {**found, "times": [int(time)]}
