from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

INDEX: np.dtype

def write_dictionary(
    words: Sequence[bytes],
    counts: NDArray[np.uint32],
    list_sizes: NDArray[np.uint64],
    place_sizes: NDArray[np.uint64],
) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """The index (uint64, (blocks, 3)) and the bytes of a dictionary of ascending ``words`` (UTF-8)."""

class Dictionary:
    """Words with a count each, and where their lists and positions lie. An entry is (word, count, start of the list,
    its bytes, start of its positions)."""

    count: int

    def __init__(self, index: NDArray[np.uint64], heap: NDArray[np.uint8], count: int) -> None: ...
    def __len__(self) -> int: ...
    def find(self, word: bytes) -> tuple[int, int, int, int] | None:
        """Count, start, bytes and start of positions of one word."""

    def words(self, start: int = 0, stop: int = -1) -> list[tuple[bytes, int, int, int, int]]:
        """Entries ``start`` .. ``stop`` in the order of their bytes."""

    def beginning(self, prefix: bytes, most: int, looks: int) -> list[tuple[bytes, int, int, int, int]]:
        """The ``most`` commonest entries that begin so, out of the first ``looks``."""

    def near(
        self, word: str, distance: int, same: int, most: int, looks: int, until_ns: int = 0
    ) -> list[tuple[int, bytes, int]]:
        """(distance, word, count) of words within an edit distance (with transpositions) that share the first ``same``
        characters: the nearest, then the commonest; after ``looks`` words, or when the monotonic clock comes to
        ``until_ns`` (0: never), it ends with what it has."""

def commonness(entry: tuple) -> tuple: ...
def nearness(entry: tuple) -> tuple: ...
