"""When the active epoch cannot be served: another one is made active, so that a bad build is not the end of a node.

Told of workers that ended before they served. A damaged or missing file is certain (exit codes 65 and 66 of a worker
that cannot open the store); SIGSEGV and SIGBUS are believed when they come twice, on an epoch that never served here.
The verifying is done by a process of its own, under the store's lock.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mixline.ipc.calls import die_with_parent
from mixline.node import limits
from mixline.node.logs import start_logging
from mixline.node.orders import FallBackOrders
from mixline.node.supervisor_child import Child
from mixline.storage.errors import EX_DATAERR, EX_NOINPUT, EX_TEMPFAIL, StorageError

if TYPE_CHECKING:
    from mixline.node.supervisor import Supervisor

log = logging.getLogger("mixline.supervisor")
DAMAGE = (EX_DATAERR, EX_NOINPUT)
CRASHES = (signal.SIGSEGV, signal.SIGBUS)


class FallBack:
    """One supervisor's way to another epoch."""

    def __init__(self, node: Supervisor) -> None:
        self.node = node
        self.served = 0  # the epoch of the worker that became ready last
        self.crashes = 0  # in a row, before serving
        self.child: Child | None = None
        self.exhausted = False  # no epoch is left; another SIGHUP begins anew

    def serves(self, epoch: int) -> None:
        """A worker is ready with this epoch."""
        self.served, self.crashes = epoch, 0

    def failed(self, child: Child, tried: int | None, rehearsed: bool = False) -> bool:
        """Told of a process that ended before it served, and of the epoch that was active when it was ordered.

        True when that is no reason to give up yet.
        """
        active = self.active()
        if active is None or self.exhausted or self.node.stopping:
            return False
        if active != tried:  # it may have been the one before; the next start tells
            return True
        if child.death_signal in CRASHES and active != self.served:
            self.crashes += 1
            if self.crashes < limits.fallback_crashes and not rehearsed:
                return True
        elif child.exit_code not in DAMAGE:
            return False
        if self.child is None:
            log.error("epoch %d cannot be served (%s): looking for another", active, child.fate)
            self.begin(active)
        return True

    def active(self) -> int | None:
        """The number in CURRENT; None when there is none, or when somebody has to look at it."""
        from mixline.storage.publish import read_current  # NumPy, which must not be loaded before the nursery is forked

        try:
            return read_current(Path(self.node.options.store))
        except (StorageError, OSError):
            return None

    def begin(self, bad: int) -> None:
        """Have the store moved to another epoch."""
        if self.node.stopping:
            return
        told = self.node.options
        orders = FallBackOrders(os.getpid(), told.store, bad, self.served, told.log)
        self.child = Child.run(self.node.loop, "mixline.node.supervisor_fallback", orders, [], lambda _: self.done(bad))

    def done(self, bad: int) -> None:
        """Go on with what there is now; workers that still serve the bad epoch are replaced."""
        assert self.child is not None
        code, self.child = self.child.exit_code or self.child.death_signal, None
        self.node.changed.set()
        self.crashes = 0
        if code == EX_TEMPFAIL:
            self.node.loop.call_later(limits.fallback_again_ms / 1000, self.begin, bad)
        elif code:
            self.exhausted = True
            if not self.node.announced:
                self.node.give_up(EX_DATAERR)
        elif self.node.announced and any(each.ready and each.epoch == bad for each in self.node.chairs):
            self.node.reloader.wanted.set()


def main() -> None:
    """Entry of ``python -m mixline.node.supervisor_fallback ORDERS``."""
    from mixline.storage.store import Store

    orders = msgspec.json.decode(sys.argv[1], type=FallBackOrders)
    start_logging(orders.log)
    die_with_parent(orders.parent)
    try:
        number = Store(orders.store).fall_back(orders.bad, orders.served)
    except StorageError as error:
        log.error("%s", error)
        sys.exit(error.exit_code)
    log.error("epoch %d cannot be served: epoch %d is active; mixline epoch verify says why", orders.bad, number)


if __name__ == "__main__":
    main()
