"""What people acted on who asked a query: what the build read from past queries, and what was recorded since."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mixline.storage.askers import USERS_MIN
from mixline.storage.epoch import Epoch
from mixline.storage.live_segments import QUERY_CHARS_MAX
from mixline.storage.past_queries import ITEMS_MAX, key_of

if TYPE_CHECKING:
    from mixline.node.call import Call
    from mixline.storage.live_view import LiveView

ROWS_KEPT = 1 << 20  # of all queries whose sums are kept


class Sums(NamedTuple):
    """Identities of items (uint32, ascending), how often each was acted on (float64) in the first ``reach`` events, and
    by which users (uint32, ascending), as many as it takes for others to be told."""

    reach: int
    rows: np.ndarray
    counts: np.ndarray
    users: np.ndarray


NOTHING = Sums(0, np.zeros(0, dtype=np.uint32), np.zeros(0), np.zeros(0, dtype=np.uint32))


class ActedFor:
    """The items of queries as of a request's state, which decides them alone.

    One for a component in a process: the events of a query are added up as they are met, and what was summed is kept
    for the queries asked last. Of a query that too few different users asked there are none.
    """

    def __init__(self, epoch: Epoch) -> None:
        self._built, self._askers = epoch.acted_on, epoch.askers
        text = epoch.manifest.text
        self._least = USERS_MIN if text is None else text.queries_users
        self._kept: OrderedDict[str, Sums] = OrderedDict()
        self._rows_kept, self._erased = 0, 0

    def __len__(self) -> int:
        return 0 if self._built is None else len(self._built)

    def of(self, call: Call) -> tuple[np.ndarray, np.ndarray]:
        """Rows as the request's state has them, and how often each was acted on (float32), the most often first."""
        query, view = call.ask.query or "", call.view
        rows, counts, since = NOTHING.rows, NOTHING.counts.astype(np.float32), NOTHING
        if self._built is not None:
            rows, counts = self._built.of(query)
        built = len(rows) > 0
        if view is not None and view.state.events and 0 < len(query) <= QUERY_CHARS_MAX:
            since = self._since(view, query)
            if len(since.rows):
                rows, counts = summed(np.concatenate((rows, since.rows)), np.concatenate((counts, since.counts)))
                order = np.lexsort((rows, -counts))[:ITEMS_MAX]
                rows, counts = rows[order], counts[order].astype(np.float32)
        if len(rows) and not self._told(query, built, since.users):
            rows, counts = rows[:0], counts[:0]
        return call.standing(rows, counts)

    def _told(self, query: str, built: bool, users: np.ndarray) -> bool:
        """Whether enough different users asked, ``users`` since the build. Of an epoch that does not know who asked
        what it has ``built`` is told."""
        if len(users) >= self._least or self._askers is None:
            return len(users) >= self._least or built
        key = key_of(query)
        public = bool(self._askers.is_public(np.array([key], dtype=np.uint64))[0])
        return public or len(np.union1d(self._askers.of(key), users)) >= self._least

    def _since(self, view: LiveView, query: str) -> Sums:
        if view.state.erased != self._erased:  # what forgotten users did is gone from the events
            self._kept.clear()
            self._rows_kept, self._erased = 0, view.state.erased
        kept = self._kept.pop(query, NOTHING)
        self._rows_kept -= len(kept.rows)
        if kept.reach > view.state.events:
            self._keep(query, kept)  # an earlier state than was met: its sums are made for it alone
            return self._add(view, query, NOTHING)
        found = self._add(view, query, kept)
        self._keep(query, found)
        return found

    def _keep(self, query: str, sums: Sums) -> None:
        if not len(sums.rows):
            return
        self._kept[query] = sums
        self._rows_kept += len(sums.rows)
        while self._rows_kept > ROWS_KEPT and len(self._kept) > 1:
            self._rows_kept -= len(self._kept.popitem(last=False)[1].rows)

    def _add(self, view: LiveView, query: str, sums: Sums) -> Sums:
        """With the events from ``sums.reach`` on that are acts of users: nothing shown, none of forgotten users."""
        lines = view.of_query(query, sums.reach)
        acts = lines[(lines["weight"] != 0) & ~np.isin(lines["action"], view.shown_codes)]
        if not len(acts):
            return sums._replace(reach=view.state.events)
        rows = np.concatenate((sums.rows, acts["item"]))
        users = np.union1d(sums.users, acts["user"]) if len(sums.users) < self._least else sums.users
        return Sums(view.state.events, *summed(rows, np.concatenate((sums.counts, np.ones(len(acts))))), users)


def summed(rows: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row once, ascending, with the sum of its counts (float64)."""
    distinct, place = np.unique(rows, return_inverse=True)
    return distinct.astype(np.uint32), np.bincount(place, counts, minlength=len(distinct))
