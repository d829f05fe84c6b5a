"""What a node has counted, read out of its shared memory: no process of the node is asked, none notices.

A :class:`MeterReader` maps the board, the broker's meters and every seat read-only, by descriptor (the supervisor) or
by the ``/proc/PID/fd`` paths that INFO names (``mixline top``). A snapshot is no single moment: each number in it is
whole, and two numbers of it are at most one request apart per process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mixline.ipc.board import Board
from mixline.ipc.counters import BROKER_GAUGES
from mixline.ipc.errors import SegmentError
from mixline.ipc.meters import Meters
from mixline.ipc.seats import SeatView
from mixline.ipc.segments import map_segment
from mixline.node import limits
from mixline.node.directory import LATENCY, QUEUE, read_directory
from mixline.node.histogram import Histogram


class Key(NamedTuple):
    """What a row is about; ``what`` is one of the words of :mod:`mixline.node.directory`."""

    what: str
    surface: str
    stage: str = ""
    name: str = ""


class RowReading(NamedTuple):
    """One row: named counts and a histogram of microseconds."""

    counts: dict[str, int]
    times: Histogram = Histogram()

    def plus(self, other: RowReading) -> RowReading:
        """Both together, as of two workers that ran the same component."""
        return RowReading(added(self.counts, other.counts), self.times.plus(other.times))

    def began_anew(self, before: RowReading) -> bool:
        """Whether the counts, which only grow, are less than before."""
        return any(value < before.counts.get(name, 0) for name, value in self.counts.items()) or any(
            self.times.buckets.get(bucket, 0) < many for bucket, many in before.times.buckets.items()
        )

    def since(self, before: RowReading) -> RowReading:
        """What came after ``before``; a row that began anew meanwhile counts whole."""
        if self.began_anew(before):
            return self
        return RowReading(grown(self.counts, before.counts), self.times.since(before.times))


Rows = dict[Key, RowReading]


class SeatReading(NamedTuple):
    """One seat. ``state`` is vacant, starting, ready or leaving; the standby is ready too."""

    number: int
    state: str
    epoch: int
    counters: dict[str, int]
    rows: Rows


class Snapshot(NamedTuple):
    """The whole node. ``counters`` only grow while a node lives, ``gauges`` are as of now."""

    at_ns: int
    life: int
    beat_ns: int
    counters: dict[str, int]
    gauges: dict[str, int]
    rows: Rows
    seats: list[SeatReading]
    writer: SeatReading | None = None

    @property
    def surfaces(self) -> list[str]:
        """Names in the order of the broker's table."""
        return [key.surface for key in self.rows if key.what == LATENCY]

    def latency(self, surface: str) -> RowReading:
        """Counts by status, and the time from arrival to reply of all but OVERLOADED."""
        return self.rows.get(Key(LATENCY, surface), NOTHING)

    def queue(self, surface: str) -> Histogram:
        """The wait before a worker took it."""
        return self.rows.get(Key(QUEUE, surface), NOTHING).times

    @property
    def work(self) -> Rows:
        """Rows of all workers together."""
        return merge(seat.rows for seat in self.seats)


NOTHING = RowReading({})


class Difference(NamedTuple):
    """What happened between two snapshots: counts divided by ``seconds`` are rates. Gauges are the later ones."""

    seconds: float
    counters: dict[str, int]
    gauges: dict[str, int]
    rows: Rows
    work: Rows
    seats: dict[int, dict[str, int]]
    writer: dict[str, int] = {}  # of its counters

    def rate(self, many: int) -> float:
        """Per second."""
        return many / self.seconds if self.seconds > 0 else 0.0


def added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    """Sums by name."""
    return {name: one.get(name, 0) + other.get(name, 0) for name in one | other}


def grown(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """Growth by name; a counter that began anew counts whole."""
    return {
        name: value - before.get(name, 0) if value >= before.get(name, 0) else value for name, value in after.items()
    }


def merge(many: Iterable[Rows]) -> Rows:
    """Rows of several workers by what they are about. Associative, and in any order the same numbers."""
    merged: Rows = {}
    for rows in many:
        for key, row in rows.items():
            merged[key] = merged[key].plus(row) if key in merged else row
    return merged


def rows_since(after: Rows, before: Rows) -> Rows:
    """Growth of every row."""
    return {key: row.since(before[key]) if key in before else row for key, row in after.items()}


def difference(before: Snapshot, after: Snapshot) -> Difference:
    """Growth from one snapshot to the next. Per seat first: one whose worker began anew must not hide another's."""
    earlier = {seat.number: seat for seat in before.seats}
    pairs = [(seat, earlier.get(seat.number)) for seat in after.seats]
    return Difference(
        seconds=(after.at_ns - before.at_ns) / 1e9,
        counters=grown(after.counters, before.counters),
        gauges=after.gauges,
        rows=rows_since(after.rows, before.rows),
        work=merge(rows_since(seat.rows, old.rows if old else {}) for seat, old in pairs),
        seats={seat.number: grown(seat.counters, old.counters if old else {}) for seat, old in pairs},
        writer={} if after.writer is None else grown(after.writer.counters, counters_of(before.writer)),
    )


def counters_of(seat: SeatReading | None) -> dict[str, int]:
    """The counters of a seat, if there is one."""
    return {} if seat is None else seat.counters


class MeterReader:
    """Maps a node's segments from descriptors, which stay the caller's; ``seat_fds`` are (seat, meters) pairs, and
    ``writer_fd`` is the writer's seat."""

    def __init__(
        self, board_fd: int, broker_meters_fd: int, seat_fds: Sequence[tuple[int, int]], writer_fd: int | None = None
    ) -> None:
        self.board = Board(board_fd, -1, writable=False)
        memory = map_segment(broker_meters_fd, limits.broker_meters_bytes, writable=False)
        self.broker = Meters(memory, limits.broker_meter_rows)
        self.seats: list[tuple[SeatView, Meters]] = []
        for number, (seat_fd, meters_fd) in enumerate(seat_fds):
            memory = map_segment(meters_fd, limits.worker_meters_bytes, writable=False)
            view = SeatView(number, limits.seat_layout, seat_fd)
            self.seats.append((view, Meters(memory, limits.worker_meter_rows)))
        self.writer = None if writer_fd is None else SeatView(len(self.seats), limits.seat_layout, writer_fd)

    @classmethod
    def open(cls, paths: dict[str, Any]) -> MeterReader:
        """By the paths in INFO's ``meters``; OSError or SegmentError when they are not a node's to be read here."""
        fds: list[int] = []
        try:
            writer = [paths["writer"]] if paths.get("writer") else []
            for path in (paths["board"], paths["broker"], *(path for pair in paths["seats"] for path in pair), *writer):
                if not str(Path(path).readlink()).startswith("/memfd:mixline-"):
                    raise SegmentError(f"{path}: is no segment of a node")
                fds.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            seats = fds[2 : len(fds) - len(writer)]
            writes = fds[-1] if writer else None
            return cls(fds[0], fds[1], list(zip(seats[::2], seats[1::2], strict=True)), writes)
        finally:
            for fd in fds:  # the mappings live on without them
                os.close(fd)

    def read(self) -> Snapshot:
        """All of it, now."""
        counted = self.board.counters.as_dict()
        return Snapshot(
            at_ns=time.monotonic_ns(),
            life=self.board.life,
            beat_ns=self.board.last_beat_ns,
            counters={name: value for name, value in counted.items() if name not in BROKER_GAUGES},
            gauges={name: counted[name] for name in BROKER_GAUGES},
            rows=read_rows(self.broker),
            seats=[
                SeatReading(view.number, view.state_name, view.epoch, view.counters.as_dict(), read_rows(meters))
                for view, meters in self.seats
            ],
            writer=None if self.writer is None else read_seat(self.writer),
        )


def read_seat(view: SeatView) -> SeatReading:
    """A seat that has no rows."""
    return SeatReading(view.number, view.state_name, view.epoch, view.counters.as_dict(), {})


def read_rows(meters: Meters) -> Rows:
    """Every row that the directory names. Others are not touched: reading an unused page would make it.

    Empty before anything was published, and for the moment in which a directory is replaced.
    """
    raw = meters.directory
    try:
        directory = read_directory(raw)
    except msgspec.DecodeError:
        return {}  # copied while it was written
    found: Rows = {}
    for at, row in enumerate(directory.rows):
        names = directory.counts.get(row.what, [])
        counts = dict(zip(names, meters.counts(at), strict=False))
        found[Key(row.what, row.surface, row.stage, row.name)] = RowReading(counts, Histogram(*meters.histogram(at)))
    return found if meters.directory == raw else {}
