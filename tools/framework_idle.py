"""Components that do nothing, so that what is left is what the framework costs. Only its benchmark names them."""

from __future__ import annotations

from functools import cache

import numpy as np

from mixline.node.block import Candidates
from mixline.node.call import Call
from mixline.node.components import Filter, Hydrator, Scorer, Source
from mixline.storage.epoch import Epoch

SCORE_FIRST, SCORE_STEP = 1.0, 1e-4


@cache
def nothing(count: int, kind: str) -> np.ndarray:
    """Zeros, made once."""
    return np.zeros(count, kind)


class IdleSource(Source, frozen=True, kw_only=True):
    """The first items of the store, the same for everybody."""

    def bind(self, epoch: Epoch) -> Candidates:
        rows = np.arange(min(self.limit, epoch.items.count), dtype=np.uint32)
        return Candidates(rows, (SCORE_FIRST - SCORE_STEP * rows).astype(np.float32))

    def retrieve(self, call: Call, group: int) -> Candidates:
        found: Candidates = call.bound
        return found


class IdleHydrator(Hydrator, frozen=True, kw_only=True):
    """A column named after itself."""

    def writes(self) -> set[str]:
        return {self.name}

    def hydrate(self, call: Call) -> None:
        call.block.columns[self.name] = nothing(len(call.block), "f4")


class IdleFilter(Filter, frozen=True, kw_only=True):
    """Reads a column and drops nothing."""

    column: str

    def reads(self) -> set[str]:
        return {self.column}

    def drops(self, call: Call) -> np.ndarray:
        return nothing(len(call.block), "?")


class IdleScorer(Scorer, frozen=True, kw_only=True):
    """Reads a column and takes candidates to be worth what their source says."""

    column: str

    def reads(self) -> set[str]:
        return {self.column, "items.score"}

    def score(self, call: Call) -> np.ndarray:
        found: np.ndarray = call.block.columns["items.score"]
        return found
