"""The broker process: it owns the door and a message loop, and decides what the loop does not: who works, who must go.

The loop (:mod:`mixline.node.broker_loop` and the rules below it) runs without the GIL from one tick to the next. This
page reads the supervisor's orders, buries dead workers, condemns hung ones, and answers INFO.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time

import msgspec
import zmq

from mixline.ipc import libzmq, seats
from mixline.ipc.board import Board
from mixline.ipc.calls import die_with_parent, forget_code, set_name, trim_memory
from mixline.ipc.meters import Meters
from mixline.ipc.segments import map_segment
from mixline.ipc.words import fence
from mixline.node import limits
from mixline.node.broker_crew import Crew, Member
from mixline.node.broker_doors import DoorError, first_port, open_router
from mixline.node.broker_loop import REASONS, Loop
from mixline.node.broker_places import Places
from mixline.node.broker_quality import Quality
from mixline.node.directory import broker_directory, read_directory, surfaces_of
from mixline.node.logs import start_logging
from mixline.node.orders import BrokerOrders

log = logging.getLogger("mixline.broker")
CONTROL, QUESTION, BROKEN = REASONS["control"], REASONS["question"], REASONS["broken"]


class Broker:
    """One life of a broker."""

    def __init__(self, orders: BrokerOrders) -> None:
        self.orders = orders
        self.life = orders.life
        self.board = Board(orders.board_fd, orders.bell_fd, writable=True)
        self.counters = self.board.counters
        self.control = socket.socket(fileno=orders.control_fd)
        self.control.setblocking(False)
        self.crew = Crew(orders.seats, orders.workers, self.life)
        memory = map_segment(orders.meters_fd, limits.broker_meters_bytes, writable=True)
        self.meters = Meters(memory, limits.broker_meter_rows)
        self.context = zmq.Context()
        self.router, self.endpoints = open_router(self.context, orders.bind)
        self.loop = self.make_loop()
        self.crew.give_places(self.loop.places)
        self.loop.ever_ready = self.crew.was_ready
        for row in read_directory(self.meters.directory).rows[
            4::2
        ]:  # as the life before numbered them, so counts go on
            self.loop.surfaces.announce(row.surface, row.deadline_ms, row.shares)
        self.meters.publish(broker_directory(self.loop.surfaces.names))
        self.quality = Quality(self.board, self.meters)
        self.finished = False
        self.tick_at_ns = 0
        self.requests_seen = self.trimmed_at = 0

    def make_loop(self) -> Loop:
        """The loop in C, or the plain one where libzmq's C interface cannot be had."""
        why = libzmq.available()
        self.transport = "plain pyzmq" if why else "libzmq"
        if why:
            log.warning("messages pass through plain pyzmq: %s", why)
            from mixline.node.broker_plain import PlainLoop as Chosen
        else:
            from mixline.node.broker_native import NativeLoop as Chosen  # type: ignore[assignment]
        self.slot_memory = memoryview(map_segment(self.orders.slots_fd, limits.slot_bytes, writable=True))
        loop = Chosen(
            self.board,
            self.slot_memory,
            Places(member.seat for member in self.crew.members.values()),
            self.meters,
            self.life,
            self.orders.tenants,
            control_fd=self.orders.control_fd,
            router=self.router,
        )
        loop.hedging = self.orders.hedge
        loop.sharing = self.orders.share_scans
        loop.writable = self.orders.writable
        return loop

    def take_over(self) -> None:
        """Begin this life: claim the slots that workers of the life before may still read, then say so.

        Whatever the life before had lent died with it, so those bits fall before a worker can see the new life.
        """
        self.board.beat(time.monotonic_ns())
        for member in self.crew.members.values():
            for word in range(seats.LENT_WORDS):
                member.seat.lent.store(word, 0)
        self.board.name_port(first_port(self.endpoints))
        self.board.begin_life(self.life)
        fence()
        for member in self.crew.members.values():
            if not member.pid:
                self.empty(member)
                continue
            executing = member.seat.words.load(seats.EXECUTING)
            if executing and self.loop.reserve(executing >> 40):
                member.ghost_slot = executing >> 40
            self.loop.places.toll(member.number)
        self.tell("up", endpoints=self.endpoints)

    def run(self) -> None:
        """Serve until drained."""
        self.take_over()
        while not self.finished:
            why = self.loop.run(self.tick_at_ns)
            if why & CONTROL:
                self.obey()
            if why & QUESTION:
                self.loop.answer_questions(msgspec.msgpack.encode(self.describe()))
            if why & BROKEN:
                self.condemn_broken()
            self.notice_ready()
            if time.monotonic_ns() >= self.tick_at_ns:
                self.tick(time.monotonic_ns())
        self.router.close(linger=1000)
        self.context.term()

    def tick(self, now_ns: int) -> None:
        """Ten times a second: beat, look for hung workers, see whether a drain is complete, show the gauges."""
        self.tick_at_ns = now_ns + limits.tick_ms * 1_000_000
        self.board.beat(now_ns)
        for member in self.crew.members.values():
            if member.ready and not member.hung and member.missed_its_beats(self.loop.overdue(member.number)):
                self.condemn(member)
            if member.retiring and not member.hung and not self.loop.places.held(member.number):
                self.tell("retired", seat=member.number)
        self.quality.tick(self.crew.members.values(), len(self.loop.surfaces.names))
        self.counters.put("queued", self.loop.queue.count)
        self.counters.put("queued_bytes", self.loop.queue.total_bytes)
        self.counters.put("open", self.loop.waiting)
        self.counters.put("active", len(self.crew.active))
        self.counters.put("epoch", self.crew.epoch)
        self.trim()
        if self.loop.writes_wait():
            self.tell("writes")
        if self.loop.draining and not self.loop.waiting:
            self.tell("drained")
            self.finished = True

    def trim(self) -> None:
        """Give freed memory back to the system once it is calm after work; a burst's worth is kept by malloc else."""
        requests = self.counters.get("requests")
        if self.loop.waiting or requests - self.trimmed_at < limits.trim_requests_min:
            return
        if requests == self.requests_seen:  # a whole tick without a request
            self.trimmed_at = requests
            trim_memory()
            forget_code()
            self.loop.slots.give_back(self.slot_memory)
        self.requests_seen = requests

    # -- workers -------------------------------------------------------------------------------------------------

    def notice_ready(self) -> None:
        """Let workers that have attached to this life into the crew, and learn what surfaces they serve."""
        for member in self.crew.notice_ready():
            self.release_ghost(member)
            self.loop.ever_ready = self.loop.ever_ready or not member.writes
            self.tell("ready", seat=member.number, pid=member.pid, epoch=member.seat.words.load(seats.EPOCH))
            self.learn_surfaces(member)

    def learn_surfaces(self, member: Member) -> None:
        """Deadlines of the worker's surfaces apply at the door from now on; new names get meters."""
        known = self.loop.surfaces.names
        for row in surfaces_of(member.meters.directory):
            self.loop.surfaces.announce(row.surface, row.deadline_ms, row.shares)
        names = self.loop.surfaces.names
        if names != known:
            self.meters.publish(broker_directory(names), keep=True)  # names are only ever appended

    def release_ghost(self, member: Member) -> None:
        """The worker has left the life before (or is dead), so the slot that it was reading is free."""
        if member.ghost_slot >= 0:
            self.loop.unreserve(member.ghost_slot)
            member.ghost_slot = -1

    def condemn_broken(self) -> None:
        """Workers that wrote what they may not."""
        for member in self.crew.members.values():
            if self.loop.places.is_broken(member.number) and member.pid and not member.hung:
                log.error("seat %d, pid %d: its shared memory holds what it may not", member.number, member.pid)
                self.condemn(member)

    def condemn(self, member: Member) -> None:
        """Ask for a worker's death: its heart stands still, or it wrote what it may not. It gets nothing more."""
        member.hung, member.retiring = True, True
        self.crew.rank()
        self.tell("hung", seat=member.number, pid=member.pid)

    def bury(self, member: Member, death_signal: int, hung: bool) -> None:
        """A worker is gone: settle what it held, and make the seat as new."""
        if not member.retiring or hung or death_signal:
            self.counters.add("deaths")
            self.counters.add("crashes", death_signal in limits.crash_signals and not hung)
            self.counters.add("hangs", hung)
        self.loop.bury(member.number, hung or death_signal in limits.crash_signals)
        self.release_ghost(member)
        self.empty(member)
        self.crew.rank()

    def empty(self, member: Member) -> None:
        """Nobody sits there: a worker may be started."""
        member.empty()
        self.loop.places.mend(member.number)
        self.tell("clean", seat=member.number)

    # -- the supervisor ------------------------------------------------------------------------------------------

    def obey(self) -> None:
        """Read the supervisor's messages."""
        while True:
            try:
                packet = self.control.recv(65536)
            except BlockingIOError:
                return
            if not packet:
                raise SystemExit("the supervisor closed the control channel")
            order = msgspec.msgpack.decode(packet)
            member = self.crew.members.get(order.get("seat", -1))
            match order["op"], member:
                case "gone", Member():
                    self.bury(member, order["signal"], order["hung"])
                case "came", Member():
                    member.pid = order["pid"]
                case "retire", Member():
                    member.retiring = True
                    self.crew.rank()
                case "drain", None:
                    self.loop.draining = True
                case unknown:
                    raise ValueError(f"control message {unknown}: unknown, so the supervisor is of another version")

    def tell(self, op: str, **fields: object) -> None:
        """Send the supervisor a message; the channel holds far more than there are seats."""
        self.control.send(msgspec.msgpack.encode({"op": op, **fields}))

    def describe(self) -> dict[str, object]:
        """The answer to INFO."""
        members = [each.describe(each in self.crew.active) for each in self.crew.members.values() if not each.writes]
        writer = next((each.describe(each.ready) for each in self.crew.members.values() if each.writes), None)
        pid = self.orders.parent
        return {
            "version": 1,
            "pid": os.getpid(),
            "supervisor_pid": pid,
            "life": self.life,
            "epoch": self.crew.epoch,
            "endpoints": self.endpoints,
            "transport": self.transport,
            "draining": self.loop.draining,
            "workers": members,
            "writer": writer,  # its seat is vacant until there is something to write
            "queue": {
                "requests": self.loop.queue.count,
                "bytes": self.loop.queue.total_bytes,
                "waiting": self.loop.waiting,
            },
            "slots_taken": self.loop.slots.taken,
            "lent": self.loop.lend_count,
            "counters": self.counters.as_dict(),
            "meters": {
                "board": f"/proc/{pid}/fd/{self.orders.board_fd}",
                "broker": f"/proc/{pid}/fd/{self.orders.meters_fd}",
                "seats": [
                    [f"/proc/{pid}/fd/{fd}" for fd in (seat.seat_fd, seat.meters_fd)]
                    for seat in self.orders.seats
                    if not seat.writes
                ],
                "writer": next((f"/proc/{pid}/fd/{seat.seat_fd}" for seat in self.orders.seats if seat.writes), None),
            },
        }


def main() -> None:
    """Entry of ``python -m mixline.node.broker ORDERS``."""
    orders = msgspec.json.decode(sys.argv[1], type=BrokerOrders)
    start_logging(orders.log)
    die_with_parent(orders.parent)
    set_name("mixline-broker")
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):  # the supervisor drains the broker by message
        signal.signal(ignored, signal.SIG_IGN)
    try:
        broker = Broker(orders)
    except DoorError as error:
        log.error("%s", error)
        sys.exit(error.exit_code)
    broker.run()


if __name__ == "__main__":
    main()
