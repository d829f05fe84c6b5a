from collections.abc import Callable, Iterator
from typing import Any

from mixline.ipc.blocks import Blocks
from mixline.ipc.board import Board
from mixline.ipc.seats import WorkerSide

class WorkerLoop:
    blocks: Blocks
    leaving: bool
    life: int
    def __init__(
        self,
        seat: WorkerSide,
        notice_board: Board,
        slots: memoryview,
        wake_fd: int,
        answer: Callable[[memoryview, int, int], tuple[int, Any]],
        answer_many: Callable[[list[Any], Callable[[int | None], None]], Iterator[tuple[int, int, Any]]],
    ) -> None: ...
    def run(self, engine: Any) -> None: ...
    def serve_waiting(self, engine: Any) -> int: ...
    def attach(self) -> None: ...
    def pulse(self) -> bool: ...
    def work_waits(self) -> bool: ...
    def turn(self, at: int | None) -> None: ...

class Pulse:
    def __call__(self, *args: Any, **kwargs: Any) -> bool: ...
