"""What a node holds of the machine: descriptors, anonymous memory files, LMDB reader slots, zombies, resident memory.

USS is what a process alone would give back by ending (Private_Clean + Private_Dirty); RSS counts shared pages too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mixline.tools.doctor_lmdb import read_readers
from mixline.tools.processes import family, read


class Holding(NamedTuple):
    """Of one process."""

    fds: int
    memfds: int
    rss_mb: float
    anon_mb: float
    uss_mb: float


def holding(pid: int) -> Holding | None:
    """None when it has ended."""
    fds = memfds = 0
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                memfds += str(entry.readlink()).startswith("/memfd:")
            except FileNotFoundError:
                continue  # closed between the two looks
            fds += 1
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # an ending process belongs to root for a moment
        return None
    rollup = read(f"/proc/{pid}/smaps_rollup")
    if not rollup:
        return None
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in rollup.splitlines()[1:]}
    return Holding(fds, memfds, sizes["Rss"], sizes["Anonymous"], sizes["Private_Clean"] + sizes["Private_Dirty"])


def zombies(parents: Iterable[int]) -> int:
    """Ended children that these processes have not asked after."""
    wanted, found = set(parents), 0
    for entry in Path("/proc").iterdir():
        fields = read(entry / "stat").rpartition(")")[2].split() if entry.name.isdigit() else []
        found += bool(fields) and fields[0] == "Z" and int(fields[1]) in wanted
    return found


def reader_slots(store: Path) -> int:
    """Slots in use in the reader tables of all LMDB environments of a store; epochs are opened without one."""
    return sum(len(read_readers(file).readers) for file in store.rglob("lock.mdb"))


class Census(NamedTuple):
    """A node at one moment. ``workers`` are means over the seats."""

    supervisor: Holding
    broker: Holding
    workers: Holding
    processes: int
    zombies: int
    reader_slots: int

    def to_dict(self) -> dict[str, object]:
        kinds = {name: getattr(self, name) for name in ("supervisor", "broker", "workers")}
        return {
            **{name: {k: round(v, 2) for k, v in each._asdict().items()} for name, each in kinds.items()},
            "processes": self.processes,
            "zombies": self.zombies,
            "reader_slots": self.reader_slots,
        }


def census(root: int, broker: int, workers: Iterable[int], store: Path) -> Census | None:
    """None when one of them ended meanwhile: count again."""
    held = [holding(pid) for pid in (root, broker, *workers)]
    known = [each for each in held if each is not None]
    if len(known) < len(held) or len(known) < 3:
        return None
    pids = family([root])
    mean = Holding(*(sum(values) / len(values) for values in zip(*known[2:], strict=True)))
    return Census(known[0], known[1], mean, len(pids), zombies(pids), reader_slots(store))


def change(before: float, after: float) -> float:
    """Relative, without a sign."""
    return abs(after - before) / before
