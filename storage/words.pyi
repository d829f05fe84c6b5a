import numpy as np
from numpy.typing import NDArray

def word_spans(text: str, most: int = -1) -> NDArray[np.int64]:
    """Start and end, in code points, of each word by UAX 29 (n, 2); of the first ``most`` where not negative."""

def words_of(text: str, most: int = -1) -> list[str]:
    """The words themselves, as they stand in the text."""
