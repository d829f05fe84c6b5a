"""How a long command shows that it lives: a bar on a terminal with rich, else a plain line now and then on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

LINE_EVERY_S = 5.0


class Lines:
    """A line when a phase begins, and at most one every five seconds while it lasts."""

    def __init__(self) -> None:
        self._name, self._done = "", 0
        self._total: int | None = None
        self._told_s = 0.0

    def phase(self, name: str, total: int | None = None) -> None:
        self._name, self._done, self._total = name, 0, total
        self._told_s = time.monotonic()
        print(name, file=sys.stderr, flush=True)

    def advance(self, amount: int) -> None:
        self._done += amount
        now_s = time.monotonic()
        if now_s - self._told_s >= LINE_EVERY_S:
            self._told_s = now_s
            of = f" of {self._total:,}" if self._total else ""
            print(f"{self._name}: {self._done:,}{of}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing to put back."""


class Bars:
    """One rich bar per phase."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._task: Any = None
        progress.start()

    def phase(self, name: str, total: int | None = None) -> None:
        self._finish()
        self._task = self._progress.add_task(name, total=total)

    def advance(self, amount: int) -> None:
        self._progress.advance(self._task, amount)

    def close(self) -> None:
        self._finish()
        self._progress.stop()

    def _finish(self) -> None:
        if self._task is not None:
            task = self._progress.tasks[self._task]
            total = task.completed or 1
            self._progress.update(self._task, total=total, completed=total)


def progress_on_stderr() -> Bars | Lines:
    """Bars when stderr is a terminal and rich is there, lines otherwise."""
    if sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.progress import Progress
        except ImportError:
            return Lines()
        return Bars(Progress(console=Console(stderr=True)))
    return Lines()
