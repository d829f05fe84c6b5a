"""What SIGHUP asks for: another epoch or changed surfaces, tried by a throw-away process and then served by new
workers, one seat after the other, so that no request fails and each is answered from one epoch.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from mixline.node import limits
from mixline.node.orders import RehearsalOrders
from mixline.node.plain_asyncio import asyncio
from mixline.node.supervisor_chair import Chair
from mixline.node.supervisor_child import Child
from mixline.node.supervisor_nursery import EX_STALE, Birth, Nursery
from mixline.node.supervisor_warming import warm_up

if TYPE_CHECKING:
    from mixline.node.supervisor import Supervisor

log = logging.getLogger("mixline.supervisor")


class Reloader:
    """Reloads of one supervisor, one at a time."""

    def __init__(self, node: Supervisor) -> None:
        self.node = node
        self.wanted = asyncio.Event()

    async def run(self) -> None:
        """Reload whenever it is wanted."""
        node = self.node
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            node.notifier.reloading()
            node.fallback.exhausted = False
            if await self.rehearse():
                await warm_up(node)
                node.generation += 1
                standby_first = sorted(node.chairs, key=lambda each: -each.order)
                for chair in [node.writer, *standby_first]:  # a new epoch's workers wait for the writer's overlay of it
                    if node.stopping or not await self.replace(chair):
                        break
            log.info("reload over, configuration generation %d", node.generation)
            node.notifier.ready(node.status_line())

    async def rehearse(self) -> bool:
        """Open store and surfaces in a throw-away process of a new nursery, which takes over when all is well; a
        mistake costs a log line and not the node. The one at work bears the new one, unless a module has changed on
        disk since it was loaded."""
        node = self.node
        tried = node.fallback.active()
        fresh, rehearsal, done = await self.rehearsed(node.nursery.successor)
        if done and rehearsal is fresh.last and rehearsal.exit_code == EX_STALE:
            fresh.close()
            log.info("Python files have changed: all is loaded anew")
            fresh, rehearsal, done = await self.rehearsed(node.nursery.beside)
        if done and rehearsal is not fresh.last and rehearsal.exit_code == rehearsal.death_signal == 0:
            node.nursery.hand_over(fresh)
            node.nursery = fresh
            fresh.on_useless = node.give_up
            return True
        fresh.close()
        fresh.let_go()
        if not done:
            rehearsal.send(signal.SIGKILL)
        node.fallback.failed(rehearsal, tried, rehearsed=True)
        log.error("reload refused: the store or the configuration is bad (%s); serving as before", rehearsal.fate)
        return False

    async def rehearsed(self, make: Callable[[Callable[..., None]], Nursery]) -> tuple[Nursery, Child, bool]:
        """A nursery, the rehearsal that it bore, or itself when it failed before, and whether that ended in time."""
        node, told, ended = self.node, self.node.options, [False]

        def end(*_: object) -> None:
            ended[0] = True
            node.changed.set()

        fresh = make(end)
        born: list[Child] = []
        orders = RehearsalOrders(told.store, told.config, told.engine, told.log)
        fresh.ask(Birth("mixline.node.supervisor_rehearsal", orders, [], born.append, end, end))
        done = await node.wait_for(lambda: ended[0], limits.ready_timeout_ms / 1000)
        rehearsal = born[-1] if born else fresh.last or node.nursery.last
        assert rehearsal is not None
        return fresh, rehearsal, done

    async def replace(self, chair: Chair) -> bool:
        """Let one worker finish, end it, and wait for its successor."""
        node, old = self.node, chair.child
        if old is None:
            return True
        node.tell("retire", seat=chair.number)
        await node.wait_for(lambda: chair.retired or old.gone, limits.drain_ms / 1000)
        chair.retired = True
        old.send(signal.SIGTERM)
        if not await node.wait_for(lambda: old.gone, limits.leave_ms / 1000):
            old.send(signal.SIGKILL)
            await node.wait_for(lambda: old.gone, limits.leave_ms / 1000)
        came = await node.wait_for(lambda: chair.ready and chair.child is not old, limits.ready_timeout_ms / 1000)
        if not came:
            log.error("reload stopped: the new worker in seat %d does not get ready", chair.number)
        return came
