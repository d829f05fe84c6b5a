"""The supervisor's side of the exchange: it makes every segment and every bell, and owns them for the node's life.

It maps only the board. Since it holds the descriptors, the memory outlives any broker or worker, and dies with the
node.
"""

from __future__ import annotations

import os

from mixline.ipc.board import BOARD_BYTES
from mixline.ipc.segments import create, reopen_readonly
from mixline.node import limits
from mixline.node.readings import MeterReader


def make_bell() -> int:
    """An eventfd that a sleeper can poll."""
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)


class SeatMemory:
    """The descriptors of one seat; read-only ones for whoever may not write."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.seat_fd = create(f"mixline-seat-{number}", limits.seat_layout.size)
        self.arena_fd = create(f"mixline-arena-{number}", limits.arena_bytes)
        self.arena_read_fd = reopen_readonly(self.arena_fd)
        self.bell_fd = make_bell()
        self.meters_fd = create(f"mixline-meters-{number}", limits.worker_meters_bytes)
        self.meters_read_fd = reopen_readonly(self.meters_fd)


class Exchange:
    """Board, slots and ``count`` seats."""

    def __init__(self, count: int) -> None:
        self.board_fd = create("mixline-board", BOARD_BYTES)
        self.board_read_fd = reopen_readonly(self.board_fd)
        self.slots_fd = create("mixline-slots", limits.slot_bytes)
        self.slots_read_fd = reopen_readonly(self.slots_fd)
        self.broker_bell_fd = make_bell()
        self.meters_fd = create("mixline-meters-broker", limits.broker_meters_bytes)
        self.seats = [SeatMemory(number) for number in range(count)]

    def reader(self) -> MeterReader:
        """All that broker and workers count, mapped read-only; the last seat is the writer's."""
        workers = [(seat.seat_fd, seat.meters_read_fd) for seat in self.seats[:-1]]
        return MeterReader(self.board_read_fd, self.meters_fd, workers, self.seats[-1].seat_fd)

    def worker_fds(self, number: int) -> list[int]:
        """What the worker in a seat inherits."""
        seat = self.seats[number]
        return [
            self.board_read_fd,
            self.slots_read_fd,
            self.broker_bell_fd,
            seat.seat_fd,
            seat.arena_fd,
            seat.bell_fd,
            seat.meters_fd,
        ]

    def broker_fds(self) -> list[int]:
        """What the broker inherits."""
        fds = [self.board_fd, self.slots_fd, self.broker_bell_fd, self.meters_fd]
        for seat in self.seats:
            fds += [seat.seat_fd, seat.arena_read_fd, seat.bell_fd, seat.meters_read_fd]
        return fds
