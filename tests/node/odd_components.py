"""Components of a user's own that misbehave in one way each."""

import asyncio
import threading
import time
from typing import ClassVar

import numpy as np

from mixline.node.block import Candidates
from mixline.node.components import Filter, Hydrator, QueryHydrator, Scorer, Selector, SideEffect, Source
from mixline.node.errors import BadRequest

GATES = {}  # by name: events that a test sets, barriers at which components meet


class RaisingSource(Source, frozen=True, kw_only=True):
    """Always fails."""

    def retrieve(self, call, group):
        raise RuntimeError("no luck")


class AbsentSource(RaisingSource):
    """Has nothing to search in any store."""

    def disabled(self, epoch):
        return "no store has it"


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


class ShowingSource(Source, frozen=True, kw_only=True):
    """Takes a while to show what it brought at once; tells until when it might have done each."""

    def retrieve(self, call, group):
        call.told["spelling"] = str(call.deadline_ns)
        return Candidates(np.arange(3, dtype=np.uint32), np.ones(3, np.float32))

    def present(self, call, rows):
        call.told["spelling"] += f" {call.deadline_ns}"
        time.sleep(0.01)


class SlowSource(Source, frozen=True, kw_only=True):
    """Takes ten seconds whenever somebody asks, asleep or busy; once it is loaded, at its warm-up, none."""

    hogs: bool

    def retrieve(self, call, group):
        until = time.monotonic() + (0 if call.ask.user is None else 10)
        while time.monotonic() < until:
            if not self.hogs:
                time.sleep(until - time.monotonic())
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


class DearFilter(Filter, frozen=True, kw_only=True):
    """Drops one in ``nth``, takes long for each candidate, and says how many it was asked about."""

    commutes: ClassVar[bool] = True
    nth: int
    takes_us: float = 20.0

    def drops(self, call):
        call.say(f"asked about {len(call.block)}")
        until = time.perf_counter() + self.takes_us * len(call.block) / 1e6
        while time.perf_counter() < until:
            pass
        return call.block.row % self.nth == 0


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


class MeetingSource(Source, frozen=True, kw_only=True):
    """Waits until as many others are there as its gate says: alone it would wait in vain."""

    gate: str

    def retrieve(self, call, group):
        GATES[self.gate].wait(20)
        return Candidates(np.arange(3, dtype=np.uint32), np.ones(3, np.float32))


class AsyncMeetingSource(Source, frozen=True, kw_only=True):
    """The same as a coroutine; what ends it is noted."""

    gate: str

    async def retrieve(self, call, group):
        try:
            while not GATES[self.gate].is_set():
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            GATES[self.gate + ".cancelled"].set()
            raise
        return Candidates(np.arange(3, dtype=np.uint32), np.ones(3, np.float32))


class MeetingHydrator(Hydrator, frozen=True, kw_only=True):
    """Writes one more than what it reads, or 1, once its gate is open, and says when it has."""

    column: str
    gate: str = ""
    after: str = ""

    def reads(self):
        return {self.after} if self.after else set()

    def writes(self):
        return {self.column}

    def hydrate(self, call):
        if self.gate:
            GATES[self.gate].wait(20)
        before = call.column(self.after) if self.after else np.zeros(len(call.block), np.float32)
        call.block.columns[self.column] = before + np.float32(1)
        if self.gate + ".back" in GATES:
            GATES[self.gate + ".back"].set()


class MeetingFilter(Filter, frozen=True, kw_only=True):
    """Drops all but every third of those that it finds alive, and says how many these were."""

    gate: str

    def drops(self, call):
        GATES[self.gate].wait(20)
        live = call.block.live
        call.say(f"{len(live)} alive")
        gone = np.zeros(len(call.block), dtype=bool)
        gone[live] = call.block.row[live] % 3 != 0
        return gone


class MeetingQueryHydrator(QueryHydrator, frozen=True, kw_only=True):
    """Understands every text as another, elsewhere; of some it says that they are wrong."""

    def hydrate_query(self, call):
        if call.ask.query == "wrong":
            raise BadRequest("no such query")
        call.enrich(query=f"{call.ask.query}, on thread {threading.current_thread().name}")
        call.told["spelling"] = call.ask.query


class AsyncScorer(Scorer, frozen=True, kw_only=True):
    """Scores by row, from elsewhere."""

    async def score(self, call):
        await asyncio.sleep(0)
        return call.block.row.astype(np.float32)


class BlockingSelector(Selector, frozen=True, kw_only=True):
    """Waits where nothing may wait."""

    blocking: bool = True

    def select(self, call, positions, limit):
        return positions[:limit]


class AsyncSideEffect(SideEffect, frozen=True, kw_only=True):
    """The same."""

    async def after(self, call):
        await asyncio.sleep(0)


class ReadingScorer(Scorer, frozen=True, kw_only=True):
    """Reads a column that it does not name."""

    def score(self, call):
        return call.column("half").astype(np.float32)
