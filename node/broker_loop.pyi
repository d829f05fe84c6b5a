from typing import Any

from mixline.node.broker_desk import Desk

REASONS: dict[str, int]

class Loop(Desk):
    def __init__(self, *arguments: Any, control_fd: int, **named: Any) -> None: ...
    def run(self, until_ns: int) -> int: ...
