"""What a search by an index costs, predicted from what the build measured of it: nanoseconds of one core.

The constants were measured (docs/adr/0007-retrieval-plan.md), and only their ratios matter. A build asks them whether a
space is worth a graph, a node which way a query goes.
"""

from __future__ import annotations

import numpy as np

from mixline.storage.calibration import width_for
from mixline.storage.manifest import IndexFacts

WEIGH_NS = 1.5  # a row, or a place of an inverted list, beside its codes
LIST_CODE_NS = 0.1  # a code of a place: lists are short runs
NODE_NS = 40.0  # a row that a walk comes to: its codes and its mark are misses
NODE_CODE_NS = 0.12


def lists_ns(places: float, dim: int) -> float:
    """So many places of inverted lists."""
    return places * (WEIGH_NS + LIST_CODE_NS * dim)


def walk_ns(rows: float, dim: int) -> float:
    """A walk that comes to so many rows."""
    return rows * (NODE_NS + NODE_CODE_NS * dim)


def scored_at(facts: IndexFacts, width: int) -> float:
    """How many rows a search of this width scores: between two measured widths in proportion, beyond them too."""
    widths, scored = [float(point[0]) for point in facts.points], [point[2] for point in facts.points]
    if width > widths[-1]:
        return scored[-1] * width / widths[-1]
    return float(np.interp(width, widths, scored))


def search_ns(facts: IndexFacts, recall: float, dim: int) -> float:
    """A search for as many as were measured, less its second look; infinite where it does not reach the recall."""
    width = width_for(facts, recall, facts.k)
    if width is None:
        return float("inf")
    return (lists_ns if facts.kind == "ivf" else walk_ns)(scored_at(facts, width), dim)
