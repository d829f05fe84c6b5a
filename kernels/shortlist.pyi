from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TOGETHER_MAX: int

class Shortlist:
    """Every row that may be among the best ``k`` for ``query`` (dim,), float32, finite.

    Exact: scoring :meth:`rows` on the float32 rows gives what a scan of all rows gives, whatever the rows. ``wide`` is
    True when the bounds of the codes leave so many rows that the float32 scan is as good; then ``rows`` is of no use.
    With ``guess`` a sample of the rows tells where to begin, which saves half of the work beside the products. Once in
    many thousand queries it tells wrong: ``missed`` is True, rows may be missing, and another without it must be made.

    With ``keep``, at least ``k``, nothing is certain and no bounds are read: the rows of the best ``keep`` estimates
    are kept, or an eighth more. That is cheaper, and as good as exact when ``keep`` is 1.5 k and rows are not all but
    equal. Of equal estimates those met first are kept. Rows that overflow float32 may be lost.

    ``center`` (dim,), with l2 alone, and ``signs`` (rounds, dim): what was done to the rows before they were coded
    (:func:`~mixline.kernels.frame.placed`); the query is treated alike.
    """

    @property
    def k(self) -> int: ...
    @property
    def wide(self) -> bool: ...
    @property
    def missed(self) -> bool: ...
    @property
    def certified(self) -> bool:
        """Whether the rows are sure to hold the exact best k: not with ``keep``, when ``wide`` or when ``missed``."""

    @property
    def widening(self) -> float:
        """How many rows are kept, in k: what the bounds of the codes cost. Least after :meth:`rows`."""

    def __init__(
        self,
        query: NDArray[np.float32],
        k: int,
        *,
        metric: str = "dot",
        guess: bool = True,
        keep: int | None = None,
        center: NDArray[np.float32] | None = None,
        signs: NDArray[np.int8] | None = None,
    ) -> None: ...
    def scan(
        self,
        codes: NDArray[np.int8] | NDArray[np.uint8],
        scales: NDArray[np.float32],
        bounds: NDArray[np.float32] | None,
        count: int,
        *,
        norms: NDArray[np.float32] | None = None,
        allowed: NDArray[np.uint64] | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        """Go over blocks ``start .. stop`` of 16 rows each; every block once, in any order.
        Holds no GIL. As :func:`scan_together` for one.
        """

    def rows(self) -> NDArray[np.uint32]:
        """The rows so far, in the order in which they were met."""

def scan_together(
    shortlists: Sequence[Shortlist],
    codes: NDArray[np.int8] | NDArray[np.uint8],
    scales: NDArray[np.float32],
    bounds: NDArray[np.float32] | None,
    count: int,
    *,
    norms: NDArray[np.float32] | None = None,
    allowed: Sequence[NDArray[np.uint64] | None] | None = None,
    start: int = 0,
    stop: int | None = None,
) -> None:
    """Bring up to ``TOGETHER_MAX`` shortlists over the blocks in one pass: each byte comes from memory once.

    ``codes`` (blocks, ceil(dim / 4), 16, 4) int8: for every four dimensions four codes of each row; or (blocks,
    ceil(dim / 8), 16, 4) uint8: int4 codes, eight dimensions in four bytes, for shortlists with ``keep`` alone.
    ``scales`` (16 x blocks,) by row. ``bounds`` (blocks, 2): the greatest length of what the codes leave out of a row,
    and of a coded row; not needed with ``keep``. ``count``: rows, the last block may be part empty. ``norms`` (count,)
    for l2, of the rows less the center that the shortlists have. ``allowed``: for each shortlist a bitmap as for
    :func:`~mixline.kernels.scan.scan`, or None. Holds no GIL.
    Raises :class:`~mixline.kernels.errors.KernelArgumentError` when the arguments do not fit together.
    """
