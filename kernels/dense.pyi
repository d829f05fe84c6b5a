import numpy as np
from numpy.typing import NDArray

def choose_path(isa: str) -> str:
    """Take the code path that goes with an instruction set of :mod:`mixline.kernels.isa`; its name.

    That is ``avx512``, ``avx2`` or ``portable``. All return the same bits.
    """

def path() -> str:
    """The name of the path in use."""

class Layer:
    """``weights`` (inputs, outputs) and ``bias`` (outputs,) of a dense layer, both float32. May be used by several
    threads at once. Raises :class:`~mixline.kernels.errors.KernelArgumentError` when they do not fit together."""

    inputs: int
    outputs: int

    def __init__(self, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> None: ...
    def apply(self, rows: NDArray[np.float32], rectify: bool = False) -> NDArray[np.float32]:
        """``rows @ weights + bias`` (n, outputs) of ``rows`` (n, inputs), C-contiguous, inputs added in their order in
        float32 and the bias last; ``rectify``: what is below 0 becomes 0. Holds no GIL."""
