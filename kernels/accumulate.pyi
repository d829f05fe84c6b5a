import numpy as np
from numpy.typing import NDArray

class Scratch:
    """Working memory of :func:`accumulate`, kept between calls by its one caller; not for two threads at once."""

def accumulate(
    indptr: NDArray[np.int64],
    indices: NDArray[np.uint32],
    weights: NDArray[np.float32] | None,
    seed_rows: NDArray[np.uint32],
    seed_weights: NDArray[np.float32],
    scratch: Scratch,
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """``(rows, sums)``: for each row that some seed's list names, the sum of seed weight x list weight.

    ``indptr`` (n + 1), ``indices`` (nnz) and ``weights`` (nnz, or None for all 1) are a CSR matrix; ``seed_rows``
    and ``seed_weights`` (m) a sparse row. Rows come in the order first touched; sums are added in float64 and
    returned as float32. Raises :class:`~mixline.kernels.errors.KernelArgumentError` when they do not fit together.
    """
