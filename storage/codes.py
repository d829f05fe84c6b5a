"""Int8 codes of an embedding matrix, beside its float32 rows: what a scan reads first, at a quarter of the bytes.

A row is scale x codes, with codes in -127 .. 127 and one scale per row; for cosine the row's direction is coded and not
the row. What is coded is a row in its space's frame (:mod:`mixline.storage.frames`). Sixteen rows lie together, four
dimensions at a time (``kernels/codes.h`` says why), and each such block knows the greatest length of what its codes
leave out and of its coded rows, both rounded up.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixline.storage.arrays import ArrayWriter, chunk_rows, map_array
from mixline.storage.frames import PLAIN, Frame, open_frame
from mixline.storage.growing import Arrays
from mixline.storage.progress import Progress

BLOCK_ROWS, QUAD, MOST = 16, 4, 127
DIM_MAX = 1 << 16  # so that the sum of a row's products fits 32 bits
NORMAL = 1e18  # cosines of rows this long or short are left to the float32 kernel


class Codes(NamedTuple):
    """``codes`` int8 (blocks, ceil(dim / 4), 16, 4), ``scales`` float32 (16 blocks), ``bounds`` float32 (blocks, 2)."""

    codes: np.ndarray
    scales: np.ndarray
    bounds: np.ndarray


def encode(rows: np.ndarray, metric: str, frame: Frame = PLAIN) -> Codes:
    """Codes of float32 ``rows`` (n, dim) in a frame; the last block is filled up with rows of zeros."""
    exact, odd = in_blocks(rows, metric, QUAD, frame)
    blocks, quads = len(exact) // BLOCK_ROWS, exact.shape[1] // QUAD
    scales = (np.abs(exact).max(axis=1, initial=0.0) / MOST).astype("<f4")
    wide = scales.astype(np.float64)[:, None]
    codes = np.rint(exact / np.where(wide == 0, 1.0, wide)).clip(-MOST, MOST) * (wide != 0)
    coded = codes * wide
    exact -= coded
    bounds = np.stack([np.sqrt(np.einsum("ij,ij->i", one, one)) for one in (exact, coded)], axis=1)
    bounds[odd, 0] = np.inf
    bounds = bounds.reshape(blocks, BLOCK_ROWS, 2).max(axis=1, initial=0.0)
    layout = codes.astype(np.int8).reshape(blocks, BLOCK_ROWS, quads, QUAD).transpose(0, 2, 1, 3)
    return Codes(np.ascontiguousarray(layout), scales, np.nextafter(bounds.astype("<f4"), np.float32(np.inf)))


def in_blocks(rows: np.ndarray, metric: str, width: int, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """What is to be coded, float64, in whole blocks and groups of ``width`` dimensions; and whose cosine in float32 may
    be far off."""
    count, dim = rows.shape
    exact = np.zeros((-(-count // BLOCK_ROWS) * BLOCK_ROWS, -(-dim // width) * width))
    exact[:count, :dim] = rows
    odd = np.zeros(len(exact), dtype=bool)
    if metric == "cosine":
        lengths = np.sqrt(np.einsum("ij,ij->i", exact, exact))
        odd = (lengths != 0) & ((lengths < 1 / NORMAL) | (lengths > NORMAL))
        exact /= np.where(lengths == 0, 1.0, lengths)[:, None]
    exact[:count, :dim] = frame.place(exact[:count, :dim])
    return exact, odd


def decode(codes: Codes, count: int, dim: int) -> np.ndarray:
    """The rows that the codes stand for, float32 (count, dim), in their frame: for cosine their directions."""
    blocks, quads = codes.codes.shape[:2]
    rows = codes.codes.transpose(0, 2, 1, 3).reshape(blocks * BLOCK_ROWS, quads * QUAD)
    return (rows[:count, :dim] * codes.scales[:count, None]).astype(np.float32)


def write_codes(folder: Path, side: str, metric: str, progress: Progress) -> None:
    """Code the matrix ``<side>.npy`` that lies in ``folder``, in chunks; none for one wider than DIM_MAX or empty."""
    matrix = map_array(folder / f"{side}.npy")
    count, dim = matrix.shape
    if dim > DIM_MAX or not count:
        return
    step = -(-chunk_rows(32 * dim) // BLOCK_ROWS) * BLOCK_ROWS
    quads, frame = -(-dim // QUAD), open_frame(folder)
    codes_at, scales_at, bounds_at = files(folder, side)
    with (
        ArrayWriter(codes_at, "<i1", quads * BLOCK_ROWS * QUAD) as codes,
        ArrayWriter(scales_at, "<f4") as scales,
        ArrayWriter(bounds_at, "<f4", 2) as bounds,
        ArrayWriter(norms_file(folder, side), "<f4") if len(frame.center) else nullcontext() as norms,
    ):
        for at in range(0, count, step):
            rows = matrix[at : at + step]
            part = encode(rows, metric, frame)
            codes.append(part.codes.reshape(len(part.codes), -1))
            scales.append(part.scales)
            bounds.append(part.bounds)
            if norms is not None:
                norms.append(frame.lengths(rows))
            progress.advance(len(rows))


def open_codes(folder: Path, side: str, arrays: Arrays | None = None, base: int = 0) -> Codes | None:
    """Map what :func:`write_codes` wrote, with room for rows from ``base`` on where ``arrays`` have it.

    None where there is nothing, as in stores of earlier releases.
    """
    codes_at, scales_at, bounds_at = files(folder, side)
    if not codes_at.exists():
        return None
    arrays = arrays or Arrays()
    codes = arrays.blocks(codes_at, base)
    codes = codes.reshape(len(codes), -1, BLOCK_ROWS, QUAD)
    return Codes(codes, arrays.rows(scales_at, base), arrays.blocks(bounds_at, base))


def rows_of_codes(codes: Codes, start: int, stop: int) -> Codes:
    """The codes of rows ``start``, a multiple of 16, to ``stop``, with what fills up their last block."""
    first, last = start // BLOCK_ROWS, -(-stop // BLOCK_ROWS)
    scales = codes.scales[first * BLOCK_ROWS : last * BLOCK_ROWS]
    return Codes(codes.codes[first:last], scales, codes.bounds[first:last])


def files(folder: Path, side: str) -> tuple[Path, Path, Path]:
    """Where codes, scales and bounds lie."""
    return folder / f"{side}_int8.npy", folder / f"{side}_int8_scales.npy", folder / f"{side}_int8_bounds.npy"


def norms_file(folder: Path, side: str) -> Path:
    """Where the L2 norms of rows less the center lie, if the frame has one."""
    return folder / f"{side}_int8_norms.npy"
