import numpy as np
from numpy.typing import NDArray

def choose_path(isa: str) -> str:
    """Take the code path that goes with an instruction set of :mod:`mixline.kernels.isa`; its name.

    That is ``avx512``, ``avx2`` or ``portable``. All choose the same candidates.
    """

def path() -> str:
    """The name of the path in use."""

class Pool:
    """Candidates in the order of their worth, with vectors of length 1: row ``rows[i]`` of ``matrix`` (n, dim) divided
    by ``norms`` (n,), both float32. One whose norm is 0 or no finite number has no vector and is like no other.

    ``size`` candidates, ``without`` of them without a vector. Not to be used by two threads at once. Each method
    returns at most ``k`` places (int64) in ``rows`` in the order in which they were taken; of equal values the first is
    taken. Raises :class:`~mixline.kernels.errors.KernelArgumentError` when the arguments do not fit together.
    """

    size: int
    without: int

    def __init__(self, matrix: NDArray[np.float32], rows: NDArray[np.uint32], norms: NDArray[np.float32]) -> None: ...
    def mmr(self, relevance: NDArray[np.float32], k: int, trade: float) -> NDArray[np.int64]:
        """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): ``trade * relevance - (1 - trade) * (the
        greatest cosine with one that was taken)``; for the first the relevance alone."""

    def dpp(self, quality: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], int]:
        """Greedy MAP of the determinantal point process with the kernel ``quality_i * cosine * quality_j`` (Chen, Zhang
        and Zhou, NeurIPS 2018, algorithm 1), and how many were taken so: once no candidate adds a direction the rest
        are the first of the pool."""

    def ssd(self, relevance: NDArray[np.float32], k: int, gamma: float, window: int) -> NDArray[np.int64]:
        """Sliding spectrum decomposition (Huang et al., KDD 2021, algorithm 1): ``relevance + gamma * volume``, the
        volume spanned with the ``window - 1`` that were taken last."""

    def alike(self, least: float) -> NDArray[np.bool_]:
        """Which of the ``size`` have a cosine of at least ``least`` with one that stands before them and is not itself
        such a one."""
