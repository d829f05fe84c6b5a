from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

EVENT: np.dtype
ID_LINE: np.dtype
NONE: int
BLOCK: int
STATE_FIELDS: int
STATE_WORDS: int

def publish_state(memory: NDArray[np.uint64], fields: Iterable[int]) -> None:
    """Make ``fields`` (up to 16 numbers) the state, all of them at once. One writer."""

def state_generation(memory: NDArray[np.uint64]) -> int:
    """How often a state was published; 0: never."""

def read_state(memory: NDArray[np.uint64]) -> tuple[int, tuple[int, ...]]:
    """The latest state, whole; two lie there, so a writer that dies at any point leaves one."""

def newest_versions(
    rows: NDArray[np.uint32], newest: NDArray[np.uint32], before: NDArray[np.uint32], base: int, end: int
) -> NDArray[np.uint32]:
    """The newest version below ``end`` of each identity in ``rows`` (uint32); NONE where there is none yet.

    ``newest`` by identity (0: never another), ``before`` by row from ``base`` on.
    """

def version_rows(
    identities: NDArray[np.uint32], first: int, newest: NDArray[np.uint32], before: NDArray[np.uint32], base: int
) -> None:
    """Note ``first``, ``first + 1``, … as new versions of ``identities``, in this order. For the writer."""

def link_events(
    events: np.ndarray, start: int, stop: int, heads: NDArray[np.uint32], block_heads: NDArray[np.uint32]
) -> None:
    """Chain ``events[start:stop]`` to their users' earlier ones, blocks to blocks. For the writer."""

def chain_events(
    events: np.ndarray, heads: NDArray[np.uint32], user: int, end: int, most: int, since: int = 0
) -> NDArray[np.uint32]:
    """Positions (uint32) of the ``most`` latest events in ``since`` .. ``end`` of one user, the latest first."""

def link_queries(
    events: np.ndarray, start: int, stop: int, before: NDArray[np.uint32], heads: NDArray[np.uint32]
) -> None:
    """Chain those of ``events[start:stop]`` that came of a query, whose number from 1 on is ``spare``, to the earlier
    ones of that query: ``before`` (uint32) lies beside the events. For the writer."""

def chain_queries(
    before: NDArray[np.uint32], heads: NDArray[np.uint32], query: int, end: int, since: int = 0
) -> NDArray[np.uint32]:
    """Positions (uint32) of the events in ``since`` .. ``end`` that came of one query, the latest first."""

def find_ids(table: np.ndarray, keys: NDArray[np.uint64], end: int) -> NDArray[np.uint32]:
    """The row below ``end`` of each key (uint64) in a table; NONE where there is none."""

def place_of_id(table: np.ndarray, key: int) -> int:
    """The slot where ``key`` stands or would be put. For the writer, which keeps half of the table empty."""

def put_id(table: np.ndarray, slot: int, key: int, row: int) -> None:
    """Let ``key`` stand for ``row`` (not 0)."""
