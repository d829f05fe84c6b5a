"""What the rows of a meters segment are about: written as JSON by the process that counts, read by whoever looks.

The broker has two rows per surface, for the whole latency and for the wait in the queue; a worker has one per surface
for its own time, and one per component.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mixline.ipc.meters import COUNTS_MAX
from mixline.ipc.wire import Status

LATENCY, QUEUE, SURFACE, COMPONENT = "latency", "queue", "surface", "component"
STATUS_NAMES = [str(status) for status in Status]
SEARCH_COUNTS = ["queries", "scanned", "certified", "wanted", "kept"]  # of a search of a space, as in its coverage
SURFACE_COUNTS = ["OK", "DEGRADED", "failed", "slow"]
COMPONENT_COUNTS = ["ok", "degraded", "failed", "disabled", "taken", "left", *SEARCH_COUNTS]
STATES = {name: at for at, name in enumerate(COMPONENT_COUNTS)}
assert len(STATUS_NAMES) <= COUNTS_MAX and len(COMPONENT_COUNTS) <= COUNTS_MAX


class Row(msgspec.Struct, omit_defaults=True, frozen=True):
    """One row. ``what`` is one of the four words above and says which ``counts`` of the directory name its columns."""

    what: str
    surface: str
    deadline_ms: float = 0.0
    stage: str = ""
    name: str = ""
    kind: str = ""
    shares: bool = False  # requests of the surface want the same scan, and are best answered together


class Directory(msgspec.Struct):
    """All rows of a segment, in order."""

    rows: list[Row]
    counts: dict[str, list[str]]


_decoder = msgspec.json.Decoder(Directory)


def broker_directory(surfaces: Iterable[str]) -> bytes:
    """The broker's: rows 2n and 2n + 1 are for its surface n."""
    rows = [Row(what, surface) for surface in surfaces for what in (LATENCY, QUEUE)]
    return msgspec.json.encode(Directory(rows, {LATENCY: STATUS_NAMES, QUEUE: []}))


def worker_directory(rows: list[Row]) -> bytes:
    """A worker's."""
    return msgspec.json.encode(Directory(rows, {SURFACE: SURFACE_COUNTS, COMPONENT: COMPONENT_COUNTS}))


def read_directory(raw: bytes) -> Directory:
    """What a process published; no rows when it has not yet."""
    return _decoder.decode(raw) if raw else Directory([], {})


def surfaces_of(raw: bytes) -> list[Row]:
    """The surfaces that a worker serves."""
    return [row for row in read_directory(raw).rows if row.what == SURFACE]
