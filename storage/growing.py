"""How the arrays of an epoch are mapped: as they are, or with room behind them for what a writer appends.

Rows that came after the build are numbered from :func:`first_live_row` on. Between them and the epoch's rows lies a gap
of at least a page in every array, whatever the size of its rows, so that both files begin on a page of their own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

from mixline.storage.arrays import map_array
from mixline.storage.errors import StoreDamaged
from mixline.storage.stitched import PAGE, Stitched

GAP_ROWS = 2 * PAGE  # enough for rows of one byte, and for blocks of eight
BLOCK = 16  # rows, of codes
LIVE_ROWS_MAX = 1 << 20  # versions of items, or of users, that one epoch can take on before it must be folded
LIVE_BYTES_MAX = 1 << 30  # of strings, or of text
LIVE_TAGS_MAX = 1 << 24


def first_live_row(count: int) -> int:
    """The number of the first row behind ``count`` rows of an epoch: a multiple of 64, for bitmaps."""
    return -(-count // 64) * 64 + GAP_ROWS


class Tail(NamedTuple):
    """Where the tail of an array lies: ``lead`` bytes into its file; in all ``size`` bytes. Its first entry is the
    array's entry ``base``."""

    name: str
    base: int
    lead: int
    size: int
    dtype: np.dtype
    width: int


class Arrays:
    """Maps an epoch's arrays as they are."""

    grows = False

    def rows(self, path: Path, base: int, each: int = 1, more: int = 0) -> np.ndarray:
        """An array with ``each`` entries for every row of a catalogue, of which the first live row is ``base``."""
        return map_array(path)

    def blocks(self, path: Path, base: int) -> np.ndarray:
        """An array with an entry for every BLOCK rows."""
        return map_array(path)

    def heap(self, path: Path, most: int) -> np.ndarray:
        """An array that other arrays point into; it may grow by ``most`` entries."""
        return map_array(path)


class GrowingArrays(Arrays):
    """Maps them with room for a tail, all of which :meth:`attach` puts there."""

    grows = True

    def __init__(self, epoch: Path) -> None:
        self.epoch = epoch
        self.tails: dict[str, Tail] = {}
        self._stitched: dict[str, Stitched] = {}
        self._overlay: Path | None = None

    def rows(self, path: Path, base: int, each: int = 1, more: int = 0) -> np.ndarray:
        return self._map(path, base * each, LIVE_ROWS_MAX * each + more)

    def blocks(self, path: Path, base: int) -> np.ndarray:
        return self._map(path, base // BLOCK, LIVE_ROWS_MAX // BLOCK)

    def heap(self, path: Path, most: int) -> np.ndarray:
        with path.open("rb") as file:
            (count,), _ = read_header(file, path)
        return self._map(path, first_live_row(count), most)

    def attach(self, overlay: Path) -> None:
        """Map the tails in the folder ``overlay``, also of arrays that are mapped later."""
        self._overlay = overlay
        for name in self._stitched:
            self._attach(name)

    def _attach(self, name: str) -> None:
        assert self._overlay is not None
        fd = os.open(self._overlay / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_size != self.tails[name].size:
                raise StoreDamaged(f"{self._overlay / name}: not {self.tails[name].size} bytes; remove the folder")
            self._stitched[name].attach(fd)
        finally:
            os.close(fd)

    def _map(self, path: Path, base: int, most: int) -> np.ndarray:
        name = str(path.relative_to(self.epoch)).replace("/", ".").removesuffix(".npy")
        with path.open("rb") as file:
            shape, dtype = read_header(file, path)
            head = file.tell()
            entry = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
            end = head + base * entry
            tail_at = end // PAGE * PAGE
            size = -(-(end - tail_at + most * entry) // PAGE) * PAGE
            stitched = Stitched(file.fileno(), head + shape[0] * entry, tail_at, size)
        self._stitched[name] = stitched
        self.tails[name] = Tail(name, base, end - tail_at, size, dtype, entry // dtype.itemsize)
        if self._overlay is not None:
            self._attach(name)
        whole = np.frombuffer(
            memoryview(stitched), dtype=dtype, count=(base + most) * entry // dtype.itemsize, offset=head
        )
        return whole.reshape(base + most, *shape[1:])


def read_header(file, path: Path) -> tuple[Sequence[int], np.dtype]:
    """Shape and dtype of an ``.npy`` file; ``file`` is left at the data."""
    try:
        if npy.read_magic(file) != (1, 0):
            raise ValueError("another version of the format")
        shape, by_columns, dtype = npy.read_array_header_1_0(file)
        if by_columns or os.fstat(file.fileno()).st_size < file.tell() + dtype.itemsize * int(np.prod(shape)):
            raise ValueError("short, or in column order")
    except ValueError as error:
        raise StoreDamaged(f"{path}: cannot be mapped ({error}); run mixline epoch verify, or build again") from error
    return shape, dtype
