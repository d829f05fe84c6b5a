"""Events counted for a request, out of the epoch and of what came later, as of the request's state and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixline.node.windows import Counter, Spans
from mixline.storage.columns import Column
from mixline.storage.counting import ACTIONS, count_items

if TYPE_CHECKING:
    from mixline.node.call import Call

ALL_ACTIONS = np.ones(ACTIONS, dtype=np.uint8)


class ActionCounts:
    """Columns that count the same actions of the same things: ``names``, one for each column of ``spans``."""

    def __init__(self, of: str, actions: tuple[str, ...], columns: dict[str, Counter]) -> None:
        self.of, self.actions = of, actions
        self.names = list(columns)
        self.spans = Spans([*columns.values()])

    def items(self, call: Call, rows: np.ndarray) -> np.ndarray:
        """Sums of weights (int64, rows × columns) of the events of item ``rows`` (uint32)."""
        view, edges = call.view, self.spans.edges(call.now)
        wanted = wanted_actions(call, self.actions)
        if view is None:
            counts = count_items(rows, edges, wanted, call.epoch.item_times, None, 0, 0)
        else:
            late, codes = view.reader.late, len(view.reader.actions.labels)
            items = np.ascontiguousarray(view.origins(rows))
            counts = count_items(items, edges, wanted, call.epoch.item_times, late, view.state.events, codes)
        return counts @ self.spans.weights


def wanted_actions(call: Call, labels: tuple[str, ...]) -> np.ndarray:
    """Flags (uint8, by code) of the actions with these labels; when there are none, of all that are users' own."""
    if not labels:
        shown = call.shown_codes()
        if not len(shown):
            return ALL_ACTIONS
        found = ALL_ACTIONS.copy()
        found[shown] = 0
        return found
    found = np.zeros(ACTIONS, dtype=np.uint8)
    codes = action_codes(call)
    found[[codes[label] for label in labels if label in codes]] = 1
    return found


def action_codes(call: Call) -> dict[str, int]:
    """The code of each label of an action."""
    if call.view is not None:
        return call.view.reader.actions.codes
    facts = call.epoch.manifest.events
    labels = () if facts is None else facts.actions or ("",)
    return {label: code for code, label in enumerate(labels)}


def codes_of(column: Column, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The categories or tags of item ``rows``: codes, and which of the rows has each; a row has a code once."""
    if column.offsets is None:
        codes = column.values[rows]
        owner = np.flatnonzero(codes != column.missing)
        return codes[owner].astype(np.int64), owner
    starts = column.offsets[rows].astype(np.int64)
    sizes = column.offsets[rows.astype(np.int64) + 1].astype(np.int64) - starts
    owner = np.repeat(np.arange(len(rows)), sizes)
    places = np.arange(len(owner)) + np.repeat(starts - np.cumsum(sizes) + sizes, sizes)
    pairs = np.unique(owner << 32 | column.values[places])
    return pairs & 0xFFFFFFFF, pairs >> 32


def category_totals(column: Column, acted: np.ndarray, weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """For item ``rows`` the greatest sum (int64, rows × columns) of a category of theirs, where each item row of
    ``acted`` adds its ``weights`` to all of its categories."""
    codes, owner = codes_of(column, acted)
    known, place = np.unique(codes, return_inverse=True)
    sums = np.zeros((len(known), weights.shape[1]), dtype=np.int64)
    np.add.at(sums, place, weights[owner])
    found = np.zeros((len(rows), weights.shape[1]), dtype=np.int64)
    if len(known):
        codes, owner = codes_of(column, rows)
        place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        met = known[place] == codes
        np.maximum.at(found, owner[met], sums[place[met]])
    return found
