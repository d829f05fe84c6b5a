"""Which items are most acted on: the list that the build ordered by decayed count, and what happened since."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mixline.storage.epoch import Epoch
from mixline.storage.live_index import BLOCK
from mixline.storage.live_segments import LIVE_ROWS_MAX

if TYPE_CHECKING:
    from mixline.node.call import Call
    from mixline.storage.live_view import LiveView

DAY_S = 86_400
DEPTH_MIN = 10_000  # items that are ordered; as many as the build has, if those are more
SHARE = 64  # the list is made anew when there are a 64th more events: what is missing is less than that
HALF_LIVES_MAX = 900.0  # by which an event may be younger than the build and still add up in float64


class Listed(NamedTuple):
    """Identities of items (uint32), the most popular first, of equal ones the lesser order key; counts (float64) as of
    the build's newest event, of which only ratios mean anything."""

    rows: np.ndarray
    scores: np.ndarray


class Popularity:
    """The list as of a request's state, which decides it alone: events count in steps of a 64th of all since the build.

    One for a component in a process: events are added up once, as they are met, one after the other, so that sums have
    the same bits however many are met at a time. The epoch must have events.
    """

    def __init__(self, epoch: Epoch) -> None:
        self._epoch, self._built = epoch, Listed(*epoch.popularity)
        self._counts, self._done, self._erased = self._nothing(), 0, 0
        self._made: dict[tuple[int, int], Listed] = {}

    def _nothing(self) -> np.ndarray:
        """Sums by identity; pages that nobody adds to take no memory."""
        return np.zeros(self._epoch.items.base + LIVE_ROWS_MAX)

    def listed(self, call: Call) -> tuple[np.ndarray, np.ndarray, float]:
        """Rows as the request's state has them, their counts, and the greatest count of all, gone ones too."""
        view = call.view
        found = self._built if view is None or not view.state.events else self._at(view)
        top = float(found.scores[0]) if len(found.scores) else 1.0
        return *call.standing(*found), top

    def _at(self, view: LiveView) -> Listed:
        events = view.state.events
        reach = events - events % (1 << max(events // SHARE, 1).bit_length() - 1)
        state = reach, view.state.erased
        found = self._made.get(state)
        if found is None:
            found = self._order(self._counts_to(view, *state))
            self._made = {**dict(list(self._made.items())[-1:]), state: found}  # a batch may hold two states
        return found

    def _counts_to(self, view: LiveView, reach: int, erased: int) -> np.ndarray:
        """The sums of the first ``reach`` events; of an earlier state than was met they are made for it alone."""
        lines = view.reader.own["events"]
        if erased != self._erased:  # what forgotten users did is gone from the events
            self._counts, self._done, self._erased = self._nothing(), 0, erased
        if reach < self._done:
            return self._add(self._nothing(), view, lines[:reach])
        self._add(self._counts, view, lines[self._done : reach])
        self._done = reach
        return self._counts

    def _add(self, counts: np.ndarray, view: LiveView, lines: np.ndarray) -> np.ndarray:
        """Add the events that are acts of users: no blocks, nothing shown, none of forgotten users."""
        facts = self._epoch.manifest.events
        assert facts is not None
        away = (lines["action"] >= BLOCK) | (lines["weight"] == 0) | np.isin(lines["action"], view.shown_codes)
        acts = lines[~away]
        weights = acts["weight"].astype(np.float64)
        if facts.newest is not None and facts.half_life_days:
            ages = (acts["time"] - facts.newest) / (facts.half_life_days * DAY_S)
            weights *= np.exp2(np.minimum(ages, HALF_LIVES_MAX))
        np.add.at(counts, acts["item"], weights)
        return counts

    def _order(self, counts: np.ndarray) -> Listed:
        items = self._epoch.items
        rows = np.union1d(self._built.rows, np.flatnonzero(counts)).astype(np.uint32)
        scores = counts[rows]
        of_build = rows < items.count
        scores[of_build] += items.columns["popularity"].values[rows[of_build]]
        order = np.lexsort((items.keys[rows], -scores))[: max(len(self._built.rows), DEPTH_MIN)]
        return Listed(rows[order], scores[order])
