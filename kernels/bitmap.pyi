import numpy as np
from numpy.typing import NDArray

def all_rows(count: int) -> NDArray[np.uint64]:
    """A bitmap of ceil(count / 64) words with the bits of rows 0 .. count set and no other."""

def clear_rows(words: NDArray[np.uint64], rows: NDArray[np.uint32]) -> None:
    """Clear the bits of ``rows`` in place."""

def holds_rows(words: NDArray[np.uint64], rows: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Whether the bit of each row is set."""
