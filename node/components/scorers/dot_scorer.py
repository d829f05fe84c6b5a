"""Closeness of every candidate to a vector, whichever source brought it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.scan import score_rows
from mixline.node.components.base import Scorer
from mixline.node.components.vectors import QueryKind, find_space, query_vectors, space_misfits
from mixline.node.session import Recent
from mixline.storage.epoch import Epoch
from mixline.storage.spaces import Space

if TYPE_CHECKING:
    from mixline.node.call import Call


class DotScorer(Scorer, frozen=True, kw_only=True):
    """The space's metric between a vector and each candidate, by the kernel and in the bits of `nearest`.

    - `space`, `query`, `recent`: as for `nearest`; of several vectors the best score counts. A user without a
      vector scores 0; a candidate without one has no score.
    """

    space: str = ""
    query: QueryKind = "user"
    recent: Recent = Recent()

    def wrong(self) -> Iterator[str]:
        yield from Scorer.wrong(self)
        yield from self.recent.faults()

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        return space_misfits(epoch, self.space, self.query)

    def disabled(self, epoch: Epoch) -> str:
        return "" if find_space(epoch, self.space, self.query) else "the store has no space for it"

    def bind(self, epoch: Epoch) -> Space:
        space = find_space(epoch, self.space, self.query)
        assert space is not None
        return space

    def score(self, call: Call) -> np.ndarray:
        space, block = call.bound, call.block
        scores = np.zeros(len(block), dtype=np.float32)
        for group, (start, stop) in enumerate(pairwise(block.edges(call.groups))):
            if stop == start:
                continue
            rows, best = block.row[start:stop], scores[start:stop]
            for at, vector in enumerate(query_vectors(call, space, self.query, group, self.recent)):
                found = score_rows(space.all_items, vector, rows, metric=space.metric, norms=space.all_norms)
                best[:] = np.maximum(best, found) if at else found
        return scores
