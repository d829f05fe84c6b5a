from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def blend(columns: Sequence[NDArray[np.floating]], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of weight x column in float64, added in this order; NaN counts as 0. Columns: float32 or float64 (n,)."""

def is_choice(taken: NDArray[np.int64], offered: NDArray[np.int64], count: int) -> bool:
    """Whether ``taken`` holds only positions of ``offered``, each once; all lie in ``0 .. count``."""
