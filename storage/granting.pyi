import numpy as np
from numpy.typing import NDArray

LINE: np.dtype
RESERVED: int
TAKEN: int
BACK: int
SPENT: int
AMOUNT_MAX: int
REFUSED: int

def tally_budget(
    lines: np.ndarray, heads: NDArray[np.uint32], user: int, end: int, budget: int, since: int
) -> tuple[int, int]:
    """(amount in use, part of it that is reserved and not yet spent), of lines below ``end`` later than ``since``."""

class Desk:
    """Decides, and writes lines where no reader looks yet. For the writer.

    ``lines`` (:data:`LINE`) and ``heads`` (uint32 by user) are those that readers have; ``ends`` on the lines that a
    state has published, ``staged`` behind those that were written since.
    """

    end: int
    staged: int

    def __init__(self, lines: np.ndarray, heads: NDArray[np.uint32], end: int) -> None: ...
    def decide(
        self,
        users: NDArray[np.uint32],
        amounts: NDArray[np.int64],
        kind: int,
        budget: int,
        limit: int,
        window: int,
        now: int,
    ) -> NDArray[np.int64]:
        """Grant each entry that there is room for, in their order; returns int64: what it took, -1 for a refusal.

        A reservation (:data:`RESERVED`) takes its amount; what is spent (:data:`SPENT`) takes what exceeds the
        reservations that stand, and turns those into spent ones; :data:`BACK` takes nothing, and is refused where less
        stands. Writes at most two lines an entry.
        """

    def repeat(
        self,
        users: NDArray[np.uint32],
        amounts: NDArray[np.int64],
        kind: int,
        budget: int,
        window: int,
        now: int,
        taken: NDArray[np.int64],
    ) -> None:
        """Write the lines of a decision that was taken before: ``taken`` is what :meth:`decide` returned."""

    def carry(self, users: NDArray[np.uint32], amounts: NDArray[np.int64], lines: np.ndarray) -> None:
        """Write lines as they were elsewhere: ``lines`` (:data:`LINE`) has all but the users' rows."""

    def back(self, staged: int) -> None:
        """Forget what was staged from this line on."""

    def release(self) -> None:
        """Put what was staged into the chains that readers follow."""
