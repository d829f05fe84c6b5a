"""Items about which little is known, drawn by lot with a chance that is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mixline.node.block import Candidates
from mixline.node.components.base import Source
from mixline.node.components.newest import DEPTH_MAX, Newest, time_misfits
from mixline.node.event_counts import ActionCounts
from mixline.node.windows import ONE, Counter
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

EVER = "36500d"


class Bound(NamedTuple):
    """What may be drawn, newest first, and how the events of an item are counted."""

    newest: Newest
    counts: ActionCounts


class ExplorationSource(Source, frozen=True, kw_only=True):
    """`limit` items with few events, drawn by lot; the score is the chance with which each of them was drawn.

    - `column`: when an item came, as for `latest`. The `pool` newest can be drawn.
    - `events`: items with more events than that are known well enough. `actions`: which events count; left out, all.
    - `limit`: items per user.

    Every item of the pool that has few enough events, and that filters such as `seen` let in, has the same chance,
    `limit` / how many these are. The journal keeps it with the score, so what is learnt from the page can be weighted
    by its inverse. The same request id draws the same items. Give the drawn ones a place by the selector `weave`.
    """

    limit: int = 1
    column: str = ""
    pool: int = 2_000
    events: int = 10
    actions: tuple[str, ...] = ()

    def wrong(self) -> Iterator[str]:
        yield from Source.wrong(self)
        if not self.limit <= self.pool <= DEPTH_MAX:
            yield f"pool = {self.pool}: must lie in limit .. {DEPTH_MAX}"
        if self.events < 0:
            yield f"events = {self.events}: must be 0 or more"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        yield from time_misfits(epoch, "column", self.column)
        events = epoch.manifest.events
        if events is not None and events.newest is not None and not events.item_times:
            yield "the epoch was built by an earlier release, without the times of items' events; build it again"

    def bind(self, epoch: Epoch) -> Bound:
        counts = ActionCounts("item", tuple(sorted(set(self.actions))), {"events": Counter(window=EVER)})
        return Bound(Newest(epoch, self.column, self.pool), counts)

    def retrieve(self, call: Call, group: int) -> Candidates:
        rows = call.let_in(group, call.bound.newest.rows(call))
        if len(rows):
            rows = rows[call.bound.counts.items(call, rows)[:, 0] <= self.events * ONE]
        if not len(rows):
            return Candidates.none()
        drawn = lots(call.epoch.items.keys[rows], call.seed(self.name, group))
        order = np.argsort(drawn, kind="stable")[: self.limit]
        chance = np.float32(len(order) / len(rows))
        return Candidates(rows[order], np.full(len(order), chance, dtype=np.float32))


def lots(keys: np.ndarray, seed: int) -> np.ndarray:
    """A number (uint64) for each order key that looks drawn at random: the finisher of SplitMix64 (Steele, Lea and
    Flood 2014), twice, so that what is drawn depends on neither rows nor the machine."""
    found = keys
    for salt in (seed, seed >> 32 | seed << 32 & 0xFFFFFFFFFFFFFFFF):
        found = (found ^ np.uint64(salt)) + np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        found = found ^ (found >> np.uint64(31))
    return found
