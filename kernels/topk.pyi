import numpy as np
from numpy.typing import NDArray

class TopK:
    """The best ``k`` rows offered so far: score descending, order key ascending; non-finite scores sink.

    ``k`` may be 0 or exceed the number of rows. The content depends only on the set of rows offered, never on
    their order or on how they were split among heaps.
    """

    k: int
    size: int
    def __init__(self, k: int) -> None: ...
    def __len__(self) -> int: ...
    def offer(self, scores: NDArray[np.float32], rows: NDArray[np.uint32], keys: NDArray[np.uint64]) -> None:
        """Offer rows, each at most once over the life of the heap; ``keys[i]`` is the order key of ``rows[i]``."""
    def merge(self, other: TopK) -> None:
        """Offer everything that ``other`` holds, which must come from rows this heap has not seen."""
    def result(self) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """``(rows, scores)`` of length ``size``, best first. A sunken score reads as -inf. The heap stays usable."""

def top_positions(scores: NDArray[np.float32], keys: NDArray[np.uint64], k: int) -> NDArray[np.uint32]:
    """Positions of the best ``k`` of ``scores``, best first."""
