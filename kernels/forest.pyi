from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixline.kernels.forest_layout import Trees

def choose_path(isa: str) -> str:
    """Take the code path that goes with an instruction set of :mod:`mixline.kernels.isa`; its name.

    That is ``avx512bw`` (where there is VNNI), ``avx2`` or ``portable``. All return the same bits.
    """

def path() -> str:
    """The name of the path in use."""

class Forest:
    """Decision trees laid out to be summed; immutable, so that threads and requests share it.

    Raises :class:`~mixline.kernels.errors.KernelArgumentError` when the arrays make no forest.
    """

    features: int
    trees: int
    nodes: int

    def __init__(self, trees: Trees) -> None: ...
    def predict(self, columns: Sequence[NDArray[Any]], start: float = 0.0) -> NDArray[np.float64]:
        """``start`` plus the leaf of every tree, added tree by tree in the forest's precision; float64, one per row.

        One column (n,) for each feature in its order; contiguous float32 and float64 are read where they lie, others
        are copied to float64. Holds no GIL, and takes about a millisecond for 32 million nodes times rows.
        """
