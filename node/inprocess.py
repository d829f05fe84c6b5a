"""The same engine without a server: for notebooks, tests and batch jobs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

from mixline.ipc.wire import ReplyHeader
from mixline.node import limits
from mixline.node.config import load_node_config
from mixline.node.engine import Engine
from mixline.node.errors import NodeError
from mixline.node.page import Page, decode_page
from mixline.node.request import prepare


class Node:
    """An engine in this process. ``ask`` takes what :func:`mixline.node.request.prepare` takes. Threads take turns."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._turn = Lock()

    @classmethod
    def open(cls, store: str | Path, config: str | Path | None = None) -> Node:
        """Open the active epoch of ``store`` under NODE.toml, or under the defaults."""
        return cls(Engine.open(store, load_node_config(config)))

    def ask(self, surface: str, **arguments: Any) -> Page:
        """Answer here and now; raises what a client would raise. Goes through the wire's bytes, as a client does."""
        header, body = prepare(surface, **arguments)
        started_ns = time.monotonic_ns()
        budget_us = header.budget_us or limits.budget_max_us
        with self._turn:
            status, encoded = self.engine.answer(header, body, started_ns + budget_us * 1000, never)
        server_us = (time.monotonic_ns() - started_ns) // 1000
        reply = ReplyHeader(
            header.kind,
            status,
            header.request_id,
            self.engine.epoch_number,
            self.engine.live_seq,
            0,
            server_us,
        )
        return decode_page(reply, encoded)

    def ask_many(self, requests: Iterable[dict[str, Any]]) -> list[Page | NodeError]:
        """Answer several, each a dict with ``surface``; an ask that fails is its exception in the list."""
        pages: list[Page | NodeError] = []
        for request in requests:
            try:
                pages.append(self.ask(**request))
            except NodeError as error:
                pages.append(error)
        return pages

    def close(self) -> None:
        """Let go of the epoch."""
        self.engine.close()

    def __enter__(self) -> Node:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def never() -> bool:
    """The pulse of a process with no heart to beat and nobody to cancel."""
    return False
