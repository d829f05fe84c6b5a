"""Items that random walks over who acted on what come to, from an item or from what the user did last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.walk import Walk
from mixline.node.block import Candidates
from mixline.node.components.sources.seeded import SeededSource
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

STEPS_MAX = 1_000_000
SLICE_STEPS = 16_384  # well below a millisecond
KEY_STRIDE = 0xA0761D6478BD642F
WORD = (1 << 64) - 1


class WalkSource(SeededSource, frozen=True, kw_only=True):
    """Random walks from item to user to item, as Pixie's (Eksombatchai et al. 2018): what is visited often is near.

    - `query`: `"item"` (seeds are `item` or `items`) or `"recent"` (the user's newest items, live events included).
    - `seeds`: how many newest items to start from.
    - `steps`: of all walks together; a seed gets more the more users it has.
    - `restart`: the chance to go back to the seed after a step; 0.5 stays near.
    - `stop_items`, `stop_visits`: a seed's walk ends once so many items were visited so often; 0 items: never.
    - `limit`: candidates per user.

    The score is the share of steps that came to the item, and up to as many times that as there are seeds where several
    lead to it: the square of the summed square roots. The same request id gives the same walks. The seeds themselves,
    deleted and blocked items and what `seen` drops are left out. At the deadline the walks so far count. Walks go over
    the events of the build; items that came later are neither seeds nor found.
    """

    steps: int = 50_000
    restart: float = 0.5
    stop_items: int = 0
    stop_visits: int = 4

    def wrong(self) -> Iterator[str]:
        yield from SeededSource.wrong(self)
        for key, most in (("steps", STEPS_MAX), ("stop_visits", STEPS_MAX)):
            if not 1 <= getattr(self, key) <= most:
                yield f"{key} = {getattr(self, key)}: must lie in 1 .. {most}"
        if not 0 <= self.stop_items <= STEPS_MAX:
            yield f"stop_items = {self.stop_items}: must lie in 0 .. {STEPS_MAX}"
        if not 0 <= self.restart <= 1:
            yield f"restart = {self.restart}: must lie in 0 .. 1"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        events = epoch.manifest.events
        if events is not None and not events.seen_by:
            yield "the epoch was built by an earlier release, without who acted on each item; build it again"

    def disabled(self, epoch: Epoch) -> str:
        return "" if epoch.manifest.events is not None else "the store was built without events"

    def bind(self, epoch: Epoch) -> int:
        """The most users that an item has."""
        assert epoch.acted is not None
        return int(np.diff(epoch.acted.item_ends).max(initial=0))

    def reached(self, call: Call, group: int, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the walks of all seeds came to."""
        key = call.seed(self.name, group)
        acted = call.epoch.acted
        assert acted is not None
        degrees = acted.item_ends[seeds.astype(np.int64) + 1] - acted.item_ends[seeds]
        seeds, degrees = seeds[degrees > 0], degrees[degrees > 0]
        if not len(seeds):
            return Candidates.none()
        budgets = budgets_of(degrees, call.bound, self.steps)
        walk = Walk(
            *acted,
            call.scratch,
            steps_max=int(budgets.max()),
            restart=self.restart,
            stop_items=self.stop_items,
            stop_visits=self.stop_visits,
        )
        for at, (seed, steps) in enumerate(zip(seeds.tolist(), budgets.tolist(), strict=True)):
            walk.begin(seed, steps, key + at * KEY_STRIDE & WORD)
            cut = False
            while not walk.advance(SLICE_STEPS) and not (cut := call.stopped()):
                pass
            if cut or (at + 1 < len(seeds) and call.stopped()):
                call.degraded.append(f"deadline after {walk.steps} of {self.steps} steps")
                break
        return walk.result()


def budgets_of(degrees: np.ndarray, most: int, steps: int) -> np.ndarray:
    """Steps (int64, 1 or more) of each seed by how many users it has: ``d (C - log d)``, C the most that any item has
    (equation 1 of the paper)."""
    shares = (degrees * (most - np.log(degrees))).astype(np.float32).astype(np.float64)  # a log's last bit may differ
    total = float(shares.sum())
    if not total > 0:
        return np.full(len(degrees), max(1, steps // len(degrees)), dtype=np.int64)
    return np.maximum((steps * shares / total).astype(np.int64), 1)
