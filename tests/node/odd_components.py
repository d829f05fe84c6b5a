"""Components of a user's own that misbehave in one way each."""

import time

import numpy as np

from mixline.node.block import Candidates
from mixline.node.components import Filter, Hydrator, QueryHydrator, Scorer, Selector, Source


class RaisingSource(Source, frozen=True, kw_only=True):
    """Always fails."""

    def retrieve(self, call, group):
        raise RuntimeError("no luck")


class OutsideSource(Source, frozen=True, kw_only=True):
    """Names a row that the store does not have."""

    def retrieve(self, call, group):
        return Candidates(np.array([10**6], np.uint32), np.ones(1, np.float32))


class WideSource(Source, frozen=True, kw_only=True):
    """Brings what NumPy makes of lists: int64 rows, the last one ``last``, and float64 scores."""

    last: int = 2

    def retrieve(self, call, group):
        return Candidates(np.array([5, self.last]), np.array([0.5, 0.25]))


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


class BoundScorer(Scorer, frozen=True, kw_only=True):
    """Makes something of the store when it is loaded, and scores with it."""

    fails: bool = False

    def bind(self, epoch):
        if self.fails:
            raise RuntimeError("nothing to bind")
        return np.arange(epoch.items.count, dtype=np.float64)

    def score(self, call):
        return call.bound[call.block.row]


class HalfHydrator(Hydrator, frozen=True, kw_only=True):
    """Writes a column that is neither float32 nor float64, and one that is not contiguous."""

    def writes(self):
        return {"half", "strided"}

    def hydrate(self, call):
        rows = call.block.row
        call.block.columns["half"] = (rows / 512).astype(np.float16)
        call.block.columns["strided"] = np.stack([rows, rows], axis=1).astype(np.float32)[:, 0]


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


class PriceHydrator(Hydrator, frozen=True, kw_only=True):
    """Prices of its own, by row: 0 for the lower half of the store, 50 for the upper."""

    def hydrate(self, call):
        call.block.columns["price"] = np.where(call.block.row < call.epoch.items.count // 2, 0, 50)

    def writes(self):
        return {"price"}


class SlowLateFilter(Filter, frozen=True, kw_only=True):
    """Drops odd ids, and takes 40 ms for it."""

    def drops_among(self, call, positions):
        time.sleep(0.04)
        return call.block.key[positions] % np.uint64(2) == 1


class WrongLateFilter(Filter, frozen=True, kw_only=True):
    """Answers for one candidate too many."""

    def drops_among(self, call, positions):
        return np.zeros(len(positions) + 1, dtype=bool)


class SlowFilter(Filter, frozen=True, kw_only=True):
    """Keeps all, and takes 5 ms for it."""

    def drops(self, call):
        time.sleep(0.005)
        return np.zeros(len(call.block), dtype=bool)


class NicknameQueryHydrator(QueryHydrator, frozen=True, kw_only=True):
    """Puts what is meant in the place of a nickname, and says in a parameter that it did."""

    names: dict[str, str]
    param: str = ""

    def parameters(self):
        return {self.param} if self.param else set()

    def hydrate_query(self, call):
        words = (call.ask.query or "").split()
        if "raise" in words:
            raise RuntimeError("no luck")
        meant = [self.names.get(word, word) for word in words]
        params = {self.param: sum(a != b for a, b in zip(words, meant, strict=True))} if self.param else None
        call.enrich(query=" ".join(meant), params=params)
