from collections.abc import Sequence
from typing import final

import numpy as np

from mixline.tools.flight import Flight

CLOSED_RATE_MAX: int
GENERATOR_NICE: int

class Transport:
    @property
    def request_count(self) -> int: ...

@final
class Volley:
    def __init__(self, transport: Transport, expect: Sequence[Sequence[bytes]] | None = None) -> None: ...
    def open(self, due_ns: np.ndarray, which: np.ndarray, grace_s: float = 2.0, keep_every: int = 0) -> Flight: ...
    def closed(
        self, which: np.ndarray, in_flight: int, seconds: float, grace_s: float = 2.0, keep_every: int = 0
    ) -> Flight: ...
    def _loop(self) -> None: ...

def go_first() -> bool: ...
def other_threads_cpu_ns() -> dict[int, int]: ...
