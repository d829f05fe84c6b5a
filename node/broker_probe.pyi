from typing import Any

from mixline.ipc.rings import Consumer
from mixline.node.broker_loop import Loop

class ProbeLoop(Loop):
    considered: int
    replies: int
    bad_replies: int
    forged: int
    unsettled: int
    def __init__(self, *arguments: Any, work: Consumer, released: Consumer, **named: Any) -> None: ...
    @property
    def statuses(self) -> list[int]: ...
    def feed(self, seed: int, count: int) -> None: ...
    def settle_all(self) -> None: ...
