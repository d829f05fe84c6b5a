"""A worker against a broker played by the test, on real segments in one process: its arena, its lives, its duties."""

import time

import msgspec
import pytest

from mixline.ipc import seats
from mixline.ipc.board import Board
from mixline.ipc.rings import Descriptor
from mixline.ipc.segments import map_segment
from mixline.ipc.wire import Kind, RequestHeader, Status
from mixline.node import limits
from mixline.node.orders import WorkerOrders
from mixline.node.supervisor_exchange import Exchange
from mixline.node.worker import Worker


class BulkEngine:
    """Answers with as many bytes as the body says."""

    epoch_number = 3
    live_seq = 0

    def answer(self, header, body, deadline_ns, pulse):
        return Status.OK, bytes(int(bytes(body)))


class PlayedBroker:
    """The broker's ends of one seat, without a broker."""

    def __init__(self):
        exchange = Exchange(1)
        at = exchange.seats[0]
        self.board = Board(exchange.board_fd, exchange.broker_bell_fd, writable=True)
        self.slots = memoryview(map_segment(exchange.slots_fd, limits.slot_bytes, writable=True))
        self.seat = seats.BrokerSide(
            0, limits.seat_layout, at.seat_fd, at.bell_fd, at.arena_read_fd, limits.arena_bytes
        )
        self.worker = Worker(
            WorkerOrders(
                parent=0,
                seat=0,
                seat_fd=at.seat_fd,
                arena_fd=at.arena_fd,
                bell_fd=at.bell_fd,
                meters_fd=at.meters_fd,
                board_fd=exchange.board_read_fd,
                slots_fd=exchange.slots_read_fd,
                broker_bell_fd=exchange.broker_bell_fd,
                store="",
            )
        )
        self.worker.engine = BulkEngine()
        self.begin(1)

    def begin(self, life):
        self.life = life
        self.board.begin_life(life)
        self.worker.loop.attach()

    def give(self, body, kind=Kind.ASK, budget_ms=5000, life=None):
        """One request through the ring, served at once."""
        frame = RequestHeader(kind, bytes(16), 0).pack() + body
        self.slots[: len(frame)] = frame
        work = Descriptor()
        work.generation, work.life, work.attempt, work.kind = 1, life or self.life, 1, kind
        work.length, work.deadline_ns = len(frame), time.monotonic_ns() + budget_ms * 1_000_000
        assert self.seat.work.push(work) and self.worker.loop.serve_waiting(self.worker.engine) == 1

    def take(self):
        """The reply: (status, body, offset), or None."""
        done = Descriptor()
        if not self.seat.done.pop(done):
            return None
        assert done.life == self.life and done.epoch == 3
        return Status.of(done.status), bytes(self.seat.arena[done.offset : done.offset + done.length]), done.offset

    def release(self, offset, life=None, taken=True):
        descriptor = Descriptor()
        descriptor.life, descriptor.offset, descriptor.status = life or self.life, offset, taken
        assert self.seat.released.push(descriptor)


@pytest.fixture
def broker():
    return PlayedBroker()


def test_full_arena_ends_in_a_typed_reply_and_recovers(broker):
    largest = b"%d" % limits.reply_bytes_max
    held = []
    for _ in range(limits.arena_plan[-1][1]):
        broker.give(largest)
        status, body, offset = broker.take()
        assert status is Status.OK and len(body) == limits.reply_bytes_max
        held.append(offset)
    broker.give(largest, budget_ms=20)
    status, body, offset = broker.take()
    assert status is Status.OVERLOADED and "arena" in msgspec.msgpack.decode(body)["error"]
    broker.release(offset)
    broker.release(held[0])
    broker.give(largest)
    assert broker.take()[0] is Status.OK


def test_every_block_comes_back(broker):
    for size in (0, 1, 2048, 2049, 100_000, 2_000_000) * 100:
        broker.give(b"%d" % size)
        status, body, offset = broker.take()
        assert (status, len(body)) == (Status.OK, size)
        broker.release(offset)
    broker.worker.loop.serve_waiting(broker.worker.engine)
    assert broker.worker.loop.blocks.taken == 0


def test_work_and_releases_of_another_life_are_not_believed(broker):
    broker.give(b"5")
    _, _, offset = broker.take()
    broker.begin(2)
    assert broker.worker.loop.blocks.taken == 0
    broker.give(b"5", life=1)
    assert broker.take() is None and broker.worker.counters.get("stale") == 1
    broker.give(b"5")
    assert broker.take()[2] == offset
    broker.release(offset, life=1)
    broker.worker.loop.serve_waiting(broker.worker.engine)
    assert broker.worker.loop.blocks.taken == 1


def test_too_large_a_reply_is_told_so(broker):
    broker.give(b"%d" % (limits.reply_bytes_max + 1))
    assert broker.take()[0] is Status.TOO_LARGE


class FollowingEngine(BulkEngine):
    """Notes which of its replies were followed up."""

    effect = None

    def __init__(self):
        self.ran = []
        self.number = 0

    def answer(self, header, body, deadline_ns, pulse):
        self.number += 1
        self.effect = self.number
        return super().answer(header, body, deadline_ns, pulse)

    def run_effect(self, effect):
        self.ran.append(effect)

    def idle(self, waits):
        return 0


def test_effects_follow_the_replies_that_were_sent(broker):
    """Each once, none of a reply that came too late, and those of a broker that died all: nobody knows better."""
    engine = broker.worker.engine = FollowingEngine()
    offsets = []
    for _ in range(4):
        broker.give(b"10")
        offsets.append(broker.take()[2])
    assert engine.ran == []
    broker.release(offsets[1], taken=True)
    broker.release(offsets[0], taken=False)
    broker.worker.loop.serve_waiting(engine)
    assert engine.ran == [2]
    broker.release(offsets[2], taken=True)
    broker.worker.loop.serve_waiting(engine)
    assert engine.ran == [2, 3]
    broker.begin(2)
    broker.worker.loop.serve_waiting(engine)
    assert engine.ran == [2, 3, 4]
    broker.worker.loop.serve_waiting(engine)
    assert engine.ran == [2, 3, 4]
