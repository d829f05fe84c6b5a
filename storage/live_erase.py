"""A user's traces in an overlay, written over in place: rows of nobody stay, since all others keep their numbers.

Readers may be looking. Words that they follow change first, then what lies there; one that is on its way for this very
user sees less of them, and nothing else. A marker says whose rows are meant until it is done, in numbers of rows alone.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixline.storage.catalogue import NO_ROW
from mixline.storage.ids import table_key
from mixline.storage.live_catalogue import LiveCatalogue, encode_record
from mixline.storage.live_index import BLOCK, chain_events, place_of_id
from mixline.storage.live_labels import LINE
from mixline.storage.live_log import sync_folder
from mixline.storage.live_ops import Id
from mixline.storage.live_paths import forgotten_file
from mixline.storage.live_segments import EVENTS_MAX, boot_number

if TYPE_CHECKING:
    from mixline.storage.live_overlay import Overlay

ERASED = ("time", "user", "item", "action", "weight", "spare")  # of an event; ``before`` leads on to nobody's data


def forgotten_rows(store: Path, epoch: int) -> np.ndarray:
    """Rows (uint32, ascending) of an epoch's users that were forgotten since it was built: nobody's any more."""
    path = forgotten_file(store, epoch)
    return np.fromfile(path, dtype="<u4") if path.exists() else np.zeros(0, dtype="<u4")


def note_forgotten(store: Path, epoch: int, rows: Iterable[int]) -> None:
    """Make these the forgotten rows of an epoch, durably."""
    path = forgotten_file(store, epoch)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        np.array(sorted(set(rows)), dtype="<u4").tofile(file)
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_folder(path.parent)


class Erasing:
    """Takes users out of one overlay."""

    def __init__(self, overlay: Overlay) -> None:
        self.overlay = overlay
        self.where = overlay.store, overlay.epoch.number
        self._marker = overlay.folder / "erasing"  # rows (uint32) of whom is being erased

    def open(self) -> None:
        """Honour the list of forgotten rows, and end what a writer began that died."""
        self._forget_rows()
        if self._marker.exists() and self.overlay.state.boot == boot_number():
            for identity in np.fromfile(self._marker, dtype="<u4").tolist():
                erase_identity(self.overlay, identity)
            self._marker.unlink()

    def begin(self, user: Id) -> int:
        """Note whose row it is, so that it is erased whatever happens; returns the row, or NO_ROW."""
        overlay = self.overlay
        identity = overlay.users.identity(user)
        if identity != NO_ROW:
            np.array([identity], dtype="<u4").tofile(self._marker)
            if identity < overlay.epoch.users.count:
                note_forgotten(*self.where, [*overlay.users.forgotten, identity])
        return identity

    def take_back(self, identity: int) -> None:
        """The log knows them as before, so it is their row again."""
        with suppress(OSError):  # where even that cannot be written
            self._marker.unlink(missing_ok=True)
            if identity < self.overlay.epoch.users.count:
                note_forgotten(*self.where, self.overlay.users.forgotten)

    def finish(self, identity: int, sequence: int) -> None:
        """Write over what lies here of them, once the log knows them no more, and publish that."""
        if identity != NO_ROW:
            self._forget_rows()
            erase_identity(self.overlay, identity)
        self.overlay.state = self.overlay.state._replace(erased=self.overlay.state.erased + 1)
        self.overlay.release(sequence)
        self._marker.unlink(missing_ok=True)

    def _forget_rows(self) -> None:
        overlay, rows = self.overlay, forgotten_rows(*self.where)
        segment = overlay.segments["users.forgotten"]
        segment.take(0, max(1, len(rows)))
        segment.values[: len(rows)] = rows
        overlay.users.forgotten = set(rows.tolist())
        overlay.state = overlay.state._replace(forgotten=len(rows))


def erase_identity(overlay: Overlay, identity: int) -> None:
    """Write over all that was staged and released of the user whom the row ``identity`` stands for."""
    segments, users = overlay.segments, overlay.users
    events = segments["events"].values
    asked = False
    for name in ("users.heads", "users.block_heads"):
        heads = segments[name].values
        places = chain_events(events, heads, identity, overlay.state.events, EVENTS_MAX)
        if len(places):
            heads[identity] = 0
            asked = asked or bool((events["spare"][places][events["action"][places] < BLOCK] > 0).any())
            for field in ERASED:
                events[field][places] = 0
    origins = segments["users.origin"].values[: users.count]
    late = np.flatnonzero(origins == identity).tolist()
    for at in late:
        erase_row(users, at)
    if late or asked:
        erase_labels(overlay)
        origins[late] = NO_ROW  # nobody's: a fold leaves them out


def erase_row(users: LiveCatalogue, at: int) -> None:
    """One version."""
    row, catalogue = users.base + at, users.catalogue
    table = users.segment("users.table")
    drawn = secrets.randbits(64)
    slot = place_of_id(table, table_key(catalogue.id_of(row)))
    if table["row"][slot] == row:
        table["key"][slot] = drawn
    users.segment("ids.users.keys")[at] = drawn
    if catalogue.id_kind == "str":
        users.span("ids.users.bytes", "ids.users.offsets", at)[:] = 0
    for name, kind in users.kinds.items():
        if kind in ("text", "bytes", "f32"):
            continue
        column = catalogue.columns[name]
        where = f"columns.users.{name}"
        if kind == "tags":
            users.span(where, f"{where}.offsets", at)[:] = 0
        else:
            users.segment(where)[at] = column.missing
    if "f32" in users.kinds.values():
        users.segment("columns.users.interleaved.f32")[at] = np.nan
    for matrix, norms, each in users.matrices():
        users.segment(matrix)[at * each : (at + 1) * each] = np.nan
        users.segment(norms)[at * each : (at + 1) * each] = np.nan
    nothing = np.frombuffer(encode_record([None] * len(users.kinds)), dtype=np.uint8)  # no record is shorter
    spans = users.segment("users.spans")
    start, length = spans[at].tolist()
    if length:
        spans["length"][at] = len(nothing)
        heap = users.segment("users.records")
        heap[start : start + length] = 0
        heap[start : start + len(nothing)] = nothing


def erase_labels(overlay: Overlay) -> None:
    """Labels of users' columns that came since the build and that no row has any more, and queries that led to nothing
    else."""
    users, segment = overlay.users, overlay.segments["labels"]
    memory = segment.values
    at, size = 0, overlay.state.label_bytes
    codes = overlay.labels.first_codes()
    queries, _ = overlay.labels.queries()
    events = overlay.segments["events"].values[: overlay.state.events]
    asked = np.unique(events["spare"][events["action"] < BLOCK])
    while at < size:
        number, length = LINE.unpack_from(memory[at : at + LINE.size].tobytes())
        code = codes[number]
        codes[number] += 1
        catalogue, column = overlay.labels.column_of(number)
        start, at = at + LINE.size, at + LINE.size + length
        if number == queries:
            kept = bool((asked == code + 1).any())
        else:
            kept = catalogue != users.name or column is None or has_code(users, column.name, code)
        if kept:
            continue
        memory[start:at] = 0
        overlay.labels.rename(number, code, "\0" * length)


def has_code(users: LiveCatalogue, name: str, code: int) -> bool:
    """Whether a late row has a label; rows of the build cannot have one that came later."""
    where = f"columns.users.{name}"
    values = users.segment(where)
    if users.kinds[name] != "tags":
        return bool((values[: users.count] == code).any())
    if not users.count:
        return False
    offsets = users.segment(f"{where}.offsets")
    return bool((values[: int(offsets[users.count]) - users.heap_base(where)] == code).any())
