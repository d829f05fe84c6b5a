"""The frame in which codes of a space see its rows: less a center, and turned, so that few bits tell rows apart.

For l2 a center is taken off: it changes no distance, and rows that lie far from the origin and near to each other have
codes of what parts them. A space may also be turned (``rotate``) by a fixed orthogonal map, which changes neither
products nor distances but spreads a row over all dimensions: a row's codes have one scale, and where a few dimensions
dominate the others would get a step or two. The map is a randomised Hadamard transform (Ailon and Chazelle, The fast
Johnson-Lindenstrauss transform, 2009) of d log d additions; where dimensions are no power of two it is made of
transforms of as many as possible, by turns of the first and of the last. Float32 rows stay as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixline.storage.arrays import chunk_rows, map_array, write_array

ROUNDS = 4  # of parts, where one transform does not cover all dimensions
STREAM = np.uint64(0x9E3779B97F4A7C15)  # of SplitMix64 (Steele, Lea, Flood 2014)


class Frame(NamedTuple):
    """``center`` float32 (dim,), with l2 only, else empty; ``signs`` int8 (rounds, dim) of -1 and 1, or (0, 0)."""

    center: np.ndarray
    signs: np.ndarray

    def place(self, rows: np.ndarray) -> np.ndarray:
        """Float64 ``rows`` (n, dim), for cosine directions, as codes see them: changed in place where that can be."""
        if len(self.center):
            rows = rows - self.center
        return turn(rows, self.signs) if len(self.signs) else rows

    @property
    def turned(self) -> Frame:
        """The same without a center, for rows that are less one already."""
        return Frame(PLAIN.center, self.signs)

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """L2 norms of float32 ``rows`` (n, dim) less the center, float32 (n,)."""
        left = rows.astype(np.float64) - (self.center if len(self.center) else 0.0)
        return np.sqrt(np.einsum("ij,ij->i", left, left)).astype("<f4")


PLAIN = Frame(np.empty(0, dtype="<f4"), np.empty((0, 0), dtype="<i1"))


def turn(rows: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """``rows`` float64 (n, dim) turned. The sums are taken in one written order, which ``kernels/frame.h`` shares."""
    count, dim = rows.shape
    span = 1 << (dim.bit_length() - 1)
    for at, flips in enumerate(signs):
        rows = rows * flips
        first = 0 if at % 2 == 0 else dim - span
        part = np.ascontiguousarray(rows[:, first : first + span].T)  # long runs for every step
        width = 1
        while width < span:
            pairs = part.reshape(span // (2 * width), 2, width, count)
            one, other = pairs[:, 0].copy(), pairs[:, 1]
            pairs[:, 0] += other
            np.subtract(one, other, out=other)
            width *= 2
        rows[:, first : first + span] = part.T * (1.0 / np.sqrt(np.float64(span)))
    return rows


def signs_for(dim: int) -> np.ndarray:
    """The same for every space of ``dim`` on every machine: int8 (rounds, dim)."""
    rounds = 1 if dim & (dim - 1) == 0 else ROUNDS
    with np.errstate(over="ignore"):
        mixed = np.arange(1, rounds * dim + 1, dtype=np.uint64) * STREAM
        mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    bits = (mixed ^ mixed >> np.uint64(31)) >> np.uint64(63)
    return (1 - 2 * bits.astype(np.int8)).reshape(rounds, dim)


def center_for(matrix: np.ndarray) -> np.ndarray:
    """The middle one of each dimension's numbers, of a sample of the rows spread over all, float32 (dim,).

    Unlike the mean it stays where the rows are when a few lie at the end of the world.
    """
    step = -(-len(matrix) // chunk_rows(8 * matrix.shape[1]))
    return np.median(matrix[:: max(1, step)].astype(np.float64), axis=0).astype("<f4")


def write_frame(folder: Path, side: str, metric: str, *, rotate: bool) -> None:
    """Choose the frame of the matrix ``<side>.npy`` that lies in ``folder``, before any of it is coded."""
    matrix, (center_at, signs_at) = map_array(folder / f"{side}.npy"), frame_files(folder)
    if metric == "l2" and len(matrix):
        write_array(center_at, center_for(matrix))
    if rotate:
        write_array(signs_at, signs_for(matrix.shape[1]))


def open_frame(folder: Path) -> Frame:
    """What :func:`write_frame` chose; nothing is done to rows where there is nothing, as in earlier releases."""
    center_at, signs_at = frame_files(folder)
    return Frame(
        map_array(center_at) if center_at.exists() else PLAIN.center,
        map_array(signs_at) if signs_at.exists() else PLAIN.signs,
    )


def frame_files(folder: Path) -> tuple[Path, Path]:
    """Where the center and the signs of a space lie."""
    return folder / "codes_center.npy", folder / "codes_signs.npy"
