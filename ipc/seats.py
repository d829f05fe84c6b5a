"""A seat: the shared memory between the broker and one worker process, whoever sits there now.

Three rings (``work`` to the worker, ``done`` back, ``released`` returning arena blocks), words of one writer each, and
the reply arena in a segment of its own, which the worker writes and the broker maps read-only.
"""

from __future__ import annotations

from collections.abc import Sequence

from mixline.ipc.counters import COUNTERS_MAX, WORKER_COUNTERS, Counters
from mixline.ipc.rings import Consumer, Producer, ring_bytes
from mixline.ipc.segments import map_segment, page_round
from mixline.ipc.words import Bell, Words

# Words, with their writer: worker, worker, worker, worker, worker, worker, broker.
STATE, BEAT, EXECUTING, ATTACHED, EPOCH, SLEEPING, CANCEL, CONFIG = range(8)
_WORDS = 16
_LINE = 64
_COUNTERS_AT = _WORDS * _LINE
LENT_WORDS = 16  # bits of the arena's blocks that the broker has lent to libzmq; the broker writes them
_LENT_AT = _COUNTERS_AT + COUNTERS_MAX * 8
_RINGS_AT = _LENT_AT + 2 * _LINE

# States of a worker.
VACANT, STARTING, READY, LEAVING = range(4)
STATE_NAMES = ("vacant", "starting", "ready", "leaving")


def executing_word(slot: int, generation: int, attempt: int) -> int:
    """One word that names one attempt at one request; never 0, since generations begin at 1."""
    return (slot & 0xFFFFFF) << 40 | (generation & 0xFFFFFFFF) << 8 | (attempt & 0xFF)


EXECUTING_ALL = (1 << 64) - 1  # every request that the worker holds has a share in what it does


class SeatLayout:
    """Offsets in a seat's segment, equal in every process because all derive it from the same two capacities."""

    def __init__(self, ring_slots: int, release_slots: int) -> None:
        self.ring_slots = ring_slots
        self.release_slots = release_slots
        self.work_at = _RINGS_AT
        self.done_at = self.work_at + ring_bytes(ring_slots)
        self.released_at = self.done_at + ring_bytes(ring_slots)
        self.size = page_round(self.released_at + ring_bytes(release_slots))


class Seat:
    """What both sides of a seat map; :class:`WorkerSide` and :class:`BrokerSide` add the ends of the rings."""

    def __init__(self, number: int, layout: SeatLayout, fd: int, bell_fd: int) -> None:
        self.number = number
        self.layout = layout
        self.memory = map_segment(fd, layout.size, writable=True)
        self.words = Words(self.memory, 0, _WORDS, _LINE)
        self.bell = Bell(self.words, SLEEPING, bell_fd)
        self.lent = Words(self.memory, _LENT_AT, LENT_WORDS)
        self.counters = Counters(Words(self.memory, _COUNTERS_AT, COUNTERS_MAX), WORKER_COUNTERS)

    @property
    def state(self) -> int:
        """VACANT, STARTING, READY or LEAVING."""
        return self.words.load(STATE)


class SeatView:
    """A seat as an onlooker maps it, read-only."""

    def __init__(self, number: int, layout: SeatLayout, fd: int) -> None:
        self.number = number
        memory = map_segment(fd, layout.size, writable=False)
        self.words = Words(memory, 0, _WORDS, _LINE)
        self.counters = Counters(Words(memory, _COUNTERS_AT, COUNTERS_MAX), WORKER_COUNTERS)

    @property
    def state_name(self) -> str:
        """vacant, starting, ready or leaving."""
        return STATE_NAMES[min(self.words.load(STATE), len(STATE_NAMES) - 1)]

    @property
    def epoch(self) -> int:
        """Of the store, that the worker serves."""
        return self.words.load(EPOCH)


class WorkerSide(Seat):
    """The worker's ends: takes work, publishes replies, takes back arena blocks."""

    def __init__(self, number: int, layout: SeatLayout, fd: int, bell_fd: int, arena_fd: int, arena_bytes: int) -> None:
        super().__init__(number, layout, fd, bell_fd)
        self.work = Consumer(self.memory, layout.work_at, layout.ring_slots)
        self.done = Producer(self.memory, layout.done_at, layout.ring_slots)
        self.released = Consumer(self.memory, layout.released_at, layout.release_slots)
        self.arena = memoryview(map_segment(arena_fd, arena_bytes, writable=True))


class BrokerSide(Seat):
    """The broker's ends: gives work, takes replies, returns arena blocks."""

    def __init__(self, number: int, layout: SeatLayout, fd: int, bell_fd: int, arena_fd: int, arena_bytes: int) -> None:
        super().__init__(number, layout, fd, bell_fd)
        self.work = Producer(self.memory, layout.work_at, layout.ring_slots)
        self.done = Consumer(self.memory, layout.done_at, layout.ring_slots)
        self.released = Producer(self.memory, layout.released_at, layout.release_slots)
        self.arena = memoryview(map_segment(arena_fd, arena_bytes, writable=False))

    def vacate(self) -> None:
        """Make the seat as new. Only after the pidfd of its last worker said that the worker is gone.

        What is lent stays lent: libzmq still reads those blocks, and the next worker leaves them alone."""
        for word in (STATE, BEAT, EXECUTING, ATTACHED, EPOCH, SLEEPING, CANCEL, CONFIG):
            self.words.store(word, 0)
        self.work.reset()
        self.done.reset()
        self.released.reset()


def arena_total(plan: Sequence[tuple[int, int]]) -> int:
    """Bytes of a segment that holds the blocks of ``plan``, each class on a page, as ``Blocks`` lays it out."""
    return sum(page_round(block_bytes * count) for block_bytes, count in plan)
