"""Arrays in ``.npy`` files: mapped read-only by readers, appended to by builders.

A mapped array costs a reader no memory of its own and every process shares one copy. The writer streams: the row count
is unknown until the last batch, so the header is written twice, in the same number of bytes (numpy pads for this).
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.lib import format as npy

from mixline.storage.errors import StoreDamaged

COPY_BYTES = 16 << 20  # working set of a chunked pass over a matrix


def map_array(path: Path) -> np.ndarray:
    """Map ``path`` read-only and return a plain ndarray view over it (no per-access cost of ``np.memmap``)."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    except (OSError, ValueError, EOFError) as error:
        raise StoreDamaged(f"{path}: cannot be mapped ({error}); run mixline epoch verify, or build again") from error


class ArrayWriter:
    """Append rows of one dtype to a ``.npy`` file; ``width`` makes it a matrix of that many columns."""

    def __init__(self, path: Path, dtype: str | np.dtype, width: int | None = None) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self.width = width
        self.count = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._header_bytes = self._write_header()

    def append(self, rows: np.ndarray) -> None:
        """Append ``rows``; converts to the file's dtype, refuses another width."""
        if (rows.shape[1:] or (None,)) != (self.width,):
            raise ValueError(f"{self.path}: rows of shape {rows.shape} do not fit width {self.width}")
        np.ascontiguousarray(rows, dtype=self.dtype).tofile(self._file)
        self.count += len(rows)

    def close(self) -> None:
        if self._file.closed:
            return
        self._file.seek(0)
        if self._write_header() != self._header_bytes:
            raise AssertionError(f"{self.path}: the .npy header changed its size")
        self._file.close()

    def _write_header(self) -> int:
        shape = (self.count,) if self.width is None else (self.count, self.width)
        header = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(self._file, header)
        self._file.flush()
        return self._file.tell()

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()


def write_array(path: Path, values: np.ndarray) -> None:
    """Write a whole array at once."""
    with ArrayWriter(path, values.dtype, values.shape[1] if values.ndim == 2 else None) as writer:
        writer.append(values)


def chunk_rows(row_bytes: int) -> int:
    """How many rows of ``row_bytes`` one step of a chunked pass may hold."""
    return max(1, COPY_BYTES // max(1, row_bytes))
