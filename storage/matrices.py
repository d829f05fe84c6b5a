"""Embedding matrices: the user's ``.npy`` file checked, converted to float32 and copied in chunks, with its norms."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mixline.storage.arrays import ArrayWriter, chunk_rows
from mixline.storage.complaints import Complaints
from mixline.storage.progress import Progress

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


def copy_matrix(
    source: np.ndarray, folder: Path, side: str, path: Path, key: str, complaints: Complaints, progress: Progress
) -> None:
    """Write ``<side>.npy`` and ``<side>_norms.npy`` (side without its plural s); complain of non-finite rows.

    Several vectors of one user become rows that follow one another.
    """
    count, dim = len(source), source.shape[-1]
    several = source.shape[1] if source.ndim == 3 else 1
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
