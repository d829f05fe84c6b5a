from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

UNITS: int

_TermList = tuple[int, int, int, float, int, int]
_View = tuple[NDArray[np.float32] | None, ...]

def choose_path(isa: str) -> str:
    """Take the code path for an instruction set, and say what it is called."""

class Postings:
    """Lists of an index. By field: ``lengths`` (uint8 or uint16 by row), and whether positions are ``stored``; ``keys``
    (uint64 by row) break ties. A list is (start, rows, start of positions, weight, view, group); a view has for each
    field its weight and then the norms by length times the weight (float32), or None where it is not asked."""

    rows: int

    def __init__(
        self,
        lists: NDArray[np.uint8],
        positions: NDArray[np.uint8],
        lengths: Sequence[NDArray],
        stored: Sequence[bool],
        k1: float,
        keys: NDArray[np.uint64],
        rows: int,
    ) -> None: ...
    def mark(
        self,
        words: NDArray[np.uint64],
        lists: Sequence[_TermList],
        views: Sequence[_View],
        until_ns: int = 0,
    ) -> int:
        """Set the bits of the rows that have any of these terms in a field that is asked; how many lists there was time
        for until the monotonic clock comes to ``until_ns`` (0: for all). Of the next one some rows may be marked."""

    def rows_with(self, lists: Sequence[_TermList], views: Sequence[_View]) -> NDArray[np.uint64]:
        """Bitmap of the rows that have any of these terms in a field that is asked."""

    def worth(
        self, lists: Sequence[_TermList], views: Sequence[_View], rows: NDArray[np.uint32]
    ) -> NDArray[np.float32]:
        """What each of ascending rows is worth for these terms together."""
