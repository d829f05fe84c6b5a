"""The files of an overlay: what is derived from the log for one epoch, appended by the writer and mapped by readers.

All have their full size from the start and take room on the disk only where something was written. Room is taken before
a batch is acknowledged, so that a full disk is an error of that batch and never a fault in somebody's memory.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixline.storage.catalogue import Catalogue
from mixline.storage.counting import ACTIONS, NODE
from mixline.storage.epoch import Epoch
from mixline.storage.errors import LiveFull
from mixline.storage.granting import LINE
from mixline.storage.growing import LIVE_BYTES_MAX, LIVE_ROWS_MAX, GrowingArrays, Tail
from mixline.storage.live_index import BLOCK, EVENT, ID_LINE, STATE_WORDS
from mixline.storage.live_paths import ROOM_BYTES
from mixline.storage.records import Record, decode_record

EVENTS_MAX = 1 << 25
GRANTS_MAX = 1 << 24
DEATHS_MAX = 1 << 21
QUERIES_MAX = 1 << 18  # different ones whose events are found; every reader has them in memory
QUERY_CHARS_MAX = 256  # nobody asks the same as one that is longer
LABEL_BYTES_MAX = 1 << 26
CHUNK_BYTES = ROOM_BYTES  # room is taken in steps of this
LAYOUT = 7  # of the files here; an overlay of another one is made anew from the log
# In the place of an event's action: an item, or every item that has a value in a column, whose number stands above
# (``BLOCK_VALUE | column << 16``); the value is the 64 bits of ``item`` and ``spare``.
UNBLOCK, BLOCK_VALUE, UNBLOCK_VALUE = BLOCK + 1, BLOCK + 2, BLOCK + 3
COLUMN_SHIFT = 16
SPAN = np.dtype([("start", "<u8"), ("length", "<u8")])


class State(NamedTuple):
    """What one publication says, whole: everything beyond these counts does not exist yet.

    ``sequence`` is the last operation that is in; ``boot`` names the run of the machine in which all was written;
    ``erased`` counts how often lines that were published were written over since, to forget somebody.
    """

    sequence: int = 0
    items: int = 0
    users: int = 0
    events: int = 0
    deaths: int = 0
    user_deaths: int = 0
    label_bytes: int = 0
    boot: int = 0
    grants: int = 0
    forgotten: int = 0
    erased: int = 0


def boot_number() -> int:
    """Names this run of the machine, and the layout: files that were not synced are believed only while both last."""
    run = int(Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:13], 16)
    return run << 8 | LAYOUT


def everybody(epoch: Epoch) -> int:
    """The row that stands for all users in blocks and budgets; no user has it, it is in the gap behind the epoch's."""
    return epoch.users.base - 1


def map_state(folder: Path) -> np.ndarray | None:
    """The state's words, of an empty state where no writer was yet; None where the store cannot be written now."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / "state", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return None
    try:
        if os.fstat(fd).st_size == 0:
            os.ftruncate(fd, mmap.PAGESIZE)
        return np.frombuffer(mmap.mmap(fd, mmap.PAGESIZE, access=mmap.ACCESS_READ), dtype="<u8", count=STATE_WORDS)
    finally:
        os.close(fd)


def count_stride(epoch: Epoch) -> int:
    """Heads of the chains of items, for each action."""
    return epoch.items.base + LIVE_ROWS_MAX


def own_files(epoch: Epoch) -> dict[str, tuple[np.dtype, int]]:
    """Files of an overlay that continue no array of the epoch: dtype and number of entries."""
    word = np.dtype("<u4")
    found = {
        "state": (np.dtype("<u8"), STATE_WORDS),
        "events": (EVENT, EVENTS_MAX),
        "counts": (NODE, EVENTS_MAX),
        "counts.heads": (word, ACTIONS * count_stride(epoch)),
        "grants": (LINE, GRANTS_MAX),
        "grants.heads": (word, epoch.users.base + LIVE_ROWS_MAX),
        "labels": (np.dtype("u1"), LABEL_BYTES_MAX),
        "queries.before": (word, EVENTS_MAX),
        "queries.heads": (word, QUERIES_MAX),
        "users.heads": (word, epoch.users.base + LIVE_ROWS_MAX),
        "users.block_heads": (word, epoch.users.base + LIVE_ROWS_MAX),
        "users.forgotten": (word, LIVE_ROWS_MAX),
        "items.deaths": (word, DEATHS_MAX),
        "users.deaths": (word, DEATHS_MAX),
    }
    for name, space in epoch.spaces.items():
        if space.all_codes is not None:
            found[f"spaces.{name}.given"] = np.dtype("<u8"), LIVE_ROWS_MAX // 64
    for catalogue in (epoch.items, epoch.users):
        name = catalogue.name
        found[f"{name}.newest"] = word, catalogue.base + LIVE_ROWS_MAX
        found[f"{name}.before"] = word, LIVE_ROWS_MAX
        found[f"{name}.origin"] = word, LIVE_ROWS_MAX
        found[f"{name}.table"] = ID_LINE, 2 * LIVE_ROWS_MAX
        found[f"{name}.spans"] = SPAN, LIVE_ROWS_MAX
        found[f"{name}.records"] = np.dtype("u1"), LIVE_BYTES_MAX
    return found


def touch_growing(epoch: Epoch) -> dict[str, Tail]:
    """Have every array that can grow mapped, and return where their tails lie."""
    for catalogue in (epoch.items, epoch.users):
        _ = catalogue.keys
        if catalogue.id_kind == "str":
            _ = catalogue.strings
        for column in catalogue.columns.values():
            _ = column.values
    for space in epoch.spaces.values():
        _ = space.all_items, space.all_norms, space.all_codes, space.all_code_norms, space.users, space.user_norms
    assert isinstance(epoch.arrays, GrowingArrays)
    return epoch.arrays.tails


class Segment:
    """One file as the writer has it; ``values`` by entry (a row of a matrix is one)."""

    def __init__(self, path: Path, size: int, lead: int, dtype: np.dtype, width: int) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if os.fstat(self._fd).st_size != size:
            os.ftruncate(self._fd, size)
        self._map = mmap.mmap(self._fd, size)
        self._lead = lead
        self.entry_bytes = dtype.itemsize * width
        self.count = (size - lead) // self.entry_bytes
        flat = np.frombuffer(self._map, dtype=dtype, count=self.count * width, offset=lead)
        self.values = flat if width == 1 else flat.reshape(self.count, width)
        self._room: set[int] = set()

    def take(self, first: int, count: int = 1) -> None:
        """Take room on the disk for entries that will be written; ``OSError`` when there is none."""
        if first + count > self.count:
            raise LiveFull(self.path, first + count, self.count)
        start = (self._lead + first * self.entry_bytes) // CHUNK_BYTES
        stop = (self._lead + (first + count) * self.entry_bytes - 1) // CHUNK_BYTES
        for chunk in range(start, stop + 1):
            self._take(chunk)

    def take_at(self, places: np.ndarray) -> None:
        """The same for scattered entries."""
        if len(places):
            for chunk in np.unique((self._lead + places.astype(np.int64) * self.entry_bytes) // CHUNK_BYTES).tolist():
                self._take(chunk)

    def _take(self, chunk: int) -> None:
        if chunk not in self._room:
            length = min(CHUNK_BYTES, len(self._map) - chunk * CHUNK_BYTES)
            os.posix_fallocate(self._fd, chunk * CHUNK_BYTES, length)
            self._room.add(chunk)

    def close(self) -> None:
        """Let go; arrays handed out keep the mapping."""
        os.close(self._fd)


def open_segments(folder: Path, epoch: Epoch) -> dict[str, Segment]:
    """All files of the overlay in ``folder``, made where they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        name: Segment(folder / name, tail.size, tail.lead, tail.dtype, tail.width)
        for name, tail in touch_growing(epoch).items()
    }
    for name, (dtype, count) in own_files(epoch).items():
        found[name] = Segment(folder / name, -(-count * dtype.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE, 0, dtype, 1)
    return found


def open_late_records(catalogue: Catalogue, own: Mapping[str, np.ndarray]) -> None:
    """Let a catalogue find the records of rows that came later, out of the arrays of :func:`own_files`."""
    spans, records = own[f"{catalogue.name}.spans"], own[f"{catalogue.name}.records"]

    def late_record(row: int) -> Record:
        start, length = spans[row - catalogue.base].tolist()
        return decode_record(records[start : start + length].tobytes())

    catalogue.late_record = late_record


def map_own(folder: Path, epoch: Epoch) -> dict[str, np.ndarray]:
    """The same as a reader has them, read-only, but for those that continue an array of the epoch."""
    found = {}
    for name, (dtype, count) in own_files(epoch).items():
        with (folder / name).open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        found[name] = np.frombuffer(memory, dtype=dtype, count=count)
    return found
