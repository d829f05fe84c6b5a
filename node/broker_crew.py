"""The broker's view of its workers: who sits where, who may get work, whose heart has stopped."""

from __future__ import annotations

from mixline.ipc import seats
from mixline.ipc.meters import Meters
from mixline.ipc.segments import map_segment
from mixline.node import limits
from mixline.node.broker_places import Places
from mixline.node.orders import SeatOrders

TICKS_TO_HANG = limits.hang_ms // limits.tick_ms
TICKS_TO_HANG_OVERDUE = limits.hang_overdue_ms // limits.tick_ms


class Member:
    """One seat and the worker in it."""

    def __init__(self, orders: SeatOrders) -> None:
        self.number = orders.seat
        self.pid = orders.pid
        self.writes = orders.writes
        self.seat = seats.BrokerSide(
            orders.seat, limits.seat_layout, orders.seat_fd, orders.bell_fd, orders.arena_fd, limits.arena_bytes
        )
        self.meters = Meters(
            map_segment(orders.meters_fd, limits.worker_meters_bytes, writable=False), limits.worker_meter_rows
        )
        self.places: Places | None = None  # where the loop keeps what this worker holds
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

    def missed_its_beats(self, overdue: bool) -> bool:
        """Called once a tick; True when the heart has stood still for too many of them, or for fewer while it is
        ``overdue``: told to stop with a request that has been answered without it."""
        beat = self.seat.words.load(seats.BEAT)  # SYNC POINT: beat
        self.ticks_missed = 0 if beat != self.last_beat else self.ticks_missed + 1
        self.last_beat = beat
        return self.ticks_missed >= (TICKS_TO_HANG_OVERDUE if overdue else TICKS_TO_HANG)

    def describe(self, active: bool) -> dict[str, object]:
        """For INFO."""
        state = seats.STATE_NAMES[min(self.seat.state, len(seats.STATE_NAMES) - 1)]
        if self.ready and not active:
            state = "retiring" if self.retiring else "standby"
        return {
            "seat": self.number,
            "pid": self.pid,
            "state": state,
            "held": self.places.held(self.number) if self.places else 0,
            "epoch": self.seat.words.load(seats.EPOCH),
            "config_generation": self.seat.words.load(seats.CONFIG),
            "counters": self.seat.counters.as_dict(),
        }


class Crew:
    """All seats; ``active`` are the ones that get work, at most ``workers``, the rest stand by."""

    def __init__(self, orders: list[SeatOrders], workers: int, life: int) -> None:
        self.members = {each.seat: Member(each) for each in orders}
        self.workers = workers
        self.life = life
        self.active: list[Member] = []
        self.was_ready = any(
            member.pid and not member.writes and member.seat.state == seats.READY for member in self.members.values()
        )
        self.places: Places | None = None
        self._order = 0

    def give_places(self, places: Places) -> None:
        """Where the loop keeps what workers hold, in the order of ``members``."""
        self.places = places
        for member in self.members.values():
            member.places = places

    @property
    def epoch(self) -> int:
        """The newest that an active worker serves."""
        return max((member.seat.words.load(seats.EPOCH) for member in self.active), default=0)

    def rank(self) -> None:
        """Choose the active members again: those ready the longest. A standby moves up the moment a place is free."""
        ready = [member for member in self.members.values() if member.ready and not member.retiring]
        writers = [member.number for member in ready if member.writes]
        ready = [member for member in ready if not member.writes]
        ready.sort(key=lambda member: member.since)
        self.active = ready[: self.workers]
        if self.places is not None:
            numbers = [member.number for member in ready]
            self.places.activate(numbers[: self.workers], numbers[self.workers :])
            self.places.writer = writers[0] if writers else -1

    def notice_ready(self) -> list[Member]:
        """Members that have joined this life since the last call."""
        fresh = []
        for member in self.members.values():
            if member.ready or not member.pid or member.seat.state != seats.READY:
                continue
            if member.seat.words.load(seats.ATTACHED) != self.life:  # SYNC POINT: attached life
                continue
            self._order += 1
            member.ready, member.since = True, self._order
            if self.places is not None:
                self.places.notice(member.number)
            fresh.append(member)
        if fresh:
            self.rank()
        return fresh
