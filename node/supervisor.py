"""The supervisor: the process that systemd sees, parent of the broker and of every worker.

It makes the memory, has the others forked by the nursery, watches them by pidfd and decides who lives. It never touches
a message. A dead worker's place is taken by the warm standby at once, inside the broker, while this process fills the
empty seat.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from mixline.ipc.board import Board
from mixline.ipc.calls import adopt_orphans, die_with_parent, forget_code, set_name
from mixline.node import limits
from mixline.node.logs import start_logging
from mixline.node.metrics_door import MetricsDoor, MetricsError, open_metrics
from mixline.node.orders import ENGINE, WRITER, BrokerOrders, SeatOrders, WorkerOrders
from mixline.node.plain_asyncio import asyncio
from mixline.node.serve_options import ServeOptions
from mixline.node.supervisor_breaker import Breaker
from mixline.node.supervisor_chair import Chair, pace
from mixline.node.supervisor_child import Child, reap_strangers
from mixline.node.supervisor_compaction import Compactor
from mixline.node.supervisor_exchange import Exchange
from mixline.node.supervisor_fallback import FallBack
from mixline.node.supervisor_nursery import Birth, Firstborn, Nursery, fork_nursery
from mixline.node.supervisor_reload import Reloader
from mixline.node.supervisor_warming import warm_up
from mixline.node.systemd import Notifier
from mixline.storage.live_paths import log_exists

log = logging.getLogger("mixline.supervisor")
EX_UNAVAILABLE = 69


class Supervisor:
    """Starts, watches, restarts, reloads, drains."""

    def __init__(self, options: ServeOptions, loop: asyncio.AbstractEventLoop, nursery: Firstborn) -> None:
        self.options = options
        self.loop = loop
        self.notifier = Notifier()
        self.exchange = Exchange(options.workers + 2)  # more than asked for: the warm standby, and the writer
        self.board = Board(self.exchange.board_fd, self.exchange.broker_bell_fd, writable=False)
        self.chairs = [Chair(number) for number in range(options.workers + 1)]
        self.writer = Chair(options.workers + 1, wanted=options.engine == ENGINE and log_exists(Path(options.store)))
        self.seats = [*self.chairs, self.writer]
        self.breaker = Breaker()
        self.nursery = Nursery(loop, options.engine, options.config, options.store, nursery, self.give_up)
        self.metrics: MetricsDoor | None = None
        self.broker: Child | None = None
        self.control: socket.socket | None = None
        self.their_end: socket.socket | None = None
        self.endpoints = list(options.bind)
        self.life = 0
        self.broker_up = False
        self.broker_failures = 0
        self.generation = 1
        self.announced = False
        self.stopping = False
        self.drained = False
        self.exit_code = 0
        self.changed = asyncio.Event()  # something happened that a coroutine may be waiting for
        self.reloader = Reloader(self)
        self.fallback = FallBack(self)
        self._order = 0
        self._beat_seen, self._beats_missed = 0, 0

    # -- children ------------------------------------------------------------------------------------------------

    def start_broker(self) -> None:
        """Start a broker under a new life number; workers that run already attach to it by themselves."""
        if self.stopping:
            return
        self.life += 1
        self.broker_up = False
        self.nursery.recall()
        for chair in self.seats:
            if chair.child is None:  # this broker will empty the seat, and must have done so before anybody sits there
                chair.clean = chair.expected = False
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.setblocking(False)
        memory = self.exchange
        orders = BrokerOrders(
            parent=os.getpid(),
            life=self.life,
            control_fd=theirs.fileno(),
            board_fd=memory.board_fd,
            slots_fd=memory.slots_fd,
            bell_fd=memory.broker_bell_fd,
            meters_fd=memory.meters_fd,
            workers=self.options.workers,
            bind=self.endpoints,
            seats=[
                SeatOrders(
                    chair.number,
                    chair.child.pid if chair.child else 0,
                    at.seat_fd,
                    at.arena_read_fd,
                    at.bell_fd,
                    at.meters_read_fd,
                    chair is self.writer,
                )
                for chair, at in zip(self.seats, memory.seats, strict=True)
            ],
            tenants=self.options.tenants,
            hedge=self.options.hedge,
            share_scans=self.options.share_scans,
            writable=self.options.engine == ENGINE,
            log=self.options.log,
        )
        fds = [theirs.fileno(), *memory.broker_fds()]
        self.their_end = theirs  # open until the broker has it
        module = "mixline.node.broker"
        self.nursery.ask(Birth(module, orders, fds, self.broker_born, self.broker_missing, self.broker_gone))

    def broker_born(self, child: Child) -> None:
        """It runs, and will say when it is up."""
        assert self.control is not None and self.their_end is not None
        self.broker = child
        self.their_end.close()
        self._beats_missed = 0
        self.loop.add_reader(self.control.fileno(), self.listen, self.control)

    def broker_missing(self) -> None:
        """The nursery could not, or is gone: try again under another life."""
        self.loop.call_later(limits.backoff_first_ms / 1000, self.start_broker)

    def broker_gone(self, child: Child) -> None:
        """Replace a dead broker, at once unless it never came up."""
        if self.control is not None:
            self.loop.remove_reader(self.control.fileno())
            self.control.close()
            self.control = None
        self.broker = None
        self.changed.set()
        if self.stopping:
            self.drained = True
            return
        log.warning("broker %d is gone (%s)", child.pid, child.fate)
        if self.metrics is not None:
            self.metrics.look()  # its successor may begin counts anew
        if not self.broker_up and self.life == 1:
            self.give_up(child.exit_code or EX_UNAVAILABLE)
            return
        self.broker_failures = 0 if self.broker_up else self.broker_failures + 1
        delay_s = min(0.05 * 2**self.broker_failures, 5.0) if self.broker_failures else 0.0
        self.loop.call_later(delay_s, self.start_broker)

    def start_worker(self, chair: Chair) -> None:
        """Have an empty seat filled."""
        if self.stopping or chair.child is not None or not chair.clean or not chair.wanted:
            return
        chair.clean = chair.ready = chair.retired = chair.hung = False
        chair.expected, chair.tried = True, self.fallback.active()
        at, memory = self.exchange.seats[chair.number], self.exchange
        orders = WorkerOrders(
            parent=os.getpid(),
            seat=chair.number,
            seat_fd=at.seat_fd,
            arena_fd=at.arena_fd,
            bell_fd=at.bell_fd,
            meters_fd=at.meters_fd,
            board_fd=memory.board_read_fd,
            slots_fd=memory.slots_read_fd,
            broker_bell_fd=memory.broker_bell_fd,
            store=self.options.store,
            config=self.options.config,
            engine=WRITER if chair is self.writer else self.options.engine,
            generation=self.generation,
            bind=self.endpoints,
            log=self.options.log,
        )
        self.nursery.ask(
            Birth(
                "mixline.node.worker",
                orders,
                memory.worker_fds(chair.number),
                lambda born: self.worker_born(chair, born),
                lambda: self.worker_missing(chair),
                lambda gone: self.worker_gone(chair, gone),
            )
        )

    def worker_born(self, chair: Chair, child: Child) -> None:
        """Somebody sits there; the broker must know before the worker says that it is ready."""
        chair.child, chair.expected = child, False
        pace(self.chairs, self.options.workers)
        self.tell("came", seat=chair.number, pid=child.pid)
        self.loop.call_later(limits.ready_timeout_ms / 1000, self.check_started, chair, child)

    def worker_missing(self, chair: Chair) -> None:
        """The nursery could not, or is gone: ask again."""
        chair.expected, chair.clean = False, True
        chair.failures += 1
        alone = not any(each.ready for each in self.chairs)
        self.loop.call_later(chair.backoff_s(alone), self.start_worker, chair)

    def check_started(self, chair: Chair, child: Child) -> None:
        """A worker that has not said ready by now never will."""
        if chair.child is child and not chair.ready:
            log.error("worker %d in seat %d is not ready after %d ms", child.pid, chair.number, limits.ready_timeout_ms)
            child.send(signal.SIGKILL)

    def worker_gone(self, chair: Chair, child: Child) -> None:
        """Tell the broker, which settles the requests and empties the seat; then the seat is filled again."""
        log.log(
            logging.INFO if chair.retired or self.stopping else logging.WARNING,
            "worker %d in seat %d is gone (%s)%s",
            child.pid,
            chair.number,
            child.fate,
            ", killed because its heart stood still" if chair.hung else "",
        )
        unready = not chair.ready and not chair.retired and chair is not self.writer
        fallen = unready and self.fallback.failed(child, chair.tried)
        chair.vacate(child)
        pace(self.chairs, self.options.workers)
        if chair.crashed and self.breaker.crashed(self.loop.time()):
            text = "crash loop: more than %d workers crashed within %d s; one seat is refilled at once, others slowly"
            log.error(text, limits.crashes_max, limits.crash_window_ms // 1000)
            self.notifier.status(self.status_line())
        if self.metrics is not None:
            self.metrics.look()
        self.tell("gone", seat=chair.number, signal=child.death_signal, hung=chair.hung)
        self.changed.set()
        if (
            not (self.announced or fallen)
            and child.exit_code
            and chair.failures
            and not any(each.ready for each in self.chairs)
        ):
            self.give_up(child.exit_code)

    def refill_delay_s(self, chair: Chair) -> float:
        """How long an empty seat waits for its next worker."""
        if chair.crashed:
            return self.breaker.delay_s(alone=not any(each.staffed for each in self.chairs))
        return chair.backoff_s(alone=not any(each.ready for each in self.chairs))

    def give_up(self, exit_code: int) -> None:
        """The node cannot start: end with the code of the process that knows why."""
        self.exit_code = exit_code
        self.begin_stop()

    # -- the broker's messages -----------------------------------------------------------------------------------

    def tell(self, op: str, **fields: object) -> None:
        """Send the broker a message. A dead one misses nothing: its successor is told the whole state at its start."""
        if self.control is not None:
            try:
                self.control.send(msgspec.msgpack.encode({"op": op, **fields}))
            except OSError as error:
                log.warning("broker not told %s: %s", op, error)

    def listen(self, control: socket.socket) -> None:
        """Read what the broker says."""
        try:
            packet = control.recv(65536)
        except (BlockingIOError, ConnectionResetError):
            return
        if not packet:
            self.loop.remove_reader(control.fileno())
            return
        message = msgspec.msgpack.decode(packet)
        self.changed.set()
        match message:
            case {"op": "up", "endpoints": endpoints}:
                self.endpoints = endpoints
                self.broker_up = True
                self.announce()
            case {"op": "writes"}:  # the first since the store was built
                self.writer.wanted = True
                self.start_worker(self.writer)
            case {"op": "drained"}:
                self.drained = True
            case {"op": op, "seat": seat}:
                self.listen_about(op, self.seats[seat], message)
            case unknown:
                raise ValueError(f"control message {unknown}: unknown, so the broker is of another version")

    def listen_about(self, op: str, chair: Chair, message: dict) -> None:
        """One message about one seat."""
        if op == "clean":
            if chair.child is None and not chair.expected:
                chair.clean = True
                delay_s = self.refill_delay_s(chair)
                if delay_s:
                    self.loop.call_later(delay_s, self.start_worker, chair)
                else:
                    self.start_worker(chair)
        elif op == "ready":
            if chair.child is not None and chair.child.pid == message["pid"]:
                chair.ready, chair.failures, chair.epoch = True, 0, message["epoch"]
                if chair is not self.writer:
                    self.fallback.serves(message["epoch"])
                pace(self.chairs, self.options.workers)
                self._order += 1
                chair.order = self._order
                self.announce()
        elif op == "retired":
            chair.retired = True
        elif op == "hung" and chair.child is not None and chair.child.pid == message["pid"]:
            chair.hung = True
            chair.child.send(signal.SIGKILL)

    def announce(self) -> None:
        """Say once that the node serves: the broker is bound and the workers asked for are ready."""
        if self.announced or not self.broker_up or self.stopping:
            return
        ready = [chair for chair in self.chairs if chair.ready]
        if len(ready) < self.options.workers:
            return
        self.announced = True
        forget_code()
        self.notifier.ready(self.status_line())
        if self.options.json:
            line = {
                "ready": True,
                "pid": os.getpid(),
                "endpoints": self.endpoints,
                "broker": self.broker.pid if self.broker else 0,
                "workers": [chair.child.pid for chair in ready if chair.child],
                "metrics": self.metrics.url if self.metrics else "",
            }
            print(msgspec.json.encode(line).decode(), flush=True)
        else:
            print(f"mixline: {self.status_line()}", flush=True)

    def status_line(self) -> str:
        """For people and for systemctl status."""
        line = f"serving {self.options.store} on {', '.join(self.endpoints)} with {self.options.workers} workers"
        if self.breaker.openings:
            line += f"; crash loops {self.breaker.openings}{', the last not over' if self.breaker.open else ''}"
        return line

    # -- time ----------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Once a second: a broker that stands still is killed; systemd hears of one that lives."""
        beat = self.board.last_beat_ns
        self._beats_missed = 0 if beat != self._beat_seen else self._beats_missed + 1
        self._beat_seen = beat
        if self.broker is not None and self._beats_missed * 1000 >= limits.broker_hang_ms:
            log.error("broker %d stands still: killing it", self.broker.pid)
            self.broker.send(signal.SIGKILL)
            self._beats_missed = 0
        if self.breaker.calmed(self.loop.time()):
            log.warning("crash loop over: no worker crashed for %d s", limits.breaker_calm_ms // 1000)
            self.notifier.status(self.status_line())
        if not self.nursery.busy:  # whoever is being born is a stranger until the nursery has told
            reap_strangers()
        self.loop.call_later(1.0, self.watch)

    def keep_alive(self, period_s: float) -> None:
        """Feed systemd's watchdog while the broker's heart beats."""
        if self._beats_missed < 2 or self.stopping:
            self.notifier.alive()
        self.loop.call_later(period_s, self.keep_alive, period_s)

    async def wait_for(self, met: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``met()``, looking again whenever something happened."""
        end = self.loop.time() + timeout_s
        while not met():
            self.changed.clear()
            remaining = end - self.loop.time()
            if remaining <= 0:
                return False
            try:
                await asyncio.wait_for(self.changed.wait(), remaining)
            except TimeoutError:
                return met()
        return True

    # -- start and stop ------------------------------------------------------------------------------------------------

    def told_to_stop(self, number: int) -> None:
        """SIGTERM or Ctrl-C."""
        log.info("signal %d: draining", number)
        self.begin_stop()

    def begin_stop(self) -> None:
        """Drain, once."""
        if not self.stopping:
            self.stopping = True
            self.notifier.stopping()
            self.changed.set()

    async def run(self) -> int:
        """Until told to stop; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self.told_to_stop, number)
        self.loop.add_signal_handler(signal.SIGHUP, self.reloader.wanted.set)
        adopt_orphans()
        self.nursery.start()
        await warm_up(self)
        self.start_broker()
        self.watch()
        if self.notifier.watchdog_s:
            self.keep_alive(self.notifier.watchdog_s)
        told = self.options.compaction
        jobs = [self.reloader.run(), *([Compactor(self, told).run()] if told is not None else [])]
        going = [asyncio.create_task(job) for job in jobs]
        while not self.stopping:
            await self.wait_for(lambda: self.stopping or any(task.done() for task in going), 3600)
            for task in going:
                if task.done() and not self.stopping:
                    task.result()  # it only ends by failing, and the failure is ours
        for task in going:
            task.cancel()
        await self.stop()
        return self.exit_code

    async def stop(self) -> None:
        """Drain the broker, then end everybody; nothing survives this."""
        if self.broker is not None:
            self.tell("drain")
            if not await self.wait_for(lambda: self.broker is None, limits.drain_ms / 1000):
                log.error("not drained after %d ms: requests are lost", limits.drain_ms)
        self.nursery.close()
        everybody = [self.broker, self.nursery.child, *(chair.child for chair in self.seats)]
        children = [child for child in everybody if child]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for child in children:
                child.send(number)
            if await self.wait_for(lambda: all(child.gone for child in children), limits.leave_ms / 1000):
                return


def serve(options: ServeOptions, nursery: Firstborn) -> int:
    """Run a node until it is told to stop; returns the exit code."""
    set_name("mixline")
    with asyncio.Runner() as runner:  # a few events a second: uvloop would save no time and take 3 MB

        async def start() -> int:
            supervisor = Supervisor(options, asyncio.get_running_loop(), nursery)
            if not options.metrics:
                return await supervisor.run()
            with open_metrics(options.metrics, supervisor.exchange.reader(), supervisor.breaker) as supervisor.metrics:
                return await supervisor.run()

        return runner.run(start())


def main() -> None:
    """Entry of ``python -m mixline.node.supervisor OPTIONS``; ``mixline serve`` execs into it."""
    options = msgspec.json.decode(sys.argv[1], type=ServeOptions)
    nursery = fork_nursery(options.engine, options.config, options.store)
    start_logging(options.log)
    if options.parent:
        die_with_parent(options.parent)
    try:
        code = serve(options, nursery)
    except MetricsError as error:
        log.error("%s", error)
        code = error.exit_code
    sys.exit(code)


if __name__ == "__main__":
    main()
