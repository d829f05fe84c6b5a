"""Compaction on a timer or by size: a process of the lowest priority folds what was written into a new epoch, and the
node takes it as after a SIGHUP. What goes wrong costs a line in the log; the node serves and writes on.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mixline.ipc.calls import die_with_parent, set_name
from mixline.node import limits
from mixline.node.logs import ending_in_words, start_logging
from mixline.node.orders import CompactionOrders
from mixline.node.plain_asyncio import asyncio
from mixline.node.supervisor_child import Child
from mixline.storage.live_paths import pending_operations

if TYPE_CHECKING:
    from mixline.node.serve_options import CompactionOptions
    from mixline.node.supervisor import Supervisor

log = logging.getLogger("mixline.compaction")


class Compactor:
    """Folds of one supervisor, one at a time."""

    def __init__(self, node: Supervisor, told: CompactionOptions) -> None:
        self.node, self.told = node, told
        self.last_s = node.loop.time()  # when the last try ended
        self.pause_s = 0.0  # at least from then to the next

    async def run(self) -> None:
        """Look from time to time whether one is due, for as long as the node runs."""
        while True:
            await asyncio.sleep(limits.compaction_look_ms / 1000)
            if self.due():
                folded = await self.fold()
                self.last_s = self.node.loop.time()
                self.pause_s = 0.0 if folded else limits.compaction_retry_ms / 1000

    def due(self) -> bool:
        """Whether enough was written, or long enough ago."""
        waited_s = self.node.loop.time() - self.last_s
        if waited_s < self.pause_s or not self.node.announced or self.node.stopping:
            return False
        pending = pending_operations(Path(self.node.options.store))
        return 0 < self.told.operations <= pending or (pending > 0 and 0 < self.told.every_hours * 3600 <= waited_s)

    async def fold(self) -> bool:
        """Have it done, and taken by the node; False when it failed."""
        node = self.node
        orders = CompactionOrders(os.getpid(), node.options.store, self.told.keep, node.options.log)
        child = Child.run(node.loop, "mixline.node.supervisor_compaction", orders, [], lambda _: node.changed.set())
        while not await node.wait_for(lambda: child.gone or node.stopping, limits.compaction_look_ms / 1000):
            pass
        if not child.gone:
            child.send(signal.SIGKILL)
        elif child.exit_code or child.death_signal:
            log.error("nothing was folded (%s); serving as before", child.fate)
            return False
        else:
            node.reloader.wanted.set()
        return True


def main() -> None:
    """Entry of ``python -m mixline.node.supervisor_compaction ORDERS``."""
    orders = msgspec.json.decode(sys.argv[1], type=CompactionOrders)
    start_logging(orders.log)
    die_with_parent(orders.parent)
    set_name("mixline-fold")
    os.nice(19)
    from mixline.node.compaction import compact
    from mixline.storage.store import Store

    with ending_in_words(log):
        manifest = compact(orders.store)
        if manifest is not None:
            log.info("epoch %d has everything up to operation %d", manifest.number, manifest.live_seq)
            Store(orders.store).prune(orders.keep)


if __name__ == "__main__":
    main()
