"""The candidate block: every candidate of one request, as columns, from retrieval to reply.

Nothing is ever removed from it. What a filter drops gets a fate, what a selector leaves stays in reserve, so counts,
explanations and training rows are this one structure read at the end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mixline.kernels.merge import merge_parts
from mixline.kernels.slate import live_positions, settle

# Fates. SHOWN: on an earlier page; a filter's is DROPPED + its position in the surface.
LIVE, SERVED, RESERVE, SHOWN, DROPPED = 0, 1, 2, 3, 16
NO_RANK = 0xFFFFFFFF
NO_ROWS = np.zeros(0, dtype=np.uint32)
NO_SCORES = np.zeros(0, dtype=np.float32)
NO_POSITIONS = np.zeros(0, dtype=np.int64)


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
    ``x.score`` (float32, NaN where x did not bring the candidate). ``slate`` int64: positions on the page, in order.
    """

    def __init__(self, group: np.ndarray, row: np.ndarray, keys: np.ndarray) -> None:
        self.fill(group, row, keys[row], np.zeros(len(row), np.uint64), np.full(len(row), NO_RANK, np.uint32))

    def fill(self, *columns: np.ndarray) -> None:
        """Take the five columns that merging makes, and begin with every candidate live."""
        self.group, self.row, self.key, self.sources, self.rank = columns
        self.fate = np.zeros(len(self.row), dtype=np.uint8)
        self.columns: dict[str, np.ndarray] = {}
        self.slate = NO_POSITIONS

    def __len__(self) -> int:
        return len(self.row)

    def part(self, positions: np.ndarray) -> CandidateBlock:
        """A block of the candidates at ``positions`` (ascending) with copies of their columns."""
        found = CandidateBlock.__new__(CandidateBlock)
        found.fill(*(column[positions] for column in (self.group, self.row, self.key, self.sources, self.rank)))
        found.columns = {name: column[positions] for name, column in self.columns.items()}
        return found

    def apart(self) -> CandidateBlock:
        """The same candidates for a thread: columns that it cannot write to, and a fate and new columns of its own."""
        found = CandidateBlock.__new__(CandidateBlock)
        found.fill(*map(unwritable, (self.group, self.row, self.key, self.sources, self.rank)))
        found.fate = self.fate.copy()
        found.columns = {name: unwritable(column) for name, column in self.columns.items()}
        return found

    @property
    def live(self) -> np.ndarray:
        """Positions not dropped by any filter."""
        return live_positions(self.fate, LIVE)

    def edges(self, groups: int) -> list[int]:
        """Where each of the ``groups`` begins, and the end of the last."""
        if groups == 1:
            return [0, len(self.row)]
        return np.searchsorted(self.group, np.arange(groups + 1)).tolist()

    def settle(self) -> None:
        """Give every live candidate its end: served if on the slate, else in reserve."""
        settle(self.fate, self.slate, LIVE, RESERVE, SERVED)


def unwritable(column: np.ndarray) -> np.ndarray:
    """A view that refuses to be written to."""
    view = column.view()
    view.flags.writeable = False
    return view


def merge(found: list[tuple[str, list[Candidates]]], keys: np.ndarray) -> CandidateBlock:
    """One block from what every source (name, candidates by group) brought; the same row in one group is one entry."""
    parts = [
        (source, group, part.rows, part.scores)
        for source, (_, groups) in enumerate(found)
        for group, part in enumerate(groups)
        if len(part.rows)
    ]
    group, row, key, sources, rank, scores = merge_parts(parts, len(found), keys)
    block = CandidateBlock.__new__(CandidateBlock)
    block.fill(group, row, key, sources, rank)
    for (name, _), column in zip(found, scores, strict=True):
        block.columns[f"{name}.score"] = column
    return block
