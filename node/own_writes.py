"""What the node itself writes while it answers: budgets reserved before a reply, what was shown after it.

All of it goes to the one writer as everybody's batches do. What a reply depends on is waited for; what follows a reply
goes into a queue that a thread empties, many at a time, so that no request waits for a disk.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from queue import Empty, Full, Queue
from threading import Thread
from time import monotonic, sleep
from typing import Any, Protocol
from urllib.parse import urlsplit

from mixline.ipc.board import Board
from mixline.node import limits
from mixline.node.errors import NotReady, Overloaded
from mixline.node.updates import Acknowledged

log = logging.getLogger("mixline.writes")
QUEUED_MAX = 100_000  # operations that wait to be written
TOGETHER = 512  # operations in a batch
AGAIN_S = 30.0  # how long a batch is tried again
PAUSE_S = 0.05
CLOSE_S = 5.0
Operation = dict[str, Any]


class Applies(Protocol):
    """A client, or the writer of this process."""

    def apply(self, operations: Sequence[Operation], **named: Any) -> Acknowledged: ...


class OwnWrites:
    """The way to the writer. ``open_client`` is called when it is first needed, once for each thread."""

    def __init__(self, open_client: Callable[[], Applies]) -> None:
        self._open = open_client
        self._client: Applies | None = None
        self._queue: Queue[Operation | None] = Queue(QUEUED_MAX)
        self._thread: Thread | None = None
        self.lost = 0

    def now(self, name: str, sequence: int, operations: Sequence[Operation], deadline_ms: float) -> Acknowledged:
        """Write a batch and wait for it; raises a :class:`~mixline.node.errors.NodeError` when it may not be written.

        A batch of the same name and sequence is not applied again, and has the outcome that it had.
        """
        if self._client is None:
            self._client = self._open()
        return self._client.apply(operations, client=name, sequence=sequence, deadline_ms=max(1.0, deadline_ms))

    def later(self, operation: Operation) -> None:
        """Write it soon; :class:`~mixline.node.errors.Overloaded` when too much waits already."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="mixline-writes", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(operation)
        except Full:
            raise Overloaded(f"{QUEUED_MAX} operations wait for the writer", 0) from None

    def close(self) -> None:
        """Write what waits, as far as that goes within seconds."""
        if self._thread is not None:
            with contextlib.suppress(Full):
                self._queue.put(None, timeout=CLOSE_S)
            self._thread.join(CLOSE_S)
            self._thread = None
        if self._client is not None and hasattr(self._client, "close"):
            self._client.close()
        self._client = None

    def _run(self) -> None:
        client: Applies | None = None
        last = False
        while not last:
            operations = [self._queue.get()]
            while len(operations) < TOGETHER:
                try:
                    operations.append(self._queue.get_nowait())
                except Empty:
                    break
            last = None in operations
            client = self._write(client, [one for one in operations if one is not None])
        if client is not None and hasattr(client, "close"):
            client.close()

    def _write(self, client: Applies | None, operations: list[Operation]) -> Applies | None:
        """Write a batch, whatever becomes of it; returns the client for the next one."""
        until = monotonic() + AGAIN_S
        while operations:
            try:
                client = client or self._open()
                client.apply(operations)
                break
            except NotReady as error:  # a writer that is being replaced
                if monotonic() < until:
                    sleep(PAUSE_S)
                    continue
                failure: Exception = error
            except Exception as error:  # noqa: BLE001  # nobody else hears of it, and what comes later is to be written
                failure = error
            self.lost += len(operations)
            log.error("%d operations that follow replies were not written (%d so far): %s", len(operations), self.lost,
                      failure)  # fmt: skip
            break
        return client


def reachable(bind: Sequence[str], board: Board) -> str:
    """An endpoint of this node's own door; what was bound as port 0 is told by the board."""
    for endpoint in bind:
        if endpoint.startswith("ipc://"):
            return endpoint
    where = urlsplit(bind[0])
    return f"tcp://{where.hostname}:{where.port or board.port}"


def client_of(endpoint: str) -> Applies:
    """A client of the node's own door."""
    from mixline.node.client import Client  # brings ZeroMQ, which a worker else does without

    return Client(endpoint)


assert limits.apply_deadline_ms / 1000 <= AGAIN_S
