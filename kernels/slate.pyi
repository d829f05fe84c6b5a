from typing import Any

import numpy as np
from numpy.typing import NDArray

def live_positions(fate: NDArray[np.uint8], live: int) -> NDArray[np.int64]:
    """Positions whose fate is ``live``, ascending."""

def drop(fate: NDArray[np.uint8], dropped: NDArray[np.bool_], live: int, reason: int) -> tuple[int, int]:
    """Give those ``live`` that are ``dropped`` the fate ``reason``; returns how many live ones were (kept, removed)."""

def settle(fate: NDArray[np.uint8], slate: NDArray[np.int64], live: int, reserve: int, served: int) -> None:
    """Whoever is ``live`` becomes ``reserve``; then the positions of ``slate`` become ``served``."""

def best_positions(
    scores: NDArray[Any], keys: NDArray[np.uint64], positions: NDArray[Any], k: int
) -> NDArray[np.int64]:
    """The best ``k`` of ``positions``, best first, by ``scores`` (rounded to float32) and ``keys``.

    Scores and keys are columns of the block: an entry per candidate. Score descending, order key ascending, what stands
    first in ``positions`` first; non-finite scores sink.
    """
