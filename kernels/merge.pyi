import numpy as np
from numpy.typing import NDArray

def merge_parts(
    found: list[tuple[int, int, NDArray[np.uint32], NDArray[np.float32]]], sources: int, keys: NDArray[np.uint64]
) -> tuple[
    NDArray[np.uint32],
    NDArray[np.uint32],
    NDArray[np.uint64],
    NDArray[np.uint64],
    NDArray[np.uint32],
    NDArray[np.float32],
]:
    """``(group, row, key, source bits, rank, scores)``, one entry for each (group, row), in that order.

    A part is (source, group, rows, scores), best first; sources number 0 .. ``sources``, at most 64, and ``scores`` is
    (sources, n), NaN where a source did not bring the candidate. The rank is the best in any part. A part that brings a
    row several times counts with the last of them.
    """
