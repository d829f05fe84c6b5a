import numpy as np
from numpy.typing import NDArray

def are_members(rows: NDArray[np.uint32], members: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which of ``rows`` stand in ``members``, which ascend. Quickest for rows that ascend too; any order is right."""

def are_tagged(
    rows: NDArray[np.uint32], offsets: NDArray[np.uint64], tags: NDArray[np.uint32], codes: NDArray[np.uint32]
) -> NDArray[np.bool_]:
    """Which of ``rows`` carry one of the tag ``codes``: row r has ``tags[offsets[r] : offsets[r + 1]]``."""
