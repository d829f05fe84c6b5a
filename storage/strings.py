"""A table of strings as two mapped arrays: UTF-8 bytes, and the offsets between them.

A million ids as Python strings would cost each worker 60 MB and seconds at start; here a row is sliced and decoded only
when it is asked for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mixline.storage.arrays import ArrayWriter, map_array


class StringTable:
    """Strings by row, over ``offsets`` (uint64, count + 1) and ``data`` (uint8)."""

    def __init__(self, offsets: np.ndarray, data: np.ndarray) -> None:
        self.offsets = offsets
        self.data = data
        self._bytes = memoryview(data)  # type: ignore[arg-type]

    @classmethod
    def open(cls, folder: Path, stem: str = "") -> StringTable:
        return cls(map_array(folder / f"{stem}offsets.npy"), map_array(folder / f"{stem}bytes.npy"))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def raw(self, row: int) -> bytes:
        return bytes(self._bytes[int(self.offsets[row]) : int(self.offsets[row + 1])])

    def take(self, rows: np.ndarray) -> list[str]:
        """The strings of ``rows``, in their order."""
        starts = self.offsets[rows].tolist()
        ends = self.offsets[np.asarray(rows, dtype=np.int64) + 1].tolist()
        view = self._bytes
        return [str(view[start:end], "utf-8") for start, end in zip(starts, ends, strict=True)]

    def to_list(self) -> list[str]:
        return self.take(np.arange(len(self)))


class StringTableWriter:
    """Write a :class:`StringTable` in batches."""

    def __init__(self, folder: Path, stem: str = "") -> None:
        self._offsets = ArrayWriter(folder / f"{stem}offsets.npy", "<u8")
        self._data = ArrayWriter(folder / f"{stem}bytes.npy", "u1")
        self._offsets.append(np.zeros(1, dtype=np.uint64))
        self._end = 0

    def append(self, lengths: np.ndarray, data: np.ndarray) -> None:
        """Append strings by their byte ``lengths`` and the uint8 ``data`` that holds them end to end."""
        ends = self._end + np.cumsum(lengths, dtype=np.int64)
        self._offsets.append(ends.astype(np.uint64))
        self._data.append(data)
        self._end += len(data)

    def extend(self, strings: list[str]) -> None:
        raw = [text.encode() for text in strings]
        self.append(np.array([len(one) for one in raw], dtype=np.int64), np.frombuffer(b"".join(raw), dtype=np.uint8))

    def close(self) -> None:
        self._offsets.close()
        self._data.close()
