import numpy as np
from numpy.typing import NDArray

def choose_path(simd: str) -> str:
    """Take the code path that goes with ``avx512``, ``avx2`` or ``portable``; its name: ``vnni``, ``avx2``,
    ``portable``. A path whose sums differ from the portable one's is not taken. All give the same bits.
    """

class Shortlist:
    """Every row that may be among the best ``k`` for ``query`` (dim,), float32, finite.

    Exact: scoring :meth:`rows` on the float32 rows gives what a scan of all rows gives, whatever the rows. ``wide`` is
    True when the bounds of the codes leave so many rows that the float32 scan is as good; then ``rows`` is of no use.
    """

    k: int
    wide: bool

    def __init__(self, query: NDArray[np.float32], k: int, *, metric: str = "dot") -> None: ...
    def scan(
        self,
        codes: NDArray[np.int8],
        scales: NDArray[np.float32],
        bounds: NDArray[np.float32],
        count: int,
        *,
        norms: NDArray[np.float32] | None = None,
        allowed: NDArray[np.uint64] | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        """Go over blocks ``start .. stop`` of 16 rows each; every block once, in any order.

        ``codes`` (blocks, ceil(dim / 4), 16, 4): for every four dimensions four codes of each row. ``scales``
        (16 x blocks,) by row. ``bounds`` (blocks, 2): the greatest length of what the codes leave out of a row, and of
        a coded row. ``count``: rows, the last block may be part empty. ``norms`` (count,) for l2. ``allowed``: a bitmap
        as for :func:`~mixline.kernels.scan.scan`. Holds no GIL. Raises
        :class:`~mixline.kernels.errors.KernelArgumentError` when the arguments do not fit together.
        """

    def rows(self) -> NDArray[np.uint32]:
        """The rows so far, in the order in which they were met."""
