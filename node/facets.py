"""How many of all items that match have which value: counted by column over the whole set, not over the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mixline.kernels.tally import count_codes, count_tags, rows_of
from mixline.node import limits
from mixline.storage.epoch import Epoch

EVERY = "*"
EVERY_LABELS_MAX = 10_000
SLICE_WORDS = 512  # of a bitmap, 64 rows each, counted between two looks at the clock


class Found(NamedTuple):
    """Rows as a bitmap (uint64 words) of those of the build, and those that came later (uint32)."""

    words: np.ndarray
    late: np.ndarray

    @property
    def total(self) -> int:
        return int(np.bitwise_count(self.words).sum()) + len(self.late)


class Facet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``limit`` values, the commonest first; of numbers the ranges between ``ranges`` (from each, below the next)."""

    limit: int = 20
    ranges: list[float] = []


def facet_faults(name: str, facet: Facet) -> Iterator[str]:
    """What is wrong whatever the store."""
    if not 1 <= facet.limit <= limits.facet_values_max:
        yield f"facets.{name}: limit = {facet.limit}: must lie in 1 .. {limits.facet_values_max}"
    if facet.ranges != sorted(set(facet.ranges)):
        yield f"facets.{name}: ranges = {facet.ranges}: numbers that rise"
    if name == EVERY and facet.ranges:
        yield f"facets.{name}: stands for columns of labels, which have no ranges"


def facet_misfits(name: str, facet: Facet, epoch: Epoch) -> Iterator[str]:
    """What does not fit a store."""
    if name == EVERY:
        return
    if name not in epoch.items.columns:
        yield f"facets.{name}: no such column; there are {', '.join(epoch.items.columns) or 'none'}"
        return
    numeric = epoch.items.columns.kind_of(name) in ("f32", "i64")
    if numeric and not facet.ranges:
        yield f"facets.{name}: a column of numbers is counted by ranges: say ranges = [...]"
    if not numeric and facet.ranges:
        yield f"facets.{name}: ranges are for columns of numbers"


def expanded(facets: Mapping[str, Facet], epoch: Epoch) -> dict[str, Facet]:
    """By column; ``"*"`` is every column of labels that has not too many, as far as it is not named itself."""
    found = {name: one for name, one in facets.items() if name != EVERY}
    if EVERY in facets:
        columns = epoch.items.columns
        for name in columns:
            if columns.kind_of(name) in ("category", "tags") and len(columns[name].codes) <= EVERY_LABELS_MAX:
                found.setdefault(name, facets[EVERY])
    return found


class Count:
    """The facet of one column, counted in parts. ``done``: of the rows that were counted the share, 0 .. 1."""

    def __init__(self, epoch: Epoch, name: str, facet: Facet) -> None:
        self.column, self.facet, self.done = epoch.items.columns[name], facet, 0.0
        labels = 2 if self.column.kind == "bool" else len(self.column.labels)  # grows with what came later
        self.counts = np.zeros(len(facet.ranges) + 1 if facet.ranges else labels, dtype=np.int64)

    def add(self, found: Found, stopped: Callable[[], bool]) -> None:
        """Count what was found, or as much as there is time for."""
        words, most = found.words, max(1, len(found.words))
        self._rows(found.late)
        for start in range(0, len(words), SLICE_WORDS):
            if stopped():
                return
            stop = min(start + SLICE_WORDS, len(words))
            if self.facet.ranges:
                self._rows(rows_of(words, start, stop))
            elif self.column.offsets is not None:
                count_tags(words, start, stop, self.column.offsets, self.column.values, self.counts)
            else:
                count_codes(words, start, stop, self.column.values, self.counts)
            self.done = stop / most
        self.done = 1.0

    def _rows(self, rows: np.ndarray) -> None:
        column, facet = self.column, self.facet
        if facet.ranges:
            values = column.values[rows]
            given = values[~np.isnan(values)] if column.kind == "f32" else values[values != column.missing]
            places = np.searchsorted(facet.ranges, given, side="right")
        elif column.offsets is not None:
            spans = [(int(column.offsets[row]), int(column.offsets[int(row) + 1])) for row in rows]
            places = np.concatenate([column.values[:0], *(column.values[start:end] for start, end in spans)])
        else:
            places = column.values[rows]
            places = places[places != column.missing]
        self.counts += np.bincount(places, minlength=len(self.counts))

    def entries(self) -> list[dict[str, Any]]:
        """With ``count``, and ``value`` or ``from`` and ``to``."""
        counts, found = self.counts, np.flatnonzero(self.counts)
        if self.facet.ranges:
            ends = [None, *self.facet.ranges, None]
            return [{"from": ends[at], "to": ends[at + 1], "count": int(counts[at])} for at in found]
        if self.column.kind == "bool":
            return [{"value": bool(code), "count": int(counts[code])} for code in found]
        named = self.column.labels
        if len(found) > self.facet.limit:  # a label sorts among those alike often alone
            least = np.partition(counts[found], -self.facet.limit)[-self.facet.limit]
            found = found[counts[found] >= least]
        entries = sorted((-int(counts[code]), named[code]) for code in found.tolist())
        return [{"value": value, "count": -count} for count, value in entries[: self.facet.limit]]
