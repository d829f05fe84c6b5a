"""The float32 columns of a catalogue, interleaved: one matrix by row, so that the features of an item share a line.

Hydration gathers a few hundred scattered rows of every feature; with one file per column each value is a cache miss
of its own, here the first column pays and the others find their values beside it. A column is a strided view.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mixline.storage.arrays import COPY_BYTES, ArrayWriter, map_array
from mixline.storage.growing import Arrays

FILE = "interleaved.f32.npy"


def interleave(folder: Path, names: Sequence[str]) -> None:
    """Fold ``<name>.npy`` of every name into one (rows, len(names)) matrix, in chunks, and remove the single files."""
    if not names:
        return
    columns = [map_array(folder / f"{name}.npy") for name in names]
    step = max(1, COPY_BYTES // (4 * len(names)))
    with ArrayWriter(folder / FILE, "<f4", len(names)) as matrix:
        for start in range(0, len(columns[0]), step):
            matrix.append(np.stack([column[start : start + step] for column in columns], axis=1))
    for name in names:
        (folder / f"{name}.npy").unlink()


def open_interleaved(folder: Path, names: Sequence[str], arrays: Arrays, base: int) -> dict[str, np.ndarray]:
    """Each column as a strided view (rows,) of the mapped matrix."""
    matrix = arrays.rows(folder / FILE, base)
    return {name: matrix[:, at] for at, name in enumerate(names)}
