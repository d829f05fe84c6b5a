import numpy as np
from numpy.typing import NDArray

def placed(
    query: NDArray[np.float32], *, center: NDArray[np.float32] | None = None, signs: NDArray[np.int8] | None = None
) -> NDArray[np.float64]:
    """``query`` (dim,) as codes of a space see it: less ``center`` (dim,), turned by ``signs`` (rounds, dim) of -1 and
    1 as the space's rows are. Empty ones do nothing. The length of what is turned stays, but for the rounding of
    float64. Raises :class:`~mixline.kernels.errors.KernelArgumentError` for another number of dimensions.
    """
