"""Who reads the log: slots of processes that died are freed, and the oldest transaction that somebody holds is watched.

A reader keeps the pages that were freed since it began from being used again, so one that never ends makes the log grow
for ever. LMDB knows only how many transactions it is behind; since when it is so, we have to see ourselves.
"""

from __future__ import annotations

import logging
import time
from threading import Lock
from typing import NamedTuple

import lmdb

log = logging.getLogger("mixline.live")
CHECK_NS = 1_000_000_000  # between two looks that commits make
ALARM_S = 60.0
AGAIN_S = 600.0


class OldestReader(NamedTuple):
    """``age_s``: for how long it has been seen; ``lag``: transactions committed since it began."""

    pid: int
    age_s: float
    lag: int


class LogReaders:
    """Looks at the reader table of an environment, which stays open while :attr:`lock` is held; from any thread."""

    def __init__(self, where: object) -> None:
        self.where = where
        self.lock = Lock()
        self.oldest: OldestReader | None = None
        self.freed = 0  # slots of dead processes
        self._seen: dict[tuple[int, int, int], int] = {}  # pid, thread, transaction -> when first seen
        self._looked_ns = 0
        self._told_ns = -int(AGAIN_S * 1e9)

    def look(self, env: lmdb.Environment, now_ns: int, *, always: bool = False) -> None:
        """Free what dead processes hold and find the oldest reader, at most once a second unless ``always``."""
        if always or now_ns - self._looked_ns >= CHECK_NS:
            with self.lock:
                self._look(env, now_ns)

    def _look(self, env: lmdb.Environment, now_ns: int) -> None:
        self._looked_ns = now_ns
        self.freed += env.reader_check()
        last = env.info()["last_txnid"]
        held = [one for one in parse(env.readers()) if one[2] < last]
        self._seen = {one: self._seen.get(one, now_ns) for one in held}
        if not held:
            self.oldest = None
            return
        pid, _, transaction = first = min(held, key=lambda one: one[2])
        self.oldest = OldestReader(pid, (now_ns - self._seen[first]) / 1e9, last - transaction)
        if self.oldest.age_s >= ALARM_S and now_ns - self._told_ns >= AGAIN_S * 1e9:
            self._told_ns = now_ns
            text = (
                "%s: process %d has been reading for %.0f s, %d commits behind: what was freed since is not used "
                "again and the log grows; end that process"
            )
            log.warning(text, self.where, pid, self.oldest.age_s, self.oldest.lag)


def parse(table: str) -> list[tuple[int, int, int]]:
    """Pid, thread and transaction of the readers in LMDB's table; those between two transactions are left out."""
    found = []
    for line in table.splitlines():
        words = line.split()
        if len(words) == 3 and words[0].isdigit() and words[2].isdigit():
            found.append((int(words[0]), int(words[1], 16), int(words[2])))
    return found


def clock_ns() -> int:
    """The clock that ages are measured by."""
    return time.monotonic_ns()
