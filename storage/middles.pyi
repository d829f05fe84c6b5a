import numpy as np
from numpy.typing import NDArray

def add_up(
    sums: NDArray[np.float64], counts: NDArray[np.int64], rows: NDArray[np.float32], found: NDArray[np.uint32]
) -> None:
    """Add ``rows`` (n, dim), one after the other, to the ``sums`` (many, dim) of the centroids in which they were
    ``found`` (n,), and one to each's ``counts`` (many,). Raises :class:`ValueError` when the arguments do not fit
    together, before anything is added."""
