import numpy as np
from numpy.typing import NDArray

def assign(
    rows: NDArray[np.float32],
    codes: NDArray[np.int8],
    scales: NDArray[np.float32],
    offsets: NDArray[np.float32],
    out: NDArray[np.uint32],
    *,
    units: NDArray[np.float32] | None = None,
) -> None:
    """Put into ``out`` (n,) the centroid with the greatest product with each of ``rows`` (n, dim), plus its offset.

    Centroids are scale x codes, laid out as for :func:`~mixline.kernels.shortlist.scan_together`; an offset of minus
    half their squared length makes the greatest the nearest, minus infinity leaves one out. ``units`` (n,): what rows
    are multiplied with. Of equal centroids the first. Holds no GIL: threads may take parts. Raises
    :class:`~mixline.kernels.errors.KernelArgumentError` when the arguments do not fit together.
    """
