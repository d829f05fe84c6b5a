"""Embedding matrices: the user's ``.npy`` file checked, converted to float32 and copied in chunks, with its norms."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from mixline.storage.arrays import ArrayWriter, chunk_rows, write_array
from mixline.storage.complaints import Complaints
from mixline.storage.progress import Progress


class Rows(Protocol):
    """A matrix that is read in slices: (count, dim), of users also (count, vectors of each, dim)."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


FLOATS = ("f2", "f4", "f8")
VECTORS_MAX = 64  # of one user


def open_matrix(path: Path, key: str, count: int | None, dim: int | None, complaints: Complaints) -> np.ndarray | None:
    """Map a matrix of ``count`` rows and ``dim`` columns, where told; None if it is no matrix, after a complaint.

    That of users may have a dimension between the two: several vectors for each.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    except (OSError, ValueError, EOFError) as error:
        complaints.add(path, key, f"cannot be read: {getattr(error, 'strerror', None) or error}")
        return None
    several = found.ndim == 3 and key.endswith(".users") and 1 <= found.shape[1] <= VECTORS_MAX
    if not (found.ndim == 2 or several) or not found.shape[-1] or found.dtype.str[1:] not in FLOATS:
        what = f"holds {found.dtype} of shape {found.shape}; it must be a matrix of float16, float32 or float64"
        complaints.add(path, key, f"{what}, and of users may be (users, 1 to {VECTORS_MAX} vectors of each, dim)")
        return None
    if count is not None and len(found) != count:
        complaints.add(path, key, f"has {len(found)} rows, and there are {count}: one row for each, in file order")
    if dim is not None and found.shape[-1] != dim:
        complaints.add(path, key, f"has {found.shape[-1]} columns instead of {dim}")
    return found


def leave_out(folder: Path, side: str, rows: np.ndarray, each: int) -> None:
    """Note in ``<side>_given.npy`` (a bitmap, uint64 words) that ``rows`` have no vector, and make theirs NaN, those of
    one user ``each``; nothing where all have one. Codes and indexes keep a place for them, which is never asked for."""
    if not len(rows):
        return
    matrix = np.load(folder / f"{side}.npy", mmap_mode="r+", allow_pickle=False)
    norms = np.load(folder / f"{side[:-1]}_norms.npy", mmap_mode="r+", allow_pickle=False)
    places = (rows.astype(np.int64)[:, None] * each + np.arange(each)).reshape(-1)
    matrix[places] = np.nan
    norms[places] = np.nan
    matrix.flush()
    norms.flush()
    given = np.ones(len(matrix) // each, dtype=bool)
    given[rows] = False
    write_array(folder / f"{side}_given.npy", bitmap(given))


def bitmap(flags: np.ndarray) -> np.ndarray:
    """Bools as uint64 words, the first in the lowest bit."""
    packed = np.packbits(flags, bitorder="little")
    words = np.zeros(-(-len(flags) // 64), dtype="<u8")
    words.view(np.uint8)[: len(packed)] = packed
    return words


def copy_matrix(
    source: Rows, folder: Path, side: str, path: Path, key: str, complaints: Complaints, progress: Progress
) -> None:
    """Write ``<side>.npy`` and ``<side>_norms.npy`` (side without its plural s); complain of non-finite rows.

    Several vectors of one user become rows that follow one another.
    """
    count, dim = len(source), source.shape[-1]
    several = source.shape[1] if len(source.shape) == 3 else 1
    step = chunk_rows(8 * dim * several)
    with (
        ArrayWriter(folder / f"{side}.npy", "<f4", dim) as rows,
        ArrayWriter(folder / f"{side[:-1]}_norms.npy", "<f4") as norms,
    ):
        for at in range(0, count, step):
            with np.errstate(over="ignore"):
                part = np.ascontiguousarray(source[at : at + step], dtype="<f4").reshape(-1, dim)
            bad = np.flatnonzero(~np.isfinite(part).all(axis=1))
            if len(bad):
                examples = [f"row {at + int(one) // several + 1}" for one in bad[:3]]
                complaints.count(path, key, "a vector holds NaN or infinity", len(bad), examples)
            rows.append(part)
            norms.append(np.sqrt(np.einsum("ij,ij->i", part, part, dtype=np.float64)))
            progress.advance(len(part) // several)
