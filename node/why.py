"""What became of items that somebody asks about, served or not: read back from the block, and asked of the sources.

An item that no source brought was left out inside them by a filter, or lies beyond their cut-offs; how far is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mixline.kernels.bitmap import holds_rows
from mixline.node.block import DROPPED, RESERVE, SERVED, SHOWN
from mixline.node.call import BITMAP
from mixline.node.components.base import sets_of
from mixline.node.explain import plain, terms_of
from mixline.storage.catalogue import NO_ROW
from mixline.storage.errors import UnknownId

if TYPE_CHECKING:
    from mixline.node.call import Call
    from mixline.node.pipeline import Pipeline, Step
    from mixline.node.request import Id


def why(call: Call, pipeline: Pipeline, ids: list[Id]) -> list[dict[str, Any]]:
    """One entry for each group and id, in this order.

    ``fate``: served, reserve, dropped (``by`` which filter), left_out (inside the sources, ``by`` which filters),
    not_retrieved, deleted or unknown. ``place``: on the page, or in the reserve by the final score, from 1.
    ``sources``: for each the item's ``score`` there, whether it ``brought`` the item, and its ``cutoff``, the least
    score that it brought when it brought as many as it may.
    """
    return [why_one(call, pipeline, group, one) for group in range(call.groups) for one in ids]


def why_one(call: Call, pipeline: Pipeline, group: int, one: Id) -> dict[str, Any]:
    """The entry of one item for one group."""
    entry: dict[str, Any] = {"id": one, "group": group}
    catalogue = call.epoch.items
    try:
        row = catalogue.row_of(one) if call.view is None else call.view.row_of(catalogue, one)
    except UnknownId:
        return {**entry, "fate": "unknown"}
    if call.view is not None:
        row = int(call.view.versions(catalogue, np.array([row], dtype=np.uint32))[0])
    if row == NO_ROW:
        return {**entry, "fate": "deleted"}
    start, stop = call.block.edges(call.groups)[group : group + 2]
    found = start + int(np.searchsorted(call.block.row[start:stop], row))
    there = found < stop and call.block.row[found] == row
    entry["sources"] = {}
    for step in pipeline.sources:
        if not step.why:
            scores = call.block.columns[f"{step.name}.score"]
            own = float(scores[found]) if there else float("nan")
            entry["sources"][step.name] = at_source(call, step, group, row, scores[start:stop], own)
    if there:
        return {**entry, **in_block(call, pipeline, found, start, stop)}
    by = list(left_out_by(call, pipeline, group, row))
    return {**entry, "fate": "left_out", "by": by} if by else {**entry, "fate": "not_retrieved"}


def at_source(call: Call, step: Step, group: int, row: int, scores: np.ndarray, own: float) -> dict[str, Any]:
    """What a source that brought ``scores`` makes of an item; ``own``: the score it brought it with, or NaN."""
    brought = scores[~np.isnan(scores)]
    cutoff = float(brought.min()) if len(brought) >= step.component.limit else None
    if own == own:
        return {"score": own, "brought": True, "cutoff": cutoff}
    call.bound = step.bound
    return {"score": step.component.score_of(call, group, row), "brought": False, "cutoff": cutoff}


def in_block(call: Call, pipeline: Pipeline, position: int, start: int, stop: int) -> dict[str, Any]:
    """The end of a candidate."""
    block, fate = call.block, int(call.block.fate[position])
    values = {name: plain(call.numbers(name)[position]) for name in block.columns}
    told: dict[str, Any] = {"columns": values, "terms": terms_of(call, pipeline, values)}
    if fate >= DROPPED:
        return {"fate": "dropped", "by": [pipeline.surface.components["filter"][fate - DROPPED].name], **told}
    if fate == SHOWN:
        return {"fate": "dropped", "by": ["cursor"], **told}
    if fate == SERVED:
        slate = block.slate[(block.slate >= start) & (block.slate < stop)]
        return {"fate": "served", "place": 1 + int(np.flatnonzero(slate == position)[0]), **told}
    assert fate == RESERVE
    place = None
    if pipeline.final:
        scores, here = call.numbers(pipeline.final), np.flatnonzero(block.fate[start:stop] == RESERVE) + start
        with np.errstate(invalid="ignore"):
            better = (scores[here] > scores[position]) | (
                (scores[here] == scores[position]) & (block.key[here] < block.key[position])
            )
        place = 1 + int(better.sum()) if values[pipeline.final] is not None else None
    return {"fate": "reserve", "place": place, **told}


def left_out_by(call: Call, pipeline: Pipeline, group: int, row: int) -> Iterator[str]:
    """Filters that had the sources leave the item out; the cursor is as one of them."""
    rows = np.array([row], dtype=np.uint32)
    if call.shown_rows is not None and row in call.shown_rows:
        yield "cursor"
    for step in pipeline.excluding:
        for one in sets_of(step.component.excludes(call, group)):
            if holds_rows(one, rows)[0] if one.dtype == BITMAP else row in one:
                yield step.name
                break
    for step in pipeline.admitters:
        kept = step.component.admits(call, step.bound)
        if kept is not None and not holds_rows(kept, rows)[0]:
            yield step.name
