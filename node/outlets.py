"""Where side effects put things: what a process has open for them, and what they are told of the reply.

An engine without outlets (a notebook, a tool that asks many requests) runs surfaces without a trace.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns
from typing import TYPE_CHECKING, NamedTuple

from mixline.ipc.wire import RequestHeader, Status
from mixline.node.own_writes import Applies, OwnWrites
from mixline.storage.journal_writer import JournalWriter, name_folder

if TYPE_CHECKING:
    from mixline.node.config import NodeConfig
    from mixline.node.page import Coverage
    from mixline.node.pipeline import Pipeline

log = logging.getLogger("mixline.effects")
MB = 1 << 20
PAUSE_NS = 10_000_000_000  # between two lines about the same side effect


class Replied(NamedTuple):
    """How a request was answered. ``body`` is its own, as it came; ``outlets`` where to put what follows."""

    header: RequestHeader
    body: bytes
    status: Status
    limit: int
    execute_us: int
    config_generation: int
    pipeline: Pipeline
    outlets: Outlets | None
    shadow: bool = False


class Failures:
    """Says that side effects fail, and not each time."""

    def __init__(self) -> None:
        self._said_ns: dict[tuple[str, str], int] = {}

    def say(self, surface: str, entry: Coverage) -> None:
        """One that failed."""
        now_ns = monotonic_ns()
        if now_ns - self._said_ns.get((surface, entry.name), -PAUSE_NS) >= PAUSE_NS:
            self._said_ns[surface, entry.name] = now_ns
            log.error("side effect %r of %s failed: %s", entry.name, surface, entry.why)


class Outlets:
    """What one process has open. ``name`` tells it from all others that write the same journal."""

    def __init__(
        self, store: Path, config: NodeConfig, name: str, open_writer: Callable[[], Applies] | None = None
    ) -> None:
        told = config.journal
        folder = Path(told.path) if told.path else store / "journal"
        self.config_file = config.file
        self.store, self.folder = store, folder
        self.journal = JournalWriter(folder, name, int(told.file_mb * MB), int(told.total_mb * MB))
        self._named = False
        self.writes = None if open_writer is None else OwnWrites(open_writer)

    def open_journal(self) -> JournalWriter:
        """The journal, which the store knows of from the first record on."""
        if not self._named:
            name_folder(self.store, self.folder)
            self._named = True
        return self.journal

    def close(self) -> None:
        """Write what waits, and let go of the files."""
        if self.writes is not None:
            self.writes.close()
        self.journal.close()
