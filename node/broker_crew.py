"""The broker's view of its workers: who sits where, who may get work, who holds what, whose heart has stopped."""

from __future__ import annotations

import msgspec

from mixline.ipc import seats
from mixline.ipc.board import Board
from mixline.ipc.wire import Kind
from mixline.node import limits
from mixline.node.broker_ledger import Request

TICKS_TO_HANG = limits.hang_ms // limits.tick_ms


class SeatOrders(msgspec.Struct, frozen=True):
    """One seat as the supervisor hands it to a broker; ``pid`` 0 means that nobody sits there."""

    seat: int
    pid: int
    seat_fd: int
    arena_fd: int
    bell_fd: int


class Member:
    """One seat and the worker in it."""

    def __init__(self, orders: SeatOrders) -> None:
        self.number = orders.seat
        self.pid = orders.pid
        self.seat = seats.BrokerSide(
            orders.seat, limits.seat_layout, orders.seat_fd, orders.bell_fd, orders.arena_fd, limits.arena_bytes
        )
        self.held: dict[int, Request] = {}
        self.ready = False
        self.retiring = False
        self.hung = False
        self.ghost_slot = -1
        self.ticks_missed = 0
        self.last_beat = 0
        self.since = 0  # order of becoming ready

    def empty(self) -> None:
        """The worker is gone and all it held has been dealt with."""
        self.pid = 0
        self.ready = self.retiring = self.hung = False
        self.ticks_missed = self.last_beat = 0
        self.seat.vacate()

    def missed_its_beats(self) -> bool:
        """Called once a tick; True when the heart has stood still for too many of them."""
        beat = self.seat.words.load(seats.BEAT)
        self.ticks_missed = 0 if beat != self.last_beat else self.ticks_missed + 1
        self.last_beat = beat
        return self.ticks_missed >= TICKS_TO_HANG

    def has_room(self, request: Request) -> bool:
        """Whether the request may be given to this worker now. A second attempt runs alone, and nothing joins it."""
        if not self.held:
            return True
        if request.kind != Kind.ECHO or request.attempt or len(self.held) >= limits.held_echo_max:
            return False
        return all(held.kind == Kind.ECHO and held.attempt == 1 for held in self.held.values())

    def describe(self, active: bool) -> dict[str, object]:
        """For INFO."""
        state = seats.STATE_NAMES[min(self.seat.state, len(seats.STATE_NAMES) - 1)]
        if self.ready and not active:
            state = "retiring" if self.retiring else "standby"
        return {
            "seat": self.number,
            "pid": self.pid,
            "state": state,
            "held": len(self.held),
            "epoch": self.seat.words.load(seats.EPOCH),
            "config_generation": self.seat.words.load(seats.CONFIG),
            "counters": self.seat.counters.as_dict(),
        }


class Crew:
    """All seats; ``active`` are the ones that get work, at most ``workers_max``, the rest stand by."""

    def __init__(self, orders: list[SeatOrders], workers: int, board: Board, life: int) -> None:
        self.members = {each.seat: Member(each) for each in orders}
        self.workers = workers
        self.board = board
        self.life = life
        self.active: list[Member] = []
        self.ever_ready = any(member.pid and member.seat.state == seats.READY for member in self.members.values())
        self._order = 0

    def rank(self) -> None:
        """Choose the active members again: those ready the longest. A standby moves up the moment a place is free."""
        ready = [member for member in self.members.values() if member.ready and not member.retiring]
        ready.sort(key=lambda member: member.since)
        self.active = ready[: self.workers]

    def notice_ready(self) -> list[Member]:
        """Members that have joined this life since the last call."""
        fresh = []
        for member in self.members.values():
            if member.ready or not member.pid or member.seat.state != seats.READY:
                continue
            if member.seat.words.load(seats.ATTACHED) != self.life:
                continue
            self._order += 1
            member.ready, member.since = True, self._order
            fresh.append(member)
        if fresh:
            self.ever_ready = True
            self.rank()
        return fresh

    def seat_for(self, request: Request) -> Member | None:
        """The active member with the least in hand that has room; idle ones first."""
        best: Member | None = None
        for member in self.active:
            if not member.held:
                return member
            if member.has_room(request) and (best is None or len(member.held) < len(best.held)):
                best = member
        return best
