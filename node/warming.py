"""Warming: the active epoch brought into the page cache in the order in which a cold page hurts, then asked for real.

A request walks the graph and scans codes over pages all over the file, reads columns for every candidate and float32
rows for a few. So graph and codes come first, float32 rows last, and what memory cannot hold is left out from the end
and told. Only pages are warmed, which all workers share; so any process may do it, and a node has one do it before it
says that it is ready.

Files are read in huge pages where the file system has them: half of what a lookup of a row costs is the way to its
page. What is in memory in small ones, and mapped by nobody, is read once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from mixline.ipc.residency import huge_share, resident_bytes
from mixline.ipc.room import available_bytes
from mixline.ipc.warming import Way, forget, populate
from mixline.node.errors import ConfigError, NodeError
from mixline.storage.epoch import Epoch

CLASSES = ("graph", "codes", "columns", "ids", "rows")
ROOM_LEFT = 64 << 20  # of what is available: for whoever else starts
REPLAY_DEADLINE_MS = 60_000
HUGE_ENOUGH = 0.5  # of a file in huge pages: it is left as it is


class Warmed(NamedTuple):
    """One file: bytes in all, resident before and after (None where the kernel does not tell), and how it was read.

    ``way``: huge (asked for, whatever came), populated, read, resident (nothing to do), or, for want of memory, "in
    part" or "left out".
    """

    file: str
    kind: str
    bytes: int
    before: int | None
    after: int | None
    way: str


class Recorded(msgspec.Struct):
    """A request to be asked again: a line of JSON. Other keys, as a load's mix has them, are passed over."""

    surface: str
    user: int | str | None = None
    item: int | str | None = None
    query: str | None = None
    limit: int | None = None
    params: dict | None = None
    fields: list[str] | None = None


def kind_of(name: str) -> str:
    """The class of an epoch's file."""
    folder, _, rest = name.partition("/")
    if folder == "graph" or "_graph_" in rest:
        return "graph"
    if folder == "text":
        return "codes"
    if folder == "spaces":
        leaf = rest.rpartition("/")[2]
        return "rows" if leaf in ("items.npy", "users.npy") else "codes"
    return "columns" if folder == "columns" else "ids"  # records are read by row and id, as ids are


def in_order(epoch: Epoch) -> list[tuple[str, str, int]]:
    """(class, file, bytes) of all files, by class and then the smallest first."""
    files = [(kind_of(name), name, facts.bytes) for name, facts in epoch.manifest.files.items()]
    return sorted(files, key=lambda one: (CLASSES.index(one[0]), one[2], one[1]))


def warm(
    epoch: Epoch,
    advance: Callable[[int], None] = lambda _: None,
    *,
    huge: bool = True,
    room: int | None = None,
) -> Iterator[Warmed]:
    """Warm the files of an epoch in order. ``room``: bytes of memory for all of them, by default what is available.

    A file that fits in part is warmed in part, from its beginning, and whatever comes later is left out. Where one lies
    in small pages though all of it was read for huge ones, no other is read again for that.
    """
    left = max(0, available_bytes() - ROOM_LEFT) if room is None else room
    again = huge
    for kind, name, size in in_order(epoch):
        path = epoch.path / name
        before = resident_bytes(path)
        wanted = min(size, left)
        left -= wanted
        if before is not None and before >= size:
            way = "resident"
        elif not wanted:
            way = "left out"
        elif wanted < size:
            populate(path, wanted, advance, huge)
            way = "in part"
        else:
            way = populate(path, wanted, advance, huge)
        if way not in ("huge", "populated", "read"):
            advance(size - (wanted if way == "in part" else 0))
        if again and wanted == size and in_small_pages(path):
            if before:  # what was there stayed as it was
                way = read_again(path)
            again = bool(before) and not in_small_pages(path)
        yield Warmed(name, kind, size, before, resident_bytes(path), way)


def read_again(path: Path) -> Way:
    """A file from the disk once more, for huge pages; what somebody maps, or is not on the disk yet, stays as it is."""
    forget(path)
    return populate(path, path.stat().st_size, lambda _: None, huge=True)


def in_small_pages(path: Path) -> bool:
    """Whether a file lies there in small pages where it could in huge ones."""
    try:
        return huge_share(path) < HUGE_ENOUGH
    except OSError:
        return False  # a kernel that does not tell has none for files


def read_recorded(path: Path) -> list[Recorded]:
    """The requests of a file of JSON lines; ConfigError names the line."""
    decoder = msgspec.json.Decoder(Recorded)
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from error
    found, problems = [], []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(decoder.decode(line))
            except (msgspec.ValidationError, msgspec.DecodeError) as error:
                problems.append(f"{path}:{number}: {error}; write one JSON object a line, with surface")
    if problems or not found:
        raise ConfigError(problems or [f"{path}: no request in it"])
    return found


def replay(store: Path, config: str | None, requests: list[Recorded], pulse: Callable[[int], None]) -> dict[str, int]:
    """Ask every request of an engine in this process; counts of answered and failed.

    A request that the store or a surface refuses does no harm: what it touched is warm.
    """
    from mixline.node.inprocess import Node

    counts = {"answered": 0, "failed": 0}
    with Node.open(store, config) as node:
        for request in requests:
            try:
                node.ask(**msgspec.structs.asdict(request), deadline_ms=REPLAY_DEADLINE_MS)
                counts["answered"] += 1
            except NodeError:
                counts["failed"] += 1
            pulse(1)
    return counts


def short_of(files: list[Warmed]) -> list[str]:
    """Those that memory had no room for, in all or in part."""
    return [one.file for one in files if one.way in ("in part", "left out")]
