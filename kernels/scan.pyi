import numpy as np
from numpy.typing import NDArray

from mixline.kernels.topk import TopK

METRICS: dict[str, int]

def choose_path(isa: str) -> str:
    """Take the code path that goes with an instruction set of :mod:`mixline.kernels.isa`; its name.

    That is ``avx512``, ``avx2`` or ``portable``, which on ARM is compiled to NEON. All return the same bits.
    """

def path() -> str:
    """The name of the path in use."""

def scan(
    matrix: NDArray[np.float32],
    query: NDArray[np.float32],
    heap: TopK,
    keys: NDArray[np.uint64],
    *,
    metric: str = "dot",
    norms: NDArray[np.float32] | None = None,
    allowed: NDArray[np.uint64] | None = None,
    start: int = 0,
    stop: int | None = None,
) -> None:
    """Push rows ``start .. stop`` of ``matrix`` (n, dim), C-contiguous, scored against ``query`` (dim,) into ``heap``.

    ``keys`` (n,) are the order keys by row. ``allowed`` is a bitmap of ceil(n / 64) words, bit ``row & 63`` of word
    ``row >> 6``; rows whose bit is 0 are neither read nor scored. ``metric``: ``dot``; ``cosine`` (needs ``norms``
    (n,), a zero norm scores 0); ``l2`` (minus the squared Euclidean distance). Holds no GIL while it scans.
    Raises :class:`~mixline.kernels.errors.KernelArgumentError` when the arguments do not fit together.
    """

def scan_listed(
    matrix: NDArray[np.float32],
    query: NDArray[np.float32],
    heap: TopK,
    keys: NDArray[np.uint64],
    rows: NDArray[np.uint32],
    *,
    metric: str = "dot",
    norms: NDArray[np.float32] | None = None,
) -> None:
    """Push the listed ``rows`` of ``matrix``, each once, as :func:`scan` would."""

def score_rows(
    matrix: NDArray[np.float32],
    query: NDArray[np.float32],
    rows: NDArray[np.uint32],
    *,
    metric: str = "dot",
    norms: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Scores (len(rows),) of the listed rows, the same bits that :func:`scan` gives them."""
