"""How many of all items that match have which value: counted by column over the whole set, not over the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from mixline.node import limits
from mixline.storage.epoch import Epoch

EVERY = "*"
EVERY_LABELS_MAX = 10_000


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


def count_facet(epoch: Epoch, name: str, facet: Facet, rows: np.ndarray) -> list[dict[str, Any]]:
    """Entries with ``count``, and ``value`` or ``from`` and ``to``. ``rows`` are uint32."""
    column = epoch.items.columns[name]
    if facet.ranges:
        values = column.values[rows]
        given = values[~np.isnan(values)] if column.kind == "f32" else values[values != column.missing]
        counts = np.bincount(np.searchsorted(facet.ranges, given, side="right"), minlength=len(facet.ranges) + 1)
        ends = [None, *facet.ranges, None]
        return [{"from": ends[at], "to": ends[at + 1], "count": int(count)} for at, count in enumerate(counts) if count]
    if column.offsets is not None:
        starts, stops = (
            column.offsets[rows].astype(np.int64),
            column.offsets[rows.astype(np.int64) + 1].astype(np.int64),
        )
        many = stops - starts
        into = np.repeat(starts - np.concatenate(([0], np.cumsum(many)[:-1])), many) + np.arange(int(many.sum()))
        codes = column.values[into]
    else:
        codes = column.values[rows]
        codes = codes[codes != column.missing]
    counts = np.bincount(codes)
    found = np.flatnonzero(counts)
    if column.kind == "bool":
        return [{"value": bool(code), "count": int(counts[code])} for code in found]
    named = column.labels  # grows with what came later
    entries = sorted((-int(counts[code]), named[code]) for code in found.tolist())
    return [{"value": value, "count": -count} for count, value in entries[: facet.limit]]
