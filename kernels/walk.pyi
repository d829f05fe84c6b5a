import numpy as np
from numpy.typing import NDArray

from mixline.kernels.accumulate import Scratch

class Walk:
    """Walks from several seeds over one graph: item i has the users ``users[item_ends[i] : item_ends[i + 1]]`` (int64,
    uint32), and user u the items ``items[user_ends[u] : user_ends[u + 1]]``; whoever is in the one is in the other.

    ``steps_max``: the most of one seed. ``restart``: the chance to go back to the seed after a step. A seed's walk ends
    early once ``stop_items`` items (0: never) were visited ``stop_visits`` times. ``sums`` is taken until the result.
    ``steps``: how many were made. Raises :class:`~mixline.kernels.errors.KernelArgumentError` for what does not fit.
    """

    steps: int

    def __init__(
        self,
        item_ends: NDArray[np.int64],
        users: NDArray[np.uint32],
        user_ends: NDArray[np.int64],
        items: NDArray[np.uint32],
        sums: Scratch,
        *,
        steps_max: int,
        restart: float,
        stop_items: int,
        stop_visits: int,
    ) -> None: ...
    def begin(self, item: int, steps: int, key: int) -> None:
        """Start at a seed, with the random numbers of ``key``; what the last seed's walk visited is collected."""

    def advance(self, most: int) -> bool:
        """Walk on for about ``most`` steps, without the GIL; True when this seed's walk is over."""

    def collect(self) -> None:
        """Add the square root of each item's visits to its sum."""

    def result(self) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Items as they were first visited, and the squares of their sums as a share of all steps: what several seeds
        lead to counts more than what one does as often (Pixie's multi-hit boost)."""
