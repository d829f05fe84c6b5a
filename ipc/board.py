"""The node's notice board: one page that the broker writes and every other process reads.

It says which broker life is current. A worker compares the life before it starts on a request and before it believes a
release, so nothing of a dead broker is ever mixed with the work of its successor.
"""

from __future__ import annotations

from mixline.ipc.counters import BROKER_COUNTERS, COUNTERS_MAX, Counters
from mixline.ipc.segments import map_segment, page_round
from mixline.ipc.words import Bell, Words

LIFE, SLEEPING, BEAT, PORT, QUALITY = range(5)
_WORDS = 8
_LINE = 64
_COUNTERS_AT = _WORDS * _LINE
BOARD_BYTES = page_round(_COUNTERS_AT + COUNTERS_MAX * 8)


class Board:
    """The board as one process sees it. ``bell_fd`` wakes the broker; workers ring it after publishing a reply."""

    def __init__(self, fd: int, bell_fd: int, *, writable: bool) -> None:
        self.memory = map_segment(fd, BOARD_BYTES, writable=writable)
        self.words = Words(self.memory, 0, _WORDS, _LINE)
        self.bell = Bell(self.words, SLEEPING, bell_fd)
        self.counters = Counters(Words(self.memory, _COUNTERS_AT, COUNTERS_MAX), BROKER_COUNTERS)

    @property
    def life(self) -> int:
        """The number of the broker process that now owns the exchange; 0 before the first."""
        return self.words.load(LIFE)

    def begin_life(self, life: int) -> None:
        """The broker takes over. Workers that see it drop what they hold of the life before and attach anew."""
        self.words.store(SLEEPING, 0)
        self.words.store(LIFE, life)  # SYNC POINT: broker life

    def beat(self, now_ns: int) -> None:
        """The broker is alive."""
        self.words.store(BEAT, now_ns)

    @property
    def port(self) -> int:
        """The TCP port that the broker's first such door is bound to; 0 while there is none."""
        return self.words.load(PORT)

    def name_port(self, port: int) -> None:
        """The broker tells it before its life begins."""
        self.words.store(PORT, port)

    @property
    def quality(self) -> float:
        """How much of their widths surfaces may use, 0 .. 1; 1 before any broker has said."""
        told = self.words.load(QUALITY)
        return (told - 1) / 1000 if told else 1.0

    @property
    def last_beat_ns(self) -> int:
        """When the broker last said so, CLOCK_MONOTONIC."""
        return self.words.load(BEAT)
