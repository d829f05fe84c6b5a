from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

def blend(columns: Sequence[NDArray[Any]], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Sum of weight x column, added in float64 in this order, rounded once to float32; NaN counts as 0.

    Columns (n,) of contiguous float32 or float64 are read where they lie, others are copied to float64. A sum beyond
    float32 is an infinity.
    """

def floats(columns: dict[str, Any], names: Iterable[str]) -> list[NDArray[Any]] | None:
    """The named columns when all of them are there and can be read in place: contiguous float32 or float64."""

def numbers(values: NDArray[Any], missing: int) -> NDArray[np.float64]:
    """``values`` (contiguous int64, uint32 or uint8) as float64, NaN where they are ``missing``."""
