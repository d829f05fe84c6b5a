"""Items that a user acted on, as a reader keeps them: a list of rows, or for a long history a bitmap.

A bitmap is exact, takes an eighth of a byte for each item however much the user did, and is kept between requests, so
that a request looks only at what came since the last one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixline.storage.epoch import Epoch
from mixline.storage.live_blocks import mark
from mixline.storage.live_index import chain_events
from mixline.storage.live_segments import EVENTS_MAX

if TYPE_CHECKING:
    from mixline.storage.live_view import LiveView

LONG = 4096  # events and items of the build together, from which on a bitmap is cheaper than a list
KEPT_BYTES_MAX = 1 << 24  # of bitmaps, in one process

Codes = tuple[int, ...] | None  # of actions; None: of all


def built_items(epoch: Epoch, user: int, codes: Codes) -> np.ndarray:
    """Rows of the build; of some actions only those in the history that the build kept."""
    if codes is None:
        return epoch.seen(user)
    history = epoch.history(user)
    return np.unique(history.rows[np.isin(history.actions, codes)])


class SeenItems:
    """Bitmaps by identity of long histories."""

    def __init__(self, epoch: Epoch) -> None:
        self.epoch = epoch
        self._kept: dict[
            tuple[int, Codes], tuple[int, np.ndarray]
        ] = {}  # events in it, words; the least lately used first
        self._bytes = 0

    def of(self, view: LiveView, user: int, codes: Codes) -> np.ndarray:
        """Sorted rows (uint32), or a bitmap of rows (uint64 words), of the items in their present versions."""
        end, key = view.state.events, (user, codes)
        kept = self._kept.get(key)
        if kept is None or kept[0] > end:
            places = self._places(view, user, 0, LONG + 1)
            built = built_items(self.epoch, user, codes)
            if len(places) + len(built) <= LONG:
                items = items_of(view, places, codes)
                rows = view.current(self.epoch.items, np.concatenate((built, items)) if len(items) else built)
                return np.unique(rows) if len(items) or view.alive is not None else rows
            if len(places) > LONG:
                places = self._places(view, user, 0, EVENTS_MAX)
            items = items_of(view, places, codes)
            words = np.zeros(-(-view.items_end // 64), dtype=np.uint64)
            mark(words, built)
        else:
            since, before = kept
            items = items_of(view, self._places(view, user, since, EVENTS_MAX), codes)
            words = before
            if len(items) or 64 * len(before) < view.items_end:
                words = np.zeros(max(len(before), -(-view.items_end // 64)), dtype=np.uint64)
                words[: len(before)] = before
        if len(items):
            mark(words, items)
        if kept is None or kept[0] <= end:
            self._keep(key, end, words)
        return by_row(view, words)

    def _places(self, view: LiveView, user: int, since: int, most: int) -> np.ndarray:
        own = view.reader.own
        return chain_events(own["events"], own["users.heads"], user, view.state.events, most, since)

    def _keep(self, key: tuple[int, Codes], end: int, words: np.ndarray) -> None:
        before = self._kept.pop(key, None)
        self._kept[key] = end, words
        self._bytes += words.nbytes - (before[1].nbytes if before is not None else 0)
        while self._bytes > KEPT_BYTES_MAX and len(self._kept) > 1:
            self._bytes -= self._kept.pop(next(iter(self._kept)))[1].nbytes


def items_of(view: LiveView, places: np.ndarray, codes: Codes) -> np.ndarray:
    """Items of the events at ``places``: of the user's acts, or of some actions."""
    events = view.reader.own["events"]
    if codes is not None:
        places = places[np.isin(events["action"][places], codes)]
    elif len(shown := view.shown_codes):
        places = places[~np.isin(events["action"][places], shown)]
    return events["item"][places]


def by_row(view: LiveView, words: np.ndarray) -> np.ndarray:
    """A bitmap of rows out of one of identities: those that came later have their identity's bit."""
    base, end = view.epoch.items.base, view.items_end
    words = words[: -(-end // 64)]
    if end <= base:
        return words
    origins = view.reader.own["items.origin"][: end - base]
    bits = words.view(np.uint8)[origins >> 3] >> (origins & 7).astype(np.uint8) & 1
    found = words.copy()
    late = found[base // 64 :].view(np.uint8)
    late[:] = 0
    packed = np.packbits(bits, bitorder="little")
    late[: len(packed)] = packed
    return found
