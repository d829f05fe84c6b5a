from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixline.kernels.postings import Postings, _TermList, _View

LISTS_MAX: int
GROUPS_MAX: int
WORDS_MAX: int
WINDOW: int
KINDS: dict[str, int]

class Search:
    """The best ``k`` rows by the summed worth of their terms, then by order key.

    ``kinds`` by group: of the terms of a "must" group a row has one at least, of a "not" group none; those of a "part"
    group are worth nothing. ``phrases``: (unwanted, slop, readings); of one of the readings, (number of a list, place)
    each, all words must stand at their places in a field, give or take ``slop``. ``allowed``: bitmap of rows; with
    ``whole`` false no bound may be taken from whole lists. ``marks``: a bitmap in which the bits of all rows that match
    are set; then none are ranked. ``next``: rows looked at so far, in windows of ``WINDOW``; ``windows`` that were
    read, ``valued`` rows that were summed. Raises
    :class:`~mixline.kernels.errors.KernelArgumentError` for what does not fit.
    """

    k: int
    next: int
    windows: int
    valued: int

    def __init__(
        self,
        index: Postings,
        k: int,
        lists: Sequence[_TermList],
        views: Sequence[_View],
        kinds: Sequence[int],
        phrases: Sequence[tuple[bool, int, Sequence[Sequence[tuple[int, int]]]]] = (),
        allowed: NDArray[np.uint64] | None = None,
        whole: bool = True,
        marks: NDArray[np.uint64] | None = None,
    ) -> None: ...
    def advance(self, windows: int = 1 << 30, until_ns: int = 0) -> bool:
        """Look at so many more windows without the GIL; whether there are more.

        Once the monotonic clock has come to ``until_ns`` (0: never) it ends within some ten microseconds, and for good
        where that is within a window, of which it has nothing or a part.
        """

    def result(self) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Rows and scores of what was found so far, best first."""
