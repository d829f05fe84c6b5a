from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

def gather(columns: Sequence[NDArray[Any]], rows: NDArray[np.uint32]) -> list[NDArray[Any]]:
    """``[column[rows] for column in columns]``: one array of len(rows) per column, of the column's dtype.

    Columns are one-dimensional, contiguous or strided, with cells of 1, 4 or 8 bytes, by row. Raises
    :class:`~mixline.kernels.errors.KernelArgumentError` on a row outside a column.
    """
