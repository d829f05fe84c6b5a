from typing import Any

from mixline.ipc.blocks import Blocks
from mixline.ipc.board import Board
from mixline.ipc.meters import Meters
from mixline.node.broker_peers import Peers
from mixline.node.broker_places import Places
from mixline.node.broker_queue import FairQueue

class Ledger:
    slots: Blocks
    queue: FairQueue
    peers: Peers
    places: Places
    lend_count: int
    lends_out: bool
    life: int
    waiting: int
    def __init__(
        self,
        notice_board: Board,
        slot_memory: memoryview,
        places: Places,
        meters: Meters,
        life: int,
        weights: dict[str, float],
        **_: Any,
    ) -> None: ...
    def reserve(self, slot: int) -> bool: ...
    def unreserve(self, slot: int) -> None: ...
