import numpy as np
from numpy.typing import NDArray

class ListSearch:
    """Searches of one index of inverted lists, one query at a time; made once and used again and again.

    ``centroids`` and ``codes`` are int8 codes as for :func:`~mixline.kernels.shortlist.scan_together`, with a scale
    each (``centroid_scales``, ``scales``). List l has the blocks ``starts[l] .. starts[l + 1]`` of ``codes``; ``rows``
    says which row of ``matrix`` lies in each place, 0xFFFFFFFF for none. ``centroid_norms`` (lists,) and, for l2
    alone, ``norms`` by place (infinity for none; empty otherwise) and ``center`` (dim,), which was taken off all rows
    and centroids (empty otherwise). ``signs`` (rounds, dim): how both were turned before they were coded, empty if they
    were not (:func:`~mixline.kernels.frame.placed`). ``matrix`` (n, dim), ``keys`` (n,) and
    ``matrix_norms`` (n,) are as for :func:`~mixline.kernels.scan.scan`. ``lists_of`` (n,): the list of each row; what
    is no list's number lies in none. ``spreads`` (lists,), for dot alone: lists are ranked as if their best rows scored
    twice that times the query's length above their centroids. Rows must be below n: they are not looked at here. For
    cosine the centroids are directions. Raises :class:`~mixline.kernels.errors.KernelArgumentError` when the arguments
    do not fit together.
    """

    @property
    def k(self) -> int: ...
    @property
    def scored(self) -> int:
        """Places, or allowed rows, that were gone over for the query so far."""

    @property
    def sifted(self) -> int:
        """Rows that were allowed and in the lists, by places or by rows: scored so far."""

    def __init__(
        self,
        centroids: NDArray[np.int8],
        centroid_scales: NDArray[np.float32],
        centroid_norms: NDArray[np.float32],
        starts: NDArray[np.uint32],
        codes: NDArray[np.int8],
        scales: NDArray[np.float32],
        rows: NDArray[np.uint32],
        norms: NDArray[np.float32],
        center: NDArray[np.float32],
        signs: NDArray[np.int8] | None = None,
        lists_of: NDArray[np.uint32] | None = None,
        spreads: NDArray[np.float32] | None = None,
        *,
        matrix: NDArray[np.float32],
        keys: NDArray[np.uint64],
        matrix_norms: NDArray[np.float32],
        metric: str = "dot",
    ) -> None: ...
    def begin(
        self,
        query: NDArray[np.float32],
        k: int,
        width: int,
        *,
        keep: int | None = None,
        allowed: NDArray[np.uint64] | None = None,
        by: str = "codes",
    ) -> None:
        """Rank the lists for ``query`` (dim,) and take the nearest ``width``. ``keep``: rows whose estimates are the
        best and that :meth:`result` scores, 1.25 k + 16 unless told. ``allowed``: a bitmap by row. Ends the query
        before.

        ``by``: "codes" reads the codes of the lists and asks the bitmap for what they keep; "places" asks it for every
        place and "rows" every allowed row for its list, and both score all that is left, so they keep nothing.
        """

    def advance(self, lists: int = ...) -> bool:
        """Go over up to ``lists`` of those that are left; whether some still are. Holds no GIL."""

    def rows(self) -> NDArray[np.uint32]:
        """The rows that are kept so far, for the second look."""

    def result(self) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Rows and float32 scores of the best ``k`` so far, best first: of its rows what a scan of them gives."""

    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        width: int,
        *,
        keep: int | None = None,
        allowed: NDArray[np.uint64] | None = None,
        by: str = "codes",
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """All of it at once."""
