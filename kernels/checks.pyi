from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

def fits(rows: Any, scores: Any, count: int) -> bool:
    """Whether ``rows`` and ``scores`` are contiguous uint32 and float32 arrays, equally long, rows below ``count``."""

def misfit(columns: dict[str, Any], names: Iterable[str], count: int) -> str | None:
    """The first of ``names`` whose column is no one-dimensional array of ``count`` entries; None: all are."""

def is_choice(taken: NDArray[np.int64], offered: NDArray[np.int64], count: int) -> bool:
    """Whether ``taken`` holds only positions of ``offered``, each once; all lie in ``0 .. count``."""
