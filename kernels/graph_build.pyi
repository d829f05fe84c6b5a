from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

def choose_path(isa: str) -> str:
    """As :func:`mixline.kernels.graph_search.choose_path`, for graphs built from now on. All give the same graph."""

def link(
    codes: NDArray[np.int8],
    factors: NDArray[np.float32],
    degree: int,
    *,
    width: int = 96,
    alpha: float = 1.2,
    slack: int = 16,
    entries: int = 0,
    threads: int = 1,
    advance: Callable[[int], object] | None = None,
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Link each row to up to ``degree`` others: (neighbours (n, degree), entries), from which all rows are reached.

    ``codes`` (n, a multiple of 32) int8, a row standing for ``a`` x codes, then for dot one dimension ``e`` more that
    brings all rows to one length (Bachrach et al., 2014). ``factors`` (n, 4) float32: a, minus half the squared length
    with e, e, 0. ``width`` is the beam that finds a row's candidates, ``alpha`` by how much nearer to a chosen one a
    candidate must lie to be dropped, ``slack`` how many more than ``degree`` a row holds while the graph grows.
    ``entries``: how many there are at first, 0: the root of n; up to seven times as many more are rows of a sample
    that a walk with a beam of 32 came not near to. ``advance`` is told how many rows a round brought in.
    The result does not depend on ``threads``. Takes 4 (degree + slack) + 8 bytes a row, and n / 8 bytes a thread.
    """

def shuffled(count: int) -> NDArray[np.uint32]:
    """The order in which ``count`` rows are brought in."""
