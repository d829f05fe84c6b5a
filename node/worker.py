"""A worker: one process in one seat, which takes requests off its ring and answers them with the engine.

It trusts nothing but the broker's life number on the board: work of another life is skipped without reading its slot,
and on a new life every arena block is free again, since whoever held it is dead. ECHO is answered here, before any
pipeline, so it measures the way and not the work.
"""

from __future__ import annotations

import faulthandler
import importlib
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from mixline.ipc import seats
from mixline.ipc.blocks import Blocks
from mixline.ipc.board import Board
from mixline.ipc.calls import die_with_parent, set_name
from mixline.ipc.errors import WireError
from mixline.ipc.rings import Descriptor
from mixline.ipc.segments import map_segment
from mixline.ipc.wire import HEADER_BYTES, Kind, RequestHeader, Status
from mixline.ipc.words import fence
from mixline.node import limits

log = logging.getLogger("mixline.worker")
ENGINE = "mixline.node.engine:Engine"
NEVER_NS = 1 << 63


class WorkerOrders(msgspec.Struct, frozen=True):
    """What the supervisor tells a worker, as JSON on the command line. Descriptors come under these numbers."""

    parent: int
    seat: int
    seat_fd: int
    arena_fd: int
    bell_fd: int
    board_fd: int
    slots_fd: int
    broker_bell_fd: int
    store: str
    config: str | None = None
    engine: str = ENGINE
    generation: int = 0


class AnswersRequests(Protocol):
    """The seam to the engine; tests put engines here that crash or sleep."""

    def answer(
        self, header: RequestHeader, body: memoryview, deadline_ns: int, pulse: Callable[[], bool]
    ) -> tuple[Status, bytes]:
        """Answer one request. ``pulse()`` beats the heart and is True when nobody waits any more."""


class Worker:
    """The message loop of one seat."""

    def __init__(self, orders: WorkerOrders) -> None:
        self.orders = orders
        self.board = Board(orders.board_fd, orders.broker_bell_fd, writable=False)
        self.slots = memoryview(map_segment(orders.slots_fd, limits.slot_bytes, writable=False))
        self.seat = seats.WorkerSide(
            orders.seat, limits.seat_layout, orders.seat_fd, orders.bell_fd, orders.arena_fd, limits.arena_bytes
        )
        self.blocks = Blocks(limits.arena_plan)
        self.engine: AnswersRequests | None = None
        self.life = 0
        self.running = 0  # the executing word of the request in hand
        self.leaving = False
        self.work, self.done, self.released = Descriptor(), Descriptor(), Descriptor()
        self.words, self.counters = self.seat.words, self.seat.counters
        self.beat_at_ns = 0
        self.poller = select.poll()
        self.poller.register(orders.bell_fd, select.POLLIN)

    def open_engine(self) -> None:
        """Open the store and the surfaces; READY tells the broker that this seat can serve."""
        self.words.store(seats.STATE, seats.STARTING)
        self.beat()
        self.engine = make_engine(self.orders)
        self.words.store(seats.EPOCH, getattr(self.engine, "epoch_number", 0))
        self.words.store(seats.CONFIG, getattr(self.engine, "config_generation", self.orders.generation))
        self.words.store(seats.STATE, seats.READY)
        self.board.bell.toll()

    def run(self) -> None:
        """Serve until told to leave; the request in hand is always finished."""
        while not self.leaving:
            if self.board.life != self.life:
                self.attach()
            if self.seat.work.pop(self.work):
                self.serve()
            else:
                self.sleep()
        self.words.store(seats.STATE, seats.LEAVING)
        self.board.bell.toll()

    def attach(self) -> None:
        """Join a new broker life. The old broker is dead, so no block of the arena is in anybody's hands."""
        self.life = self.board.life
        self.blocks.reset()
        self.words.store(seats.ATTACHED, self.life)
        self.board.bell.toll()

    def beat(self) -> None:
        """Tell the broker that this process still runs."""
        self.words.store(seats.BEAT, time.monotonic_ns())

    def pulse(self) -> bool:
        """Called by the engine between slices of work: beat, and say whether to stop."""
        self.beat()
        return self.words.load(seats.CANCEL) == self.running or self.board.life != self.life

    def sleep(self) -> None:
        """Wait for work; wakes a few times a second to beat and to see a new life."""
        self.beat()
        self.seat.bell.lie_down()
        if not len(self.seat.work) and not self.leaving and self.board.life == self.life:
            self.poller.poll(limits.beat_idle_ms)
        self.seat.bell.rise()

    def serve(self) -> None:
        """Answer the request in ``self.work``."""
        work = self.work
        if work.life != self.life:
            self.counters.add("stale")
            return
        started_ns = time.monotonic_ns()
        self.running = seats.executing_word(work.slot, work.generation, work.attempt)
        self.words.store(seats.EXECUTING, self.running)
        fence()
        # A broker that took over has read the executing word or will be seen here: it never reuses a slot in use.
        if self.board.life != self.life:
            self.words.store(seats.EXECUTING, 0)
            return
        self.words.store(seats.BEAT, started_ns)
        status, body = self.answer(self.slots[work.offset : work.offset + work.length])
        self.publish(status, body, started_ns)
        self.words.store(seats.EXECUTING, 0)
        self.counters.add("busy_ns", time.monotonic_ns() - started_ns)

    def answer(self, slot: memoryview) -> tuple[Status, bytes | memoryview]:
        """The status and body for the request in ``slot``; every failure of the engine becomes a typed answer."""
        body = slot[HEADER_BYTES:]
        if self.work.kind == Kind.ECHO:
            self.counters.add("echoes")
            return Status.OK, body
        self.counters.add("asks")
        assert self.engine is not None
        try:
            header = RequestHeader.unpack(slot[:HEADER_BYTES])
            return self.engine.answer(header, body, self.work.deadline_ns, self.pulse)
        except WireError as error:
            return Status.BAD_REQUEST, error_body(str(error))
        except Exception as error:
            self.counters.add("errors")
            status = getattr(error, "status", None)
            if isinstance(status, Status):
                return status, error_body(str(error))
            log.exception("request for %r failed", bytes(slot[48:80]).rstrip(b"\0"))
            return Status.INTERNAL, error_body(f"{type(error).__name__}: {error}")

    def publish(self, status: Status, body: bytes | memoryview, started_ns: int) -> None:
        """Put the reply into the arena and its descriptor onto the ring."""
        if len(body) > limits.reply_bytes_max:
            self.counters.add("too_large")
            text = f"the reply has {len(body)} bytes, at most {limits.reply_bytes_max} fit: ask for less"
            status, body = Status.TOO_LARGE, error_body(text)
        block = self.take_block(len(body), self.work.deadline_ns)
        if block < 0 and self.board.life == self.life:
            # Only a broker that stands still keeps so many replies; the small classes may still have room for a word.
            status, body = Status.OVERLOADED, error_body("the reply found no room in the arena by its deadline")
            block = self.take_block(len(body), NEVER_NS)
        if block < 0:
            return  # the life ended while waiting; nobody expects this reply any more
        work, done = self.work, self.done
        done.slot, done.generation, done.attempt = work.slot, work.generation, work.attempt
        done.life, done.kind, done.status = self.life, work.kind, status.code
        done.offset, done.length = self.blocks.offset(block), len(body)
        self.seat.arena[done.offset : done.offset + done.length] = body
        done.server_us = min((time.monotonic_ns() - started_ns) // 1000, 0xFFFFFFFF)
        engine: Any = self.engine
        done.epoch = getattr(engine, "epoch_number", 0)
        done.live_seq = getattr(engine, "live_seq", 0)
        done.config_generation = getattr(engine, "config_generation", self.orders.generation)
        while not self.seat.done.push(done):
            if self.pulse_wait():
                return
        self.board.bell.toll()

    def take_block(self, length: int, deadline_ns: int) -> int:
        """A block for the reply, waiting for one until ``deadline_ns`` or the end of its life: -1."""
        self.take_back()
        block = self.blocks.take(length)
        while block < 0:
            self.counters.add("arena_waits")
            if self.pulse_wait() or time.monotonic_ns() > deadline_ns:
                return -1
            self.take_back()
            block = self.blocks.take(length)
        return block

    def take_back(self) -> None:
        """Free the blocks that the broker returned; returns of another life were settled by :meth:`attach`."""
        while self.seat.released.pop(self.released):
            if self.released.life == self.life:
                self.blocks.give(self.blocks.block_at(self.released.offset))

    def pulse_wait(self) -> bool:
        """Beat, sleep a moment; True when the life of the broker that waits for us has ended."""
        self.beat()
        self.board.bell.toll()
        time.sleep(0.0005)
        return self.board.life != self.life

    def leave(self, _signal: int, _frame: object) -> None:
        """SIGTERM: finish what is in hand, then go."""
        self.leaving = True
        os.eventfd_write(self.orders.bell_fd, 1)


def error_body(text: str) -> bytes:
    """The body of every reply that is no answer."""
    return msgspec.msgpack.encode({"error": text})


def make_engine(orders: WorkerOrders) -> AnswersRequests:
    """Import and open the engine named in the orders; imported here because a broker or client never needs it."""
    module, _, attribute = orders.engine.partition(":")
    engine = getattr(importlib.import_module(module), attribute)
    if orders.engine != ENGINE:
        return engine(orders.store)
    from mixline.node.config import load_node_config  # the default engine alone reads NODE.toml

    return engine.open(orders.store, load_node_config(orders.config))


def main() -> None:
    """Entry of ``python -m mixline.node.worker ORDERS``."""
    logging.basicConfig(level=logging.INFO, format="%(name)s[%(process)d] %(levelname)s %(message)s")
    faulthandler.enable()
    orders = msgspec.json.decode(sys.argv[1], type=WorkerOrders)
    die_with_parent(orders.parent)
    set_name(f"mixline-work-{orders.seat}")
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
    worker.run()


if __name__ == "__main__":
    main()
