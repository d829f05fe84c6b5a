"""What a search by an index costs, predicted from what the build measured of it: nanoseconds of one core.

The constants were measured (docs/adr/0007-retrieval-plan.md), and only their ratios matter. A build asks them whether a
space is worth a graph, a node which way a query goes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from mixline.storage.calibration import width_for
from mixline.storage.manifest import IndexFacts

By = Literal["codes", "places", "rows"]

WEIGH_NS = 1.5  # a row, or a place of an inverted list, beside its codes
LIST_CODE_NS = 0.1  # a code of a place: lists are short runs
ASK_PLACE_NS = 1.8  # a place whose row the bitmap is asked for
ASK_ROW_NS = 4.0  # an allowed row that is asked for its list
SIFTED_NS = 30.0  # a row that is left, with so many others that it is fetched ahead of its turn
SIFTED_DIM_NS = 0.42
NODE_NS = 40.0  # a row that a walk comes to: its codes and its mark are misses
NODE_CODE_NS = 0.12


def lists_ns(places: float, dim: int) -> float:
    """So many places of inverted lists."""
    return places * (WEIGH_NS + LIST_CODE_NS * dim)


class Sifting(NamedTuple):
    """``by``: of a ``ListSearch``; ``left``: the rows that are scored as float32 at once, none by codes; ``ns``: the
    predicted cost, by codes less the second look."""

    by: By
    left: float
    ns: float


def sifting(facts: IndexFacts, width: int, allowed: int, rows: int, dim: int) -> Sifting:
    """How so many lists are best searched where ``allowed`` of ``rows`` are, whichever these are."""
    lists = facts.parameters["lists"]
    places = scored_at(facts, width) - lists
    by_codes = Sifting("codes", 0.0, lists_ns(places + lists, dim))
    if allowed >= rows:
        return by_codes
    left = max(0.0, places) * allowed / rows
    scored = left * (SIFTED_NS + SIFTED_DIM_NS * dim) + lists_ns(lists, dim)
    by_places = Sifting("places", left, scored + ASK_PLACE_NS * places)
    by_rows = Sifting("rows", left, scored + ASK_ROW_NS * allowed)
    return min(by_codes, by_places, by_rows, key=lambda one: one.ns)


def walk_ns(rows: float, dim: int) -> float:
    """A walk that comes to so many rows."""
    return rows * (NODE_NS + NODE_CODE_NS * dim)


def scored_at(facts: IndexFacts, width: int) -> float:
    """How many rows a search of this width scores: between two measured widths in proportion, beyond them too.

    The centroids of lists are among them, whatever the width.
    """
    widths, scored = [float(point[0]) for point in facts.points], [point[2] for point in facts.points]
    if width > widths[-1]:
        always = facts.parameters["lists"] if facts.kind == "ivf" else 0
        return always + (scored[-1] - always) * width / widths[-1]
    return float(np.interp(width, widths, scored))


def search_ns(facts: IndexFacts, recall: float, dim: int) -> float:
    """A search for as many as were measured, less its second look; infinite where it does not reach the recall."""
    width = width_for(facts, recall, facts.k)
    if width is None:
        return float("inf")
    return (lists_ns if facts.kind == "ivf" else walk_ns)(scored_at(facts, width), dim)
