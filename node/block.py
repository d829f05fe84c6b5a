"""The candidate block: every candidate of one request, as columns, from retrieval to reply.

Nothing is ever removed from it. What a filter drops gets a fate, what a selector leaves stays in reserve, so counts,
explanations and training rows are this one structure read at the end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LIVE, SERVED, RESERVE, DROPPED = 0, 1, 2, 16  # a filter's fate is DROPPED + its position in the surface
NO_RANK = 0xFFFFFFFF
NO_ROWS = np.zeros(0, dtype=np.uint32)
NO_SCORES = np.zeros(0, dtype=np.float32)


class Candidates(NamedTuple):
    """What a source brought for one group, best first: rows (uint32) and scores (float32)."""

    rows: np.ndarray
    scores: np.ndarray

    @classmethod
    def none(cls) -> Candidates:
        """No candidates, which is an answer and not a failure."""
        return cls(NO_ROWS, NO_SCORES)


class CandidateBlock:
    """Columns of equal length, one entry per (group, row), sorted by group and row.

    ``group`` uint32, ``row`` uint32, ``key`` uint64 (order key), ``sources`` uint64 bitmask, ``rank`` uint32 (best rank
    in any source, from 0), ``fate`` uint8; ``columns`` holds features and scores by name, the score of source x being
    ``x.score`` (float32, NaN where x did not bring the candidate).
    """

    def __init__(self, group: np.ndarray, row: np.ndarray, keys: np.ndarray) -> None:
        self.group = group
        self.row = row
        self.key = keys[row]
        self.sources = np.zeros(len(row), dtype=np.uint64)
        self.rank = np.full(len(row), NO_RANK, dtype=np.uint32)
        self.fate = np.zeros(len(row), dtype=np.uint8)
        self.columns: dict[str, np.ndarray] = {}
        self.slate = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.row)

    @property
    def live(self) -> np.ndarray:
        """Positions not dropped by any filter."""
        return np.flatnonzero(self.fate == LIVE)

    def settle(self) -> None:
        """Give every live candidate its end: served if on the slate, else in reserve."""
        self.fate[self.fate == LIVE] = RESERVE
        self.fate[self.slate] = SERVED


def merge(found: list[tuple[str, list[Candidates]]], keys: np.ndarray) -> CandidateBlock:
    """One block from what every source (name, candidates by group) brought; the same row in one group is one entry."""
    parts = [
        (bit, name, group, part)
        for bit, (name, groups) in enumerate(found)
        for group, part in enumerate(groups)
        if len(part.rows)
    ]
    if not parts:
        block = CandidateBlock(NO_ROWS, NO_ROWS, keys)
        block.columns = {f"{name}.score": NO_SCORES for name, _ in found}
        return block
    if len(parts) == 1 and (alone := sole(parts[0], keys)) is not None:
        alone.columns |= {f"{name}.score": absent(len(alone)) for name, _ in found if name != parts[0][1]}
        return alone
    joined = np.concatenate([part.rows.astype(np.uint64) | np.uint64(group << 32) for _, _, group, part in parts])
    unique, place = np.unique(joined, return_inverse=True)
    block = CandidateBlock((unique >> np.uint64(32)).astype(np.uint32), unique.astype(np.uint32), keys)
    for name, _ in found:
        block.columns[f"{name}.score"] = absent(len(block))
    start = 0
    for bit, name, _, part in parts:
        at = place[start : start + len(part.rows)]
        start += len(part.rows)
        block.sources[at] |= np.uint64(1 << bit)
        block.rank[at] = np.minimum(block.rank[at], np.arange(len(at), dtype=np.uint32))
        block.columns[f"{name}.score"][at] = part.scores
    return block


def sole(part: tuple[int, str, int, Candidates], keys: np.ndarray) -> CandidateBlock | None:
    """The block of what one source brought for one group, which needs no merging; None if a row comes twice."""
    bit, name, group, found = part
    order = np.argsort(found.rows)
    rows = found.rows[order].astype(np.uint32, copy=False)
    if (rows[1:] == rows[:-1]).any():
        return None
    block = CandidateBlock(np.full(len(rows), group, dtype=np.uint32), rows, keys)
    block.sources[:] = np.uint64(1 << bit)
    block.rank = order.astype(np.uint32)
    block.columns[f"{name}.score"] = found.scores[order].astype(np.float32, copy=False)
    return block


def absent(count: int) -> np.ndarray:
    """A score column of a source that brought nothing."""
    return np.full(count, np.nan, dtype=np.float32)
