from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

class Buffer:
    def take(self) -> NDArray[np.uint8]:
        """What was appended; it is empty afterwards."""

class ListWriter:
    """Encodes lists out of the ``runs`` of an inverter. By field: ``lengths`` (uint32 by row), ``norms`` (float32 by
    length: what a word counts less in a long text), and whether its positions are ``stored``."""

    lists: Buffer
    positions: Buffer

    def __init__(
        self,
        runs: Sequence[tuple[np.ndarray, ...]],
        lengths: Sequence[NDArray[np.uint32]],
        norms: Sequence[NDArray[np.float32]],
        stored: Sequence[bool],
    ) -> None: ...
    def write(
        self,
        terms: NDArray[np.uint32],
        counts: NDArray[np.uint32],
        list_ends: NDArray[np.uint64],
        position_ends: NDArray[np.uint64],
    ) -> None:
        """Append the lists of ``terms``; their numbers of rows, and where lists and positions end, are written out."""
