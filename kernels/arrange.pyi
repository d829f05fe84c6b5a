import numpy as np
from numpy.typing import NDArray

def arrange(
    kinds: NDArray[np.uint64], flagged: NDArray[np.bool_], wants: NDArray[np.uint64], gap: int
) -> tuple[NDArray[np.int64], int, int]:
    """Candidates (n, the best first) for as many places as ``wants`` has, and how often what was given up.

    ``kinds``: a bit for each kind that a candidate is of; ``wants``: by place the kinds that it may be of, 0 for any.
    Two ``flagged`` candidates are at least ``gap`` places apart. Each place takes the first candidate left that fits;
    where none does the kind is given up, then the distance, then both.
    """
