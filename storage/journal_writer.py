"""One process's part of the journal: files that it alone appends to, rotated by size and bounded in total.

A record is one ``write`` and needs no more from this process: killed a moment later, it loses nothing. A machine that
goes down may lose what its kernel had not written yet, and the reader cuts what is torn.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mixline.storage.journal_format import SCHEMA, Facts, Schema, encode_entry, encode_schema, frame

SUFFIX = ".mxj"
PATHS = "journal.paths"  # in the store: folders of journals that lie elsewhere


class JournalWriter:
    """Appends to ``folder``; ``name`` tells the writer from others, who may be at work there too.

    A file is closed once it has ``file_bytes``; then the oldest closed files go until all together have at most
    ``total_bytes``. OSError where a record could not be written: nothing of it is there then.
    """

    def __init__(self, folder: Path, name: str, file_bytes: int, total_bytes: int) -> None:
        self.folder, self.name = folder, name
        self.file_bytes, self.total_bytes = file_bytes, total_bytes
        self.written = 0  # bytes, by this process
        self._fd = -1
        self._size = 0
        self._schemas: dict[bytes, int] = {}

    def append(
        self,
        schema: Schema,
        fixed: np.ndarray,
        ask: bytes,
        facts: Facts,
        columns: Mapping[str, np.ndarray],
        ids: list[str] | None,
    ) -> None:
        """One request."""
        if self._fd < 0 or self._size >= self.file_bytes:
            self._begin()
        told = encode_schema(schema)
        number = self._schemas.get(told)
        if number is None:
            number = len(self._schemas) + 1
            self._put(frame(SCHEMA, number, [told]))
            self._schemas[told] = number
        fixed["answered_ns"] = time.clock_gettime_ns(time.CLOCK_REALTIME)
        self._put(encode_entry(number, fixed, ask, facts, columns, ids))

    def _put(self, record: bytes) -> None:
        try:
            done = os.write(self._fd, record)
        except OSError:
            self.close()  # whatever is wrong with it, the next record begins another file
            raise
        if done < len(record):  # a full disk: take the piece back, so that what comes later can be read
            os.ftruncate(self._fd, self._size)
            raise OSError(28, f"no room for a record of {len(record)} bytes", str(self.folder))
        self._size += done
        self.written += done

    def _begin(self) -> None:
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.name}-{time.clock_gettime_ns(time.CLOCK_REALTIME):020d}{SUFFIX}"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size, self._schemas = 0, {}
        self._bound()

    def _bound(self) -> None:
        """Let the oldest files go, of any writer but the newest of each: somebody may be writing that."""
        files = journal_files(self.folder)
        newest = {path.name.rpartition("-")[0]: path for path in files}
        sizes = {path: size_of(path) for path in files}
        total = sum(sizes.values()) + self.file_bytes
        for path in files:
            if total <= self.total_bytes:
                return
            if newest[path.name.rpartition("-")[0]] != path or stale(path):
                path.unlink(missing_ok=True)
                total -= sizes[path]

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def journal_files(folder: Path) -> list[Path]:
    """All files of a journal, the oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.name.rpartition("-")[2])


def journal_folders(store: Path) -> list[Path]:
    """Where journals of a store lie: within it, and elsewhere as it was told."""
    told = store / PATHS
    others = told.read_text().splitlines() if told.exists() else []
    return [folder for folder in (store / "journal", *map(Path, others)) if folder.is_dir()]


def name_folder(store: Path, folder: Path) -> None:
    """Have the store remember where its journal lies, so that who is forgotten is forgotten there too."""
    told = store / PATHS
    known = told.read_text().splitlines() if told.exists() else []
    if folder != store / "journal" and str(folder) not in known:
        fresh = told.with_name(f"{PATHS}.{os.getpid()}")
        fresh.write_text("\n".join([*known, str(folder)]) + "\n")
        fresh.rename(told)


def size_of(path: Path) -> int:
    """Bytes of a file that may be gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def stale(path: Path) -> bool:
    """Whether nobody has written to a file for a day: its writer is gone."""
    try:
        return path.stat().st_mtime < time.clock_gettime(time.CLOCK_REALTIME) - 86_400
    except FileNotFoundError:
        return True
