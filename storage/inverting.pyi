from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixline.storage.analysis import Analyser

POSTING: np.dtype
FIELD_SHIFT: int
WAYS: dict[str, int]

class Inverter:
    """Gathers postings of texts. ``analysers``: the different chains; ``chains``: which one each field has; ``stored``:
    whether a field's positions are kept; ``spelling``: whether words are counted as they are spelt.

    ``terms`` and ``words``: number by term, and by word as it is spelt, in the order of their first appearance.
    """

    terms: dict[str, int]
    words: dict[str, int]

    def __init__(
        self, analysers: Sequence[Analyser], chains: Sequence[int], stored: Sequence[bool], spelling: bool
    ) -> None: ...
    @property
    def bytes(self) -> int:
        """What the postings that were not taken yet occupy."""

    def add(self, row: int, field: int, text: str) -> int:
        """Take the text that a row has in a field; how many of its words are found by something. Rows ascend, and for
        each row fields."""

    def add_rows(
        self,
        first: int,
        columns: Sequence[tuple[Sequence[str | None], NDArray[np.uint32]]],
        start: int,
        stop: int,
        bytes_max: int,
        length_max: int,
    ) -> int:
        """Take the texts ``start`` .. ``stop`` of each field, which are those of the rows from ``first`` on, until what
        was gathered reaches ``bytes_max``; the first that was not taken. ``columns``: by field the texts, and where how
        many of a text's words are found by something is written, at most ``length_max``."""

    def word_counts(self) -> NDArray[np.uint64]:
        """How often each word came, by its number."""

    def take_run(
        self,
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint64], NDArray[np.uint32]]:
        """Postings by term, rows ascending, and let go of them: starts by term, rows, times (the field in the upper 8
        bits, how often in the lower 24), starts of positions by term, positions."""
