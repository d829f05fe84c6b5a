import numpy as np
from numpy.typing import NDArray

def rows_of(words: NDArray[np.uint64], start: int, stop: int) -> NDArray[np.uint32]:
    """The rows, ascending, whose bits are set in words ``start`` .. ``stop`` of a bitmap."""

def count_codes(
    words: NDArray[np.uint64],
    start: int,
    stop: int,
    codes: NDArray[np.uint8] | NDArray[np.uint32],
    counts: NDArray[np.int64],
) -> None:
    """Add to ``counts[code]`` how many rows of words ``start`` .. ``stop`` have each code; codes beyond its end, as
    that of a missing value, are not counted. Raises :class:`~mixline.kernels.errors.KernelArgumentError` for a row
    without."""

def count_tags(
    words: NDArray[np.uint64],
    start: int,
    stop: int,
    offsets: NDArray[np.uint32] | NDArray[np.uint64],
    codes: NDArray[np.uint32],
    counts: NDArray[np.int64],
) -> None:
    """The same, of rows that have codes ``codes[offsets[row]:offsets[row + 1]]``."""
