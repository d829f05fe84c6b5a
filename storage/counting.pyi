import numpy as np
from numpy.typing import NDArray

NODE: np.dtype
ACTIONS: int
EDGES_MAX: int
TIME_MAX: int

def link_counts(
    nodes: np.ndarray,
    events: np.ndarray,
    start: int,
    stop: int,
    event_dtype: np.dtype,
    heads: NDArray[np.uint32],
    stride: int,
) -> None:
    """Chain ``events[start:stop]`` to the earlier ones of the same item and action. For the writer.

    ``nodes`` (:data:`NODE`) lie beside ``events``; ``heads`` (uint32) has ``stride`` words for each action code. Events
    whose code is 256 or more are none.
    """

class Built:
    """Times of the events of a build: of each item by action, ascending, as ``storage/item_times.py`` has them."""

    count: int
    def __init__(
        self,
        indptr: NDArray[np.int64],
        actions: NDArray[np.uint8],
        starts: NDArray[np.int64],
        times: NDArray[np.uint32],
    ) -> None: ...

class Late:
    """Events since the build, as :func:`link_counts` has chained them."""

    def __init__(self, nodes: np.ndarray, heads: NDArray[np.uint32], stride: int) -> None: ...

def count_items(
    items: NDArray[np.uint32],
    edges: NDArray[np.int64],
    wanted: NDArray[np.uint8],
    built: Built | None,
    late: Late | None,
    end: int,
    codes: int,
) -> NDArray[np.int64]:
    """Events of each of ``items`` (identities, uint32) in each span: int64 (items, edges - 1).

    ``edges`` (int64) fall; span j holds the times above edges[j + 1] and not above edges[j]. ``wanted`` (uint8, 256) is
    1 for the action codes that count. Either side may be None; of ``late`` the events below place ``end`` exist, with
    action codes below ``codes``. Raises ``ValueError`` for arrays that do not fit.
    """
