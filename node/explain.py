"""Why each served item is on the page: read back from the candidate block, which forgets nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mixline.node.block import DROPPED, RESERVE, SERVED, SHOWN

if TYPE_CHECKING:
    from mixline.node.call import Call
    from mixline.node.pipeline import Pipeline


def explain_slate(call: Call, pipeline: Pipeline) -> list[dict[str, Any]]:
    """Per served item: its sources with their scores, every column of the block, and the terms of weighted scores."""
    block = call.block
    numbers = {name: call.numbers(name) for name in block.columns}
    out = []
    for position in block.slate.tolist():
        bits = int(block.sources[position])
        values = {name: plain(column[position]) for name, column in numbers.items()}
        out.append(
            {
                "sources": {
                    name: values[f"{name}.score"] for at, name in enumerate(pipeline.source_names) if bits >> at & 1
                },
                "rank": int(block.rank[position]),
                "columns": values,
                "terms": terms_of(call, pipeline, values),
            }
        )
    return out


def terms_of(call: Call, pipeline: Pipeline, values: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What each scorer that adds terms up adds for a candidate with these values."""
    scorers: tuple[Any, ...] = pipeline.surface.components.get("scorer", ())
    found = {scorer.name: scorer.parts(call, values) for scorer in scorers}
    return {name: terms for name, terms in found.items() if terms}


def fates(call: Call, pipeline: Pipeline) -> dict[str, int]:
    """How many candidates ended how: served, reserve, or dropped by which filter. Sums to the block."""
    counts = {"served": int((call.block.fate == SERVED).sum()), "reserve": int((call.block.fate == RESERVE).sum())}
    if shown := int((call.block.fate == SHOWN).sum()):
        counts["shown"] = shown
    for at, component in enumerate(pipeline.surface.components.get("filter", ())):
        end = f"dropped:{component.name}"
        counts[end] = counts.get(end, 0) + int((call.block.fate == DROPPED + at).sum())
    return counts


def plain(value: Any) -> Any:
    """A NumPy scalar as a value for MessagePack; NaN as None."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and value != value else value
