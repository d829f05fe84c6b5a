"""The broker: one ROUTER in front, workers behind, and a ledger in between that sees to exactly one reply per request.

It reads nothing but the fixed header, copies each request into shared memory once, and gives it to an idle worker. This
loop is plain pyzmq, one thread and blocking polls: the readable form of the message path, and the fallback that stays.
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

from mixline.ipc import seats
from mixline.ipc.blocks import Blocks
from mixline.ipc.board import Board
from mixline.ipc.calls import die_with_parent, set_name
from mixline.ipc.errors import Corrupt, WireError
from mixline.ipc.rings import Descriptor
from mixline.ipc.segments import map_segment
from mixline.ipc.wire import HEADER_BYTES, MAGIC, STATUS_COUNT, Kind, ReplyHeader, RequestHeader, Status
from mixline.ipc.words import fence
from mixline.node import limits
from mixline.node.broker_crew import Crew, Member, SeatOrders
from mixline.node.broker_deaths import verdict
from mixline.node.broker_doors import DoorError, open_router
from mixline.node.broker_ledger import QUEUED, Ledger, Request

log = logging.getLogger("mixline.broker")
ENGINE_FREE = (Kind.ASK, Kind.ECHO)


class BrokerOrders(msgspec.Struct, frozen=True):
    """What the supervisor tells a broker, as JSON on its command line."""

    parent: int
    life: int
    control_fd: int
    board_fd: int
    slots_fd: int
    bell_fd: int
    workers: int
    bind: list[str]
    seats: list[SeatOrders]


class Broker:
    """The message loop."""

    def __init__(self, orders: BrokerOrders) -> None:
        self.orders = orders
        self.life = orders.life
        self.board = Board(orders.board_fd, orders.bell_fd, writable=True)
        self.counters = self.board.counters
        self.slots = memoryview(map_segment(orders.slots_fd, limits.slot_bytes, writable=True))
        self.control = socket.socket(fileno=orders.control_fd)
        self.control.setblocking(False)
        self.ledger = Ledger()
        self.arena = Blocks(limits.arena_plan)  # for its layout only: checks offsets that workers wrote
        self.crew = Crew(orders.seats, orders.workers, self.board, self.life)
        self.work, self.done, self.released = Descriptor(), Descriptor(), Descriptor()
        self.draining = self.finished = False
        self.service_ns = 1_000_000.0  # moving average of a request's stay in a worker, for retry_after
        self.tick_at_ns = self.glance_at_ns = 0
        self.context = zmq.Context()
        self.router, self.endpoints = open_router(self.context, orders.bind)
        self.poller = zmq.Poller()
        self.poller.register(self.router, zmq.POLLIN)
        self.poller.register(orders.bell_fd, zmq.POLLIN)
        self.poller.register(orders.control_fd, zmq.POLLIN)

    # -- life ----------------------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Begin this life: claim the slots that workers of the life before may still read, then say so."""
        self.board.beat(time.monotonic_ns())
        self.board.begin_life(self.life)
        fence()
        for member in self.crew.members.values():
            if not member.pid:
                member.empty()
                self.tell("clean", seat=member.number)
                continue
            slot = member.seat.words.load(seats.EXECUTING) >> 40
            known = slot < self.ledger.slots.block_count and not self.ledger.slots.is_taken(slot)
            if member.seat.words.load(seats.EXECUTING) and known:
                self.ledger.slots.reserve(slot)
                member.ghost_slot = slot
            member.seat.bell.toll()
        self.tell("up", endpoints=self.endpoints)

    def release_ghost(self, member: Member) -> None:
        """The worker has left the life before (or is dead), so the slot that it was reading is free."""
        if member.ghost_slot >= 0:
            self.ledger.slots.give(member.ghost_slot)
            member.ghost_slot = -1

    def run(self) -> None:
        """Serve until drained."""
        self.take_over()
        while not self.finished:
            busy = self.receive()
            busy += self.collect()
            self.expire(time.monotonic_ns())
            self.dispatch()
            now_ns = time.monotonic_ns()
            if now_ns >= self.tick_at_ns:
                self.tick(now_ns)
            if not busy or now_ns >= self.glance_at_ns:
                self.sleep()
        self.router.close(linger=1000)
        self.context.term()

    def sleep(self) -> None:
        """Wait for a message, a reply or the next deadline, and look at the supervisor's messages.

        Under load there is always a message, so this returns at once; the loop still comes here every few milliseconds.
        """
        self.board.bell.lie_down()
        wake_ns = self.tick_at_ns
        deadline_ns = self.ledger.next_deadline_ns()
        if deadline_ns is not None:
            wake_ns = min(wake_ns, deadline_ns)
        wait_ns = wake_ns - time.monotonic_ns()
        if any(len(member.seat.done) for member in self.crew.members.values()):
            wait_ns = 0
        events = self.poller.poll(max(0, -(-wait_ns // 1_000_000)))
        self.board.bell.rise()
        self.counters.add("wakes")
        if any(what == self.orders.control_fd for what, _ in events):
            self.obey()
        self.notice_ready()
        self.glance_at_ns = time.monotonic_ns() + limits.glance_ms * 1_000_000

    def tick(self, now_ns: int) -> None:
        """Ten times a second: beat, look for new and for hung workers, see whether a drain is complete."""
        self.tick_at_ns = now_ns + limits.tick_ms * 1_000_000
        self.board.beat(now_ns)
        for member in self.crew.members.values():
            if member.ready and not member.hung and member.missed_its_beats():
                self.condemn(member)
            if member.retiring and not member.hung and not member.held:
                self.tell("retired", seat=member.number)
        if self.draining and not self.ledger.waiting:
            self.tell("drained")
            self.finished = True

    def notice_ready(self) -> None:
        """Let workers that have attached to this life into the crew."""
        for member in self.crew.notice_ready():
            self.release_ghost(member)
            self.tell("ready", seat=member.number, pid=member.pid)

    def condemn(self, member: Member) -> None:
        """Ask for a worker's death: its heart stands still, or it wrote what it may not. It gets nothing more."""
        member.hung, member.retiring = True, True
        self.crew.rank()
        self.tell("hung", seat=member.number, pid=member.pid)

    # -- requests ------------------------------------------------------------------------------------------------

    def receive(self) -> int:
        """Take a batch of messages from the socket."""
        for count in range(limits.receive_batch):
            try:
                frames = self.router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return count
            self.counters.add("requests")
            self.consider(frames)
        return limits.receive_batch

    def consider(self, frames: list[bytes]) -> None:
        """Refuse a message or admit it."""
        # REQ sockets put an empty delimiter between the identity and the message; their reply needs it too.
        start = 2 if len(frames) > 1 and not frames[1] else 1
        envelope, message = frames[:start], frames[start:]
        head = message[0] if message else b""
        try:
            header = RequestHeader.unpack(head)
            if len(message) > 2:
                raise WireError(f"{len(message)} frames after the envelope, must be a header and a body")
        except WireError as error:
            self.counters.add("bad_frames")
            request_id = head[8:24] if len(head) >= 24 and head[:4] == MAGIC else bytes(16)
            kind = head[5] & 0x7F if len(head) > 5 and head[:4] == MAGIC else 0
            self.refuse(Request(envelope, kind, request_id, 0, time.monotonic_ns()), Status.BAD_REQUEST, str(error))
            return
        now_ns = time.monotonic_ns()
        request = Request(envelope, header.kind, header.request_id, header.priority, now_ns)
        body = message[1] if len(message) > 1 else b""
        if header.kind == Kind.INFO:
            self.reply(request, Status.OK, msgspec.msgpack.encode(self.describe()))
        elif header.kind not in ENGINE_FREE:
            self.counters.add("bad_frames")
            kinds = ", ".join(f"{kind.value} {kind.name}" for kind in Kind)
            self.refuse(request, Status.BAD_REQUEST, f"kind {header.kind} is none of {kinds}")
        elif len(body) > limits.request_bytes_max:
            self.counters.add("too_large")
            text = f"the body has {len(body)} bytes, at most {limits.request_bytes_max} are taken"
            self.refuse(request, Status.TOO_LARGE, text)
        else:
            budget_us = min(header.budget_us or limits.budget_default_us, limits.budget_max_us)
            request.deadline_ns = now_ns + budget_us * 1000
            self.admit(request, head, body)

    def admit(self, request: Request, head: bytes, body: bytes) -> None:
        """Put the request into a slot and the queue, or say why not."""
        if self.draining:
            self.counters.add("shutting_down")
            self.refuse(request, Status.SHUTTING_DOWN, "the node is shutting down", limits.retry_after_us_max)
        elif not self.crew.ever_ready:
            self.counters.add("not_ready")
            self.refuse(request, Status.NOT_READY, "no worker is ready yet", 100_000)
        elif not self.ledger.admit(request, HEADER_BYTES + len(body)):
            self.counters.add("overloaded")
            text = f"{self.ledger.queued} requests wait already"
            self.refuse(request, Status.OVERLOADED, text, self.retry_after_us())
        else:
            at = self.ledger.slots.offset(request.slot)
            self.slots[at : at + HEADER_BYTES] = head
            self.slots[at + HEADER_BYTES : at + request.length] = body

    def retry_after_us(self) -> int:
        """When the queue as it stands will have been worked off."""
        expected_us = int(self.service_ns * (self.ledger.queued + 1) / max(1, len(self.crew.active)) / 1000)
        return min(max(expected_us, limits.retry_after_us_min), limits.retry_after_us_max)

    def dispatch(self) -> None:
        """Give queued requests to workers while there is one with room."""
        ledger, work = self.ledger, self.work
        while (request := ledger.first()) is not None:
            member = self.crew.seat_for(request)
            if member is None:
                return
            ledger.start(request, member.number)
            work.slot, work.generation, work.life = request.slot, request.generation, self.life
            work.attempt, work.kind, work.length = request.attempt, request.kind, request.length
            work.offset, work.deadline_ns = ledger.slots.offset(request.slot), request.deadline_ns
            try:
                pushed = member.seat.work.push(work)
            except Corrupt as error:
                log.error("seat %d: %s", member.number, error)
                pushed = False
            member.held[request.slot] = request
            if not pushed:
                self.condemn(member)
                continue
            member.seat.bell.toll()
            self.counters.add("dispatched")

    def expire(self, now_ns: int) -> None:
        """TIMEOUT at the deadline, whether the request still waits or a worker is busy with it."""
        while (request := self.ledger.expired(now_ns)) is not None:
            queued = request.state == QUEUED
            self.counters.add("expired_queued" if queued else "timed_out_running")
            where = "in the queue" if queued else "in a worker"
            if not queued:
                word = seats.executing_word(request.slot, request.generation, request.attempt)
                self.crew.members[request.seat].seat.words.store(seats.CANCEL, word)
            self.refuse(request, Status.TIMEOUT, f"the time budget ran out {where}")
            self.ledger.mark_answered(request)

    # -- replies -------------------------------------------------------------------------------------------------

    def collect(self) -> int:
        """Take the replies that workers have published."""
        count = 0
        for member in self.crew.members.values():
            if not len(member.seat.done):
                continue
            try:
                while member.seat.done.pop(self.done):
                    count += 1
                    self.settle(member)
            except Corrupt as error:
                log.error("seat %d, pid %d: %s", member.number, member.pid, error)
                if not member.hung:
                    self.condemn(member)
        return count

    def settle(self, member: Member) -> None:
        """One reply: check every number that the worker wrote, send it, return its memory."""
        done = self.done
        if done.life != self.life:
            self.counters.add("old_life_replies")
            return
        request = self.ledger.find(done.slot, done.generation, done.attempt, member.number)
        block = self.arena.block_at(done.offset)
        if request is None or block < 0 or done.length > self.arena.capacity(block) or done.status >= STATUS_COUNT:
            raise Corrupt(f"reply for slot {done.slot}, generation {done.generation}, attempt {done.attempt}, "
                          f"{done.length} bytes at {done.offset}: not in the ledger")  # fmt: skip
        if request.answered:
            self.counters.add("late_replies")
        else:
            self.service_ns += (done.server_us * 1000 - self.service_ns) * 0.05
            body = member.seat.arena[done.offset : done.offset + done.length]
            made_on = (done.epoch, done.live_seq, done.config_generation)
            self.reply(request, Status.of(done.status), body, made_on=made_on)
            self.ledger.mark_answered(request)
        del member.held[request.slot]
        self.ledger.forget(request)
        self.released.life, self.released.offset = self.life, done.offset
        if not member.seat.released.push(self.released):
            raise Corrupt("the ring of released blocks is full, which the ledger rules out")

    def reply(
        self,
        request: Request,
        status: Status,
        body: bytes | memoryview,
        retry_after_us: int = 0,
        made_on: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        """Send the one reply of a request; ``made_on`` is its (epoch, live sequence, configuration generation)."""
        header = ReplyHeader(
            request.kind,
            status,
            request.request_id,
            *made_on,
            (time.monotonic_ns() - request.arrived_ns) // 1000,
            retry_after_us,
            max(request.seat, 0),
            request.attempt,
        )
        try:
            self.router.send_multipart([*request.envelope, header.pack(), body], zmq.NOBLOCK)
            self.counters.add("replies")
        except zmq.Again:
            self.counters.add("peer_full")
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self.counters.add("unroutable")

    def refuse(self, request: Request, status: Status, text: str, retry_after_us: int = 0) -> None:
        """Send a reply that is no answer."""
        self.reply(request, status, msgspec.msgpack.encode({"error": text}), retry_after_us)

    # -- deaths and orders ---------------------------------------------------------------------------------------

    def bury(self, member: Member, death_signal: int, hung: bool) -> None:
        """A worker is gone: keep what it had published, charge what it was executing, move what merely waited."""
        self.collect()
        executing = member.seat.words.load(seats.EXECUTING)
        for request in list(member.held.values()):
            mine = executing == seats.executing_word(request.slot, request.generation, request.attempt)
            if request.answered:
                self.ledger.forget(request)
                continue
            status = verdict(request, mine, death_signal, hung)
            if status is None:
                self.counters.add("redispatched")
                self.ledger.enqueue(request)
                continue
            self.counters.add("poison" if status is Status.POISON else "worker_lost")
            self.refuse(request, status, f"{request.deaths} workers died while they ran this request")
            self.ledger.mark_answered(request)
            self.ledger.forget(request)
        member.held.clear()
        self.release_ghost(member)
        member.empty()
        self.crew.rank()
        self.tell("clean", seat=member.number)

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
                    self.draining = True
                case unknown:
                    raise ValueError(f"control message {unknown}: unknown, so the supervisor is of another version")

    def tell(self, op: str, **fields: object) -> None:
        """Send the supervisor a message; the channel holds far more than there are seats."""
        self.control.send(msgspec.msgpack.encode({"op": op, **fields}))

    def describe(self) -> dict[str, object]:
        """The answer to INFO."""
        members = [member.describe(member in self.crew.active) for member in self.crew.members.values()]
        return {
            "version": 1,
            "pid": os.getpid(),
            "supervisor_pid": self.orders.parent,
            "life": self.life,
            "epoch": max((member.seat.words.load(seats.EPOCH) for member in self.crew.active), default=0),
            "endpoints": self.endpoints,
            "draining": self.draining,
            "workers": members,
            "queue": {
                "requests": self.ledger.queued,
                "bytes": self.ledger.queued_bytes,
                "waiting": self.ledger.waiting,
            },
            "slots_taken": self.ledger.slots.taken,
            "counters": self.counters.as_dict(),
        }


def main() -> None:
    """Entry of ``python -m mixline.node.broker ORDERS``."""
    logging.basicConfig(level=logging.INFO, format="%(name)s[%(process)d] %(levelname)s %(message)s")
    orders = msgspec.json.decode(sys.argv[1], type=BrokerOrders)
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
