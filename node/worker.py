"""A worker: one process in one seat, which opens the store and answers requests with the engine.

Messages are the loop's (:mod:`mixline.node.worker_loop`); this page turns a slot into an answer, a failure into a typed
one, and keeps the slow ones in the log.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from mixline.ipc import seats
from mixline.ipc.board import Board
from mixline.ipc.calls import die_with_parent, forget_code, set_name
from mixline.ipc.errors import WireError
from mixline.ipc.meters import Meters
from mixline.ipc.segments import map_segment
from mixline.ipc.wire import HEADER_BYTES, RequestHeader, Status
from mixline.node import limits
from mixline.node.logs import start_logging
from mixline.node.orders import ENGINE, WRITER, WorkerOrders
from mixline.node.own_writes import Applies, client_of, reachable
from mixline.node.slow_log import SlowLog
from mixline.node.worker_loop import WorkerLoop

log = logging.getLogger("mixline.worker")

Message = bytes | memoryview
Waiting = tuple[bytes, int, int, Callable[[], bool]]  # message, microseconds in the queue, deadline, pulse
Turn = Callable[[int | None], None]
Outcome = tuple[Status, bytes] | Exception


class AnswersRequests(Protocol):
    """The seam to the engine; tests put engines here that crash or sleep."""

    def answer(
        self, header: RequestHeader, body: Message, deadline_ns: int, pulse: Callable[[], bool]
    ) -> tuple[Status, bytes]:
        """Answer one request. ``pulse()`` beats the heart and is True when nobody waits any more.

        An engine may have ``answer_many`` too, as :class:`~mixline.node.engine.Engine` has.
        """


class Worker:
    """One seat's process."""

    def __init__(self, orders: WorkerOrders) -> None:
        self.orders = orders
        self.seat = seats.WorkerSide(
            orders.seat, limits.seat_layout, orders.seat_fd, orders.bell_fd, orders.arena_fd, limits.arena_bytes
        )
        self.counters = self.seat.counters
        self.wake_fd, self.signal_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        board = self.board = Board(orders.board_fd, orders.broker_bell_fd, writable=False)
        slots = memoryview(map_segment(orders.slots_fd, limits.slot_bytes, writable=False))
        self.loop = WorkerLoop(self.seat, board, slots, self.wake_fd, self.answer, self.answer_many)
        self.engine: AnswersRequests | None = None
        self.slow_log = SlowLog(orders.seat)

    def open_engine(self) -> None:
        """Open the store and the surfaces; READY tells the broker that this seat can serve."""
        words = self.seat.words
        words.store(seats.STATE, seats.STARTING)
        words.store(seats.BEAT, time.monotonic_ns())
        self.engine = make_engine(self.orders)
        if hasattr(self.engine, "meter"):
            memory = map_segment(self.orders.meters_fd, limits.worker_meters_bytes, writable=True)
            self.engine.meter(Meters(memory, limits.worker_meter_rows))
        if hasattr(self.engine, "open_outlets"):
            self.engine.open_outlets(f"w{self.orders.seat:03d}", self.orders.generation, self.open_door)
        if hasattr(self.engine, "follow_quality"):
            self.engine.follow_quality(lambda: self.board.quality)
        if hasattr(self.engine, "count_in"):
            self.engine.count_in(self.counters)
        if hasattr(self.engine, "await_live"):
            self.engine.await_live(
                limits.ready_timeout_ms / 1000
            )  # what was acknowledged is seen from the first request
        words.store(seats.EPOCH, getattr(self.engine, "epoch_number", 0))
        words.store(seats.CONFIG, getattr(self.engine, "config_generation", self.orders.generation))
        gc.collect()
        gc.freeze()  # what lives as long as the process is not looked at again
        gc.set_threshold(limits.collect_objects_min)
        words.store(seats.STATE, seats.READY)
        self.loop.attach()

    def open_door(self) -> Applies:
        """A client of this node's own door, for what is written while it answers."""
        return client_of(reachable(self.orders.bind, self.board))

    def run(self) -> None:
        """Serve until told to leave."""
        signal.set_wakeup_fd(self.signal_fd, warn_on_full_buffer=False)
        self.loop.run(self.engine)
        if self.engine is not None and hasattr(self.engine, "close_outlets"):
            self.engine.close_outlets()
        self.seat.words.store(seats.STATE, seats.LEAVING)

    def answer(self, slot: Message, queued_us: int, deadline_ns: int) -> tuple[int, bytes]:
        """The status code and body for the request in ``slot``; every failure becomes a typed answer."""
        assert self.engine is not None
        started_ns = time.monotonic_ns()
        header: RequestHeader | None = None
        outcome: Outcome
        try:
            header = RequestHeader.unpack(slot[:HEADER_BYTES])
            outcome = self.engine.answer(header, slot[HEADER_BYTES:], deadline_ns, self.loop.pulse)
        except Exception as error:  # noqa: BLE001  # a typed answer is made of it
            outcome = error
        return self.settle(header, outcome, queued_us, started_ns)

    def answer_many(self, asks: list[Waiting], turn: Turn) -> Iterator[tuple[int, int, bytes]]:
        """Place, status code and body of each of several requests, as they are ready."""
        assert self.engine is not None
        started_ns = time.monotonic_ns()
        together = getattr(self.engine, "answer_many", None)
        if together is None:  # an engine that takes one after the other
            for at, (message, queued_us, deadline_ns, _) in enumerate(asks):
                turn(at)
                yield at, *self.answer(message, queued_us, deadline_ns)
            return
        places: list[int] = []
        parsed: list[tuple[RequestHeader, bytes, int, Callable[[], bool]]] = []
        for at, (message, queued_us, deadline_ns, pulse) in enumerate(asks):
            try:
                header = RequestHeader.unpack(message[:HEADER_BYTES])
            except WireError as error:
                yield at, *self.settle(None, error, queued_us, started_ns)
                continue
            places.append(at)
            parsed.append((header, message[HEADER_BYTES:], deadline_ns, pulse))
        for place, outcome in together(parsed, lambda place: turn(None if place is None else places[place])):
            at = places[place]
            yield at, *self.settle(parsed[place][0], outcome, asks[at][1], started_ns)

    def settle(
        self, header: RequestHeader | None, outcome: Outcome, queued_us: int, started_ns: int
    ) -> tuple[int, bytes]:
        """Status code and body of what came of a request, counted and perhaps logged."""
        if header is None:
            return Status.BAD_REQUEST.code, error_body(str(outcome))
        if isinstance(outcome, Exception):
            failed = getattr(outcome, "status", None)
            self.counters.add("errors")
            self.count(header.surface, "failed")
            if isinstance(failed, Status):
                return failed.code, error_body(str(outcome))
            log.error("request for %r failed", header.surface, exc_info=outcome)
            return Status.INTERNAL.code, error_body(f"{type(outcome).__name__}: {outcome}")
        status, body = outcome
        if self.slow_log.look(self.engine, header, status, queued_us, (time.monotonic_ns() - started_ns) // 1000):
            self.count(header.surface, "slow")
        return status.code, body

    def count(self, surface: str, outcome: str) -> None:
        """Count what the engine itself does not see."""
        meters = getattr(self.engine, "meters", None)
        if meters is not None:
            meters.count(surface, outcome)

    def leave(self, _signal: int, _frame: object) -> None:
        """SIGTERM: finish what is in hand, then go."""
        self.loop.leaving = True


def error_body(text: str) -> bytes:
    """The body of every reply that is no answer."""
    return msgspec.msgpack.encode({"error": text})


def make_engine(orders: WorkerOrders) -> AnswersRequests:
    """Import and open the engine named in the orders; imported here because a broker or client never needs it."""
    module, _, attribute = orders.engine.partition(":")
    engine = getattr(importlib.import_module(module), attribute)
    if orders.engine != ENGINE:
        return engine(orders.store)
    from mixline.node.config import node_config  # the default engine alone reads NODE.toml

    return engine.open(orders.store, node_config(orders.config))


def main() -> None:
    """Entry of ``python -m mixline.node.worker ORDERS``."""
    orders = msgspec.json.decode(sys.argv[1], type=WorkerOrders)
    start_logging(orders.log)
    faulthandler.enable()
    die_with_parent(orders.parent)
    set_name("mixline-writer" if orders.engine == WRITER else f"mixline-work-{orders.seat}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    worker = Worker(orders)
    signal.signal(signal.SIGTERM, worker.leave)
    try:
        worker.open_engine()
    except Exception as error:
        log.error("seat %d cannot open %s: %s", orders.seat, orders.store, error)
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        sys.exit(code)
    forget_code()  # of the start
    worker.run()


if __name__ == "__main__":
    main()
