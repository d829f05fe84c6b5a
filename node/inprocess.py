"""The same engine without a server: for notebooks, tests and batch jobs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

from mixline.ipc.wire import ReplyHeader, RequestHeader, Status
from mixline.node import limits
from mixline.node.config import load_node_config
from mixline.node.engine import Asked, Engine
from mixline.node.errors import NodeError
from mixline.node.page import Page, decode_page
from mixline.node.request import prepare
from mixline.node.updates import Acknowledged, Updates, event
from mixline.node.writer import Writer
from mixline.storage.errors import StoreLocked
from mixline.storage.live_paths import log_exists

READY_S = 120.0  # for a writer to bring its store up to date
WRITING = Lock()  # of the writers of this process
TOGETHER = 64  # asks of ask_many that share their scans


class Node:
    """An engine in this process. ``ask`` takes what :func:`mixline.node.request.prepare` takes. Threads take turns."""

    def __init__(self, engine: Engine, store: str | Path) -> None:
        self.engine = engine
        self._store = Path(store)
        self._writer: Writer | None = None
        self._updates = Updates()
        self._turn = Lock()

    @classmethod
    def open(cls, store: str | Path, config: str | Path | None = None, *, effects: bool = False) -> Node:
        """Open the active epoch of ``store`` under NODE.toml, or under the defaults.

        What was written to a store that no node serves is brought up to date first. With ``effects`` the side effects
        that write somewhere do so, as in a served node.
        """
        engine = Engine.open(store, load_node_config(config))
        node = cls(engine, store)
        if effects:
            engine.open_outlets(f"p{os.getpid()}", open_writer=lambda: Here(node))
        try:
            if log_exists(Path(store)):
                try:
                    node.writer()
                except StoreLocked:
                    engine.await_live(READY_S)  # a node writes this store; what it acknowledged shows here too
        except BaseException:
            node.close()
            raise
        return node

    def writer(self) -> Writer:
        """Be this store's writer; :class:`~mixline.storage.errors.StoreLocked` when a node serves it."""
        if self._writer is None:
            self._writer = Writer(self._store)
        return self._writer

    def apply(self, operations: Iterable[dict[str, Any]], **named: Any) -> Acknowledged:
        """Change data, as :meth:`mixline.node.client.Client.apply` does; only while no node serves the store."""
        with self._updates.prepare(operations, **named) as prepared, self._turn, WRITING:
            return prepared.acknowledged(self.writer().apply(prepared.body))

    def record(
        self,
        user: int | str,
        item: int | str,
        action: str = "",
        time: int | None = None,
        query: str = "",
        **named: Any,
    ) -> Acknowledged:
        """One event, as :meth:`apply` with one operation."""
        return self.apply([event(user, item, action, time, query)], **named)

    def forget(self, user: int | str, **named: Any) -> Acknowledged:
        """Remove a user, as :meth:`mixline.node.client.Client.forget` does."""
        return self.apply([{"op": "forget", "user": user}], **named)

    def ask(self, surface: str, **arguments: Any) -> Page:
        """Answer here and now; raises what a client would raise. Goes through the wire's bytes, as a client does."""
        asked = asked_now(surface, **arguments)
        started_ns = time.monotonic_ns()
        with self._turn:
            status, encoded = self.engine.answer(*asked)
            self._follow()
        return self._page(asked.header, status, encoded, started_ns)

    def why_not(self, surface: str, item: int | str, /, **arguments: Any) -> dict[str, Any]:
        """What became of one item in a request, as :meth:`mixline.node.client.Client.why_not` says."""
        found = self.ask(surface, why=[item], **arguments).why
        assert found is not None
        return found[0]

    def ask_many(self, requests: Iterable[dict[str, Any]]) -> list[Page | NodeError]:
        """Answer several, each a dict with ``surface``; what they scan alike is scanned once for 64 of them.

        An ask that fails is its exception in the list. Each one's deadline counts from when its 64 are begun.
        """
        every = list(requests)
        pages: list[Page | NodeError] = []
        for start in range(0, len(every), TOGETHER):
            pages += self._together(every[start : start + TOGETHER])
        return pages

    def _together(self, requests: list[dict[str, Any]]) -> list[Page | NodeError]:
        started_ns = time.monotonic_ns()
        found: dict[int, Page | NodeError] = {}
        asks: dict[int, Asked] = {}
        for at, request in enumerate(requests):
            try:
                asks[at] = asked_now(**request)
            except NodeError as error:
                found[at] = error
        places = [*asks]
        with self._turn:
            for at, outcome in self.engine.answer_many([*asks.values()], lambda _: None):
                self._follow()
                if isinstance(outcome, tuple):
                    found[places[at]] = self._page(asks[places[at]].header, *outcome, started_ns)
                elif isinstance(outcome, NodeError):
                    found[places[at]] = outcome
                else:
                    raise outcome
        return [found[at] for at in range(len(requests))]

    def _follow(self) -> None:
        """Side effects of the latest answer."""
        effect, self.engine.effect = self.engine.effect, None
        if effect is not None:
            self.engine.run_effect(effect)

    def _page(self, header: RequestHeader, status: Status, encoded: bytes, started_ns: int) -> Page:
        server_us = (time.monotonic_ns() - started_ns) // 1000
        engine = self.engine
        made_on = engine.epoch_number, engine.live_seq, 0
        return decode_page(ReplyHeader(header.kind, status, header.request_id, *made_on, server_us), encoded)

    def close(self) -> None:
        """Write what follows earlier replies, and let go of the store."""
        self.engine.close_outlets()
        if self._writer is not None:
            with WRITING:
                self._writer.close()
            self._writer = None
        self.engine.close()

    def __enter__(self) -> Node:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Here:
    """What a node writes while it answers, by the writer of its own process; its lock is held, or its thread's own."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._updates = Updates()

    def apply(self, operations: Sequence[dict[str, Any]], *, deadline_ms: float = 0, **named: Any) -> Acknowledged:
        """As :meth:`Node.apply`."""
        with self._updates.prepare(operations, **named) as prepared, WRITING:
            return prepared.acknowledged(self._node.writer().apply(prepared.body))


def asked_now(surface: str, **arguments: Any) -> Asked:
    """A request that arrives at this moment."""
    header, body = prepare(surface, **arguments)
    deadline_ns = time.monotonic_ns() + (header.budget_us or limits.budget_max_us) * 1000
    return Asked(header, body, deadline_ns, never)


def never() -> bool:
    """The pulse of a process with no heart to beat and nobody to cancel."""
    return False
