"""The dense layer said slowly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dense(
    rows: NDArray[np.float32], weights: NDArray[np.float32], bias: NDArray[np.float32], rectify: bool = False
) -> NDArray[np.float32]:
    """Twin of :meth:`~mixline.kernels.dense.Layer.apply`."""
    sums = np.zeros((len(rows), weights.shape[1]), dtype=np.float32)
    with np.errstate(all="ignore"):
        for at in range(weights.shape[0]):
            sums += rows[:, at : at + 1] * weights[at]
        found = sums + bias
    return np.where(found < 0, np.float32(0), found) if rectify else found
