"""One engine in this process and what it is asked, timed by the CPU that its thread takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from mixline.node.config import load_node_config
from mixline.node.engine import Asked, Engine
from mixline.node.inprocess import never
from mixline.node.request import prepare
from mixline.tools.serving_data import PAGE, USERS

HOUR_NS = 3600 * 10**9
Way = TypeVar("Way")


class Asking:
    """The typical request, of one user after the other."""

    def __init__(self, store: Path, config: Path, surface: str) -> None:
        self.engine = Engine.open(store, load_node_config(config))
        self.asks = [prepare(surface, user=user, limit=PAGE, deadline_ms=5000.0) for user in range(USERS)]

    def ask(self, count: int, together: int) -> float:
        """CPU time of so many requests, given to the engine so many at once, microseconds each."""
        until_ns = time.monotonic_ns() + HOUR_NS
        began_ns = time.thread_time_ns()
        for first in range(0, count, together):
            asked = [Asked(*self.asks[at % USERS], until_ns, never) for at in range(first, first + together)]
            for _, answer in self.engine.answer_many(asked, lambda _: None):
                if isinstance(answer, Exception):
                    raise answer
        return (time.thread_time_ns() - began_ns) / count / 1000


def in_rounds(ways: Mapping[Way, Callable[[], float]], rounds: int) -> dict[Way, list[float]]:
    """What each way took in each round, all in turn so that they have the same machine; a round before is not told."""
    us: dict[Way, list[float]] = {way: [] for way in ways}
    for count in range(1 + rounds):
        for way, ask in ways.items():
            took = ask()
            if count:
                us[way].append(took)
    return us
