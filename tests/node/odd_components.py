"""Components of a user's own that misbehave in one way each."""

import time

import numpy as np

from mixline.node.block import Candidates
from mixline.node.components import Filter, Scorer, Selector, Source


class RaisingSource(Source, frozen=True, kw_only=True):
    """Always fails."""

    def retrieve(self, call, group):
        raise RuntimeError("no luck")


class OutsideSource(Source, frozen=True, kw_only=True):
    """Names a row that the store does not have."""

    def retrieve(self, call, group):
        return Candidates(np.array([10**6], np.uint32), np.ones(1, np.float32))


class SleepySource(Source, frozen=True, kw_only=True):
    """Looks at no deadline."""

    sleep_s: float

    def retrieve(self, call, group):
        time.sleep(self.sleep_s)
        return Candidates(np.arange(3, dtype=np.uint32), np.ones(3, np.float32))


class ShortScorer(Scorer, frozen=True, kw_only=True):
    """Returns one value too few."""

    def score(self, call):
        return np.zeros(max(0, len(call.block) - 1), np.float32)


class NanScorer(Scorer, frozen=True, kw_only=True):
    """Returns NaN for every other candidate."""

    def score(self, call):
        scores = np.arange(len(call.block), dtype=np.float32)
        scores[::2] = np.nan
        return scores


class GreedySelector(Selector, frozen=True, kw_only=True):
    """Takes the first candidate twice."""

    def select(self, call, positions, limit):
        return positions[[0, 0]]


class EvenFilter(Filter, frozen=True, kw_only=True):
    """Drops every other candidate: a filter that does its work."""

    def drops(self, call):
        return call.block.row % 2 == 0
