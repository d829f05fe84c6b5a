"""A stage for the broker's rules: they run on a probe, and the test plays the workers of three seats."""

import os
import weakref

from mixline.ipc import seats
from mixline.ipc.board import Board
from mixline.ipc.meters import Meters
from mixline.ipc.rings import Descriptor
from mixline.ipc.segments import map_segment
from mixline.ipc.wire import Status
from mixline.node import limits
from mixline.node.broker_places import Places
from mixline.node.broker_probe import ProbeLoop
from mixline.node.supervisor_exchange import Exchange

BUDGET_US = 30_000_000
SEATS = 3


def close_all(exchange):
    """Every descriptor of an exchange: a session makes hundreds of stages, and select() takes none beyond 1,023."""
    for part in (exchange, *exchange.seats):
        for name, value in vars(part).items():
            if name.endswith("_fd"):
                os.close(value)


class Stage:
    """A broker's rules with three seats, of which the first two are active and the third stands by."""

    def __init__(self, shares=False):
        exchange = Exchange(SEATS)
        weakref.finalize(self, close_all, exchange)
        ends = [(at.number, limits.seat_layout, at.seat_fd, at.bell_fd) for at in exchange.seats]
        fds = [(at.arena_read_fd, at.arena_fd) for at in exchange.seats]
        self.workers = [seats.WorkerSide(*end, fd, limits.arena_bytes) for end, (_, fd) in zip(ends, fds, strict=True)]
        self.places = Places(
            seats.BrokerSide(*end, fd, limits.arena_bytes) for end, (fd, _) in zip(ends, fds, strict=True)
        )
        meters = Meters(
            map_segment(exchange.meters_fd, limits.broker_meters_bytes, writable=True), limits.broker_meter_rows
        )
        slots = memoryview(map_segment(exchange.slots_fd, limits.slot_bytes, writable=True))
        board = Board(exchange.board_fd, exchange.broker_bell_fd, writable=True)
        self.loop = ProbeLoop(
            board,
            slots,
            self.places,
            meters,
            1,
            {},
            control_fd=-1,
            work=self.workers[0].work,
            released=self.workers[0].released,
        )
        self.loop.ever_ready = True
        self.loop.surfaces.announce("a", 1000, shares)
        self.alive = [0, 1, 2]
        self.rank()

    def rank(self):
        self.places.activate(self.alive[:2], self.alive[2:])

    def ask(self, body):
        return self.loop.ask(body, BUDGET_US)

    def running(self):
        """Seats with work, after a turn of the loop."""
        self.loop.step()
        return [seat for seat in self.alive if self.places.held(seat)]

    def execute(self, seat):
        """The worker takes its work and says so."""
        got = Descriptor()
        assert self.workers[seat].work.pop(got)
        self.workers[seat].words.store(seats.EXECUTING, seats.executing_word(got.slot, got.generation, got.attempt))
        return got

    def finish(self, seat):
        """It answers."""
        got = self.execute(seat)
        got.status, got.offset, got.length = Status.OK.code, 0, 0
        assert self.workers[seat].done.push(got)
        self.workers[seat].words.store(seats.EXECUTING, 0)

    def die(self, seat, crash=True):
        """It dies of what it runs."""
        self.execute(seat)
        self.alive.remove(seat)
        self.rank()
        self.loop.bury(seat, crash)
        self.workers[seat].words.store(seats.EXECUTING, 0)

    def come(self, seat):
        """Another worker is ready there."""
        self.alive.append(seat)
        self.rank()

    def count(self, status):
        return self.loop.statuses[status.code]
