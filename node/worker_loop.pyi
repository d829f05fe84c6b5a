from collections.abc import Callable
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
    ) -> None: ...
    def run(self, engine: Any) -> None: ...
    def serve_waiting(self, engine: Any) -> int: ...
    def attach(self) -> None: ...
    def pulse(self) -> bool: ...
