"""Warming at a start and a reload, in a process of its own: the supervisor maps no store, and waits.

A node that is told to warm binds its doors only afterwards, so whoever connects or hears READY finds pages in memory.
What goes wrong costs a line in the log: a cold node is slow, not broken.
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
from mixline.node.orders import WarmOrders
from mixline.node.supervisor_child import Child

if TYPE_CHECKING:
    from mixline.node.supervisor import Supervisor

log = logging.getLogger("mixline.warming")


async def warm_up(node: Supervisor) -> None:
    """Have the active epoch warmed, where NODE.toml says so; returns when it is, failed, or the node is to stop."""
    told = node.options
    if told.warm is None or node.stopping:
        return
    orders = WarmOrders(os.getpid(), told.store, told.config, told.warm.replay, told.warm.huge, told.log)
    child = Child.run(node.loop, "mixline.node.supervisor_warming", orders, [], lambda _: node.changed.set())
    for _ in range(limits.warm_max_ms // limits.warm_told_ms):
        node.notifier.warming(f"warming {told.store}", 4 * limits.warm_told_ms / 1000)
        if await node.wait_for(lambda: child.gone or node.stopping, limits.warm_told_ms / 1000):
            break
    if not child.gone:
        child.send(signal.SIGKILL)
        await node.wait_for(lambda: child.gone, limits.leave_ms / 1000)
    if (child.exit_code or child.death_signal) and not node.stopping:
        log.warning("not warmed (%s): the first requests wait for the disk", child.fate)


def main() -> None:
    """Entry of ``python -m mixline.node.supervisor_warming ORDERS``."""
    from mixline.node.warming import read_recorded, replay, short_of, warm
    from mixline.storage.store import Store

    orders = msgspec.json.decode(sys.argv[1], type=WarmOrders)
    start_logging(orders.log)
    die_with_parent(orders.parent)
    set_name("mixline-warm")
    with ending_in_words(log), Store(orders.store).open() as epoch:
        files = list(warm(epoch, huge=orders.huge))
        left_out = short_of(files)
        if left_out:
            log.warning("epoch %d: no memory for all of %s", epoch.number, ", ".join(left_out))
        before, after = (sum(getattr(one, when) or 0 for one in files) for when in ("before", "after"))
        log.info("epoch %d: %d bytes in memory, %d before", epoch.number, after, before)
        if orders.replay:
            counts = replay(Path(orders.store), orders.config, read_recorded(Path(orders.replay)), lambda _: None)
            log.info("%d recorded requests answered, %d failed", counts["answered"], counts["failed"])


if __name__ == "__main__":
    main()
