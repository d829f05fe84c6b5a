import numpy as np
from numpy.typing import NDArray

def choose_path(isa: str) -> str:
    """Take the code path that goes with an instruction set of :mod:`mixline.kernels.isa` from now on; its name.

    That is ``vnni``, ``avx2``, ``neon`` or ``portable``. A path whose sums differ from the portable one's is not taken.
    All give the same rows.
    """

def rerank_count(k: int) -> int:
    """How many of the best estimates to score on the float32 rows, so that the best ``k`` are hardly ever left out."""

class GraphSearch:
    """Searches one graph, one query after the other; not for two threads at once.

    ``neighbours`` (n, degree) uint32: a shorter list ends with the row itself. ``codes`` (n, dim up to a multiple of
    32) int8. ``factors`` (n, 2) float32: a row stands for ``a`` x codes, and ``b`` is minus half its squared length
    for l2, else 0. ``entries``: the rows where every walk begins. ``center`` (dim + 1,): what was taken off each row,
    then the unit that it was divided by. ``signs`` (rounds, dim): how it was turned after that
    (:func:`~mixline.kernels.frame.placed`), empty if it was not. The arrays are kept. Holds n / 8 bytes, and 8 for
    each entry of the widest beam so far.
    """

    def __init__(
        self,
        neighbours: NDArray[np.uint32],
        codes: NDArray[np.int8],
        factors: NDArray[np.float32],
        entries: NDArray[np.uint32],
        center: NDArray[np.float32],
        signs: NDArray[np.int8] | None = None,
        *,
        metric: str = "dot",
    ) -> None: ...
    def search(
        self, query: NDArray[np.float32], width: int, most: int, *, allowed: NDArray[np.uint64] | None = None
    ) -> NDArray[np.uint32]:
        """The best ``most`` rows that a beam of ``width`` finds, best estimate first; ``start``, ``run`` to the end and
        ``rows`` in one call.
        """

    def start(self, query: NDArray[np.float32], width: int, *, allowed: NDArray[np.uint64] | None = None) -> None:
        """Begin at the entries. ``query`` (dim,), finite. ``width``: how many of the best rows stay in the beam; a
        greater one finds more and takes longer. ``allowed`` is a bitmap as for :func:`~mixline.kernels.scan.scan`:
        other rows are walked through, up to 64 for each of ``width``, and never returned. Kept until the next start.
        """

    def run(self, hops: int) -> bool:
        """Expand up to ``hops`` rows, some microseconds each; True when there is nothing left to expand. No GIL."""

    def rows(self, most: int) -> NDArray[np.uint32]:
        """The best ``most`` rows so far, best estimate first."""

    @property
    def hops(self) -> int:
        """Rows expanded since the start."""

    @property
    def scored(self) -> int:
        """Rows whose codes were read since the start."""
