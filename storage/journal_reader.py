"""Reads journals, also of a node that runs, and takes users out of them.

What a crash left torn is cut at the last whole record, and said: a journal is read to its end whatever its end is.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mixline.storage.journal_format import (
    ENTRY,
    ERASED,
    HEAD,
    MAGIC,
    RECORD_BYTES_MAX,
    REQUEST,
    SCHEMA,
    Entry,
    Schema,
    decode_entry,
    decode_schema,
)
from mixline.storage.journal_writer import journal_files, journal_folders

KIND_AT = HEAD.fields["kind"][1]  # type: ignore[index]
CLOCK_SLACK_NS = 1_000_000_000  # of the times of files, which a coarser clock gives
_anything = msgspec.msgpack.Decoder()


class Found(NamedTuple):
    """One record of a file: where it lies, its kind, and its body."""

    start: int
    bytes: int
    kind: int
    schema: int
    body: memoryview


class JournalFile:
    """One file. ``cut`` says where and why reading ended before the file did; empty when it did not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut = ""

    def records(self) -> Iterator[Found]:
        """Every whole record, in order."""
        try:
            raw = memoryview(self.path.read_bytes())
        except FileNotFoundError:
            return  # rotated away meanwhile
        at, self.cut = 0, ""
        while at < len(raw):
            why = ""
            size = 0
            if len(raw) - at < HEAD.itemsize:
                why = "a head is torn"
            else:
                head = np.frombuffer(raw, dtype=HEAD, count=1, offset=at)[0]
                size = int(head["bytes"])
                if head["magic"] != MAGIC or not HEAD.itemsize <= size <= RECORD_BYTES_MAX:
                    why = "no record begins there"
                elif at + size > len(raw):
                    why = f"a record of {size} bytes is torn"
                elif head["kind"] != ERASED and zlib.crc32(raw[at + HEAD.itemsize : at + size]) != head["crc"]:
                    why = "a record differs from its checksum"
            if why:
                self.cut = f"{self.path}: read up to byte {at} of {len(raw)}: {why}"
                return
            yield Found(at, size, int(head["kind"]), int(head["schema"]), raw[at + HEAD.itemsize : at + size])
            at += size

    def entries(self) -> Iterator[Entry]:
        """The requests in it, in order."""
        schemas: dict[int, Schema] = {}
        for found in self.records():
            if found.kind == SCHEMA:
                schemas[found.schema] = decode_schema(bytes(found.body))
            elif found.kind == ENTRY:
                try:
                    yield decode_entry(schemas[found.schema], found.body)
                except (KeyError, ValueError, msgspec.MsgspecError) as error:
                    self.cut = f"{self.path}: read up to byte {found.start}: {type(error).__name__}: {error}"
                    return


class Journal:
    """All files of a folder. ``cuts``: what the latest reading said of files that it did not read to their end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cuts: list[str] = []

    def files(self) -> list[JournalFile]:
        """The oldest first."""
        return [JournalFile(path) for path in journal_files(self.folder)]

    def entries(self, surface: str = "", shadow: bool = False) -> Iterator[Entry]:
        """Requests, file by file; of one surface where told. Those of shadows only where wanted."""
        self.cuts = []
        for file in self.files():
            for entry in file.entries():
                if bool(entry.fixed["shadow"]) == shadow and surface in ("", entry.schema.surface):
                    yield entry
            if file.cut:
                self.cuts.append(file.cut)

    def last(self, count: int, surface: str = "") -> list[Entry]:
        """The ``count`` requests that were answered last, the oldest of them first."""
        found: list[Entry] = []
        self.cuts = []
        ended = sorted(((path.stat().st_mtime_ns, path) for path in journal_files(self.folder)), reverse=True)
        for until_ns, path in ended:
            if len(found) == count and answered(found[0]) > until_ns + CLOCK_SLACK_NS:
                break
            file = JournalFile(path)
            some = [e for e in file.entries() if not e.fixed["shadow"] and surface in ("", e.schema.surface)]
            found = sorted([*found, *some[-count:]], key=answered)[-count:]
            if file.cut:
                self.cuts.append(file.cut)
        return found


def answered(entry: Entry) -> int:
    """When, in nanoseconds since 1970."""
    return int(entry.fixed["answered_ns"])


def asked_users(ask: bytes) -> list[Any]:
    """The user of each group of a request, None for nobody."""
    asked: Any = _anything.decode(ask) if ask else {}
    if asked.get("users") is not None:
        return list(asked["users"])
    return [asked.get("user")]


def asked_user(ask: bytes) -> str:
    """For people: the user, or how many."""
    users = asked_users(ask)
    return "" if users == [None] else str(users[0]) if len(users) == 1 else f"{len(users)} users"


def erase_user(store: Path, user: int | str) -> int:
    """Take every request for a user out of all journals of a store, in place; how many.

    The head says so before the body is overwritten, so that whoever reads meanwhile, or after a crash, skips it.
    """
    erased = 0
    for folder in journal_folders(store):
        for path in journal_files(folder):
            erased += erase_in(path, user)
    return erased


def erase_in(path: Path, user: int | str) -> int:
    """The same in one file."""
    doomed = []
    for found in JournalFile(path).records():
        if found.kind == ERASED and bytes(found.body).strip(b"\0"):  # one that died while erasing
            doomed.append(found)
        elif found.kind == ENTRY:
            fixed = np.frombuffer(found.body, dtype=REQUEST, count=1)[0]
            start = REQUEST.itemsize
            if user in asked_users(bytes(found.body[start : start + int(fixed["ask_bytes"])])):
                doomed.append(found)
    if not doomed:
        return 0
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        for found in doomed:
            os.pwrite(fd, ERASED.to_bytes(2, "little"), found.start + KIND_AT)
        os.fsync(fd)
        for found in doomed:
            os.pwrite(fd, bytes(found.bytes - HEAD.itemsize), found.start + HEAD.itemsize)
        os.fsync(fd)
    finally:
        os.close(fd)
    return len(doomed)
