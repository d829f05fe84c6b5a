"""Int4 codes of an embedding matrix: an eighth of the bytes of its float32 rows, and close enough to choose by.

As in :mod:`mixline.storage.codes` sixteen rows lie together, here eight dimensions at a time (``kernels/nibbles.h``).
They prove nothing about the rows: a scan of them keeps a few times more rows than are wanted, for a second look.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixline.storage.arrays import ArrayWriter, chunk_rows, map_array
from mixline.storage.codes import BLOCK_ROWS, DIM_MAX, QUAD, in_blocks
from mixline.storage.frames import PLAIN, Frame, open_frame
from mixline.storage.progress import Progress

NIBBLES_MIN = 1 << 16  # rows from which a build writes them: below, a scan of int8 codes takes well under a millisecond
OCTET, MOST, ZERO = 8, 7, 8
CLIPS = (1.0, 0.9, 0.8, 0.7)  # of a row's greatest number, tried as what the greatest code stands for


class Nibbles(NamedTuple):
    """``codes`` uint8 (blocks, ceil(dim / 8), 16, 4): in the low half of byte b of octet o the code of dimension
    8 o + b, in the high half that of 8 o + 4 + b, both moved up by 8. ``scales`` float32 (16 blocks)."""

    codes: np.ndarray
    scales: np.ndarray


def encode_nibbles(rows: np.ndarray, metric: str, frame: Frame = PLAIN) -> Nibbles:
    """Codes of float32 ``rows`` (n, dim), for cosine of their directions, in a frame: of a few scales the one that errs
    least."""
    exact = in_blocks(rows, metric, OCTET, frame)[0].astype(np.float32)
    blocks, octets = len(exact) // BLOCK_ROWS, exact.shape[1] // OCTET
    greatest = np.abs(exact).max(axis=1, initial=0.0)
    best, scales = np.full(len(exact), np.inf, dtype=np.float32), np.zeros(len(exact), dtype="<f4")
    codes = np.zeros(exact.shape, dtype=np.int8)
    for clip in CLIPS:
        tried = greatest * np.float32(clip / MOST)
        each = np.rint(exact / np.where(tried == 0, np.float32(1), tried)[:, None]).clip(-MOST, MOST)
        left = exact - each * tried[:, None]
        error = np.einsum("ij,ij->i", left, left)
        better = error < best
        best[better], scales[better], codes[better] = error[better], tried[better], each[better]
    layout = (codes + ZERO).astype(np.uint8).reshape(blocks, BLOCK_ROWS, octets, 2, QUAD).transpose(0, 2, 1, 3, 4)
    return Nibbles(np.ascontiguousarray(layout[..., 0, :] | layout[..., 1, :] << 4), scales)


def decode_nibbles(nibbles: Nibbles, count: int, dim: int) -> np.ndarray:
    """The rows that the codes stand for, float32 (count, dim), in their frame: for cosine their directions."""
    blocks, octets = nibbles.codes.shape[:2]
    both = np.stack([nibbles.codes & 15, nibbles.codes >> 4], axis=3).astype(np.float32) - ZERO
    rows = both.transpose(0, 2, 1, 3, 4).reshape(blocks * BLOCK_ROWS, octets * OCTET)
    return rows[:count, :dim] * nibbles.scales[:count, None]


def write_nibbles(folder: Path, side: str, metric: str, progress: Progress) -> None:
    """Code the matrix ``<side>.npy`` that lies in ``folder``, in chunks; nothing for one wider than DIM_MAX."""
    matrix = map_array(folder / f"{side}.npy")
    count, dim = matrix.shape
    if dim > DIM_MAX:
        return
    step = -(-chunk_rows(32 * dim) // BLOCK_ROWS) * BLOCK_ROWS
    codes_at, scales_at = nibble_files(folder, side)
    frame = open_frame(folder)
    with (
        ArrayWriter(codes_at, "|u1", -(-dim // OCTET) * BLOCK_ROWS * QUAD) as codes,
        ArrayWriter(scales_at, "<f4") as scales,
    ):
        for at in range(0, count, step):
            part = encode_nibbles(matrix[at : at + step], metric, frame)
            codes.append(part.codes.reshape(len(part.codes), -1))
            scales.append(part.scales)
            progress.advance(min(step, count - at))


def open_nibbles(folder: Path, side: str) -> Nibbles | None:
    """Map what :func:`write_nibbles` wrote; None where there is nothing."""
    codes_at, scales_at = nibble_files(folder, side)
    if not codes_at.exists():
        return None
    codes = map_array(codes_at)
    return Nibbles(codes.reshape(len(codes), -1, BLOCK_ROWS, QUAD), map_array(scales_at))


def nibble_files(folder: Path, side: str) -> tuple[Path, Path]:
    """Where codes and scales lie."""
    return folder / f"{side}_int4.npy", folder / f"{side}_int4_scales.npy"
