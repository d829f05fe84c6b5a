"""Which way a query goes over a space: a pure function of what the space has, what may be returned, and what is wanted.

The ways that give different answers are chosen between by the request and the epoch alone, so that the same request
gives the same ids in any worker under any load. Between ways that give the same bytes the company decides as well.
Costs are predicted in nanoseconds of one core; the constants were measured (docs/adr/0007-retrieval-plan.md), and only
their ratios matter.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from mixline.storage.calibration import width_for
from mixline.storage.costs import WEIGH_NS, By, scored_at, sifting, walk_ns
from mixline.storage.ivf import keep_for
from mixline.storage.manifest import IndexFacts

Index = Literal["auto", "exact", "ivf", "graph"]
Way = Literal["rows", "codes", "ivf", "graph"]

CODES_PAY = 8  # rows per candidate from which a scan of the codes and a second look pay
READ_NS = 0.056  # a byte of codes from memory; in a shared pass all share it
MULTIPLY_NS = 0.02  # a code of a row, for each query
FLOAT_NS = 0.42  # a dimension of a float32 row: its four bytes from memory
MISS_NS = 200.0  # a float32 row that lies alone: its first lines are misses of the caches
ALONE = 10.0  # by the share of rows read of which the misses become fewer, since some are fetched ahead
WORD_NS = 0.03  # of a bitmap, for each of its rows
KEPT = 1.5  # rows per candidate that need a second look
REACH = 2.2  # times the k that an index was measured at: so many rows its widths are believed to find
WALK_SHARE = 0.45  # of the rows must be allowed: a walk through others to those few takes longer than a scan


class Offer(NamedTuple):
    """What a space has to search with: ``codes`` for a certified scan, and the indexes that the build measured."""

    rows: int
    dim: int
    codes: bool
    indexes: tuple[IndexFacts, ...] = ()

    def facts_of(self, kind: str, reach: float) -> IndexFacts | None:
        """The facts of one kind of index, measured at a k that says something about so many rows; None: there are none.

        How wide a search must be for more was not measured: where rows lie in clusters the next may be anywhere.
        """
        found = [one for one in self.indexes if one.kind == kind and one.points and reach <= REACH * one.k]
        return min(found, key=lambda facts: facts.k, default=None)


class Plan(NamedTuple):
    """``way``: float32 ``rows`` (exact), int8 ``codes`` and a second look (exact), ``ivf`` or ``graph``.

    ``width``: lists or length of the beam; ``keep``: rows for the second look; ``ns``: the predicted cost; ``by``: how
    lists are searched, ``left``: how many allowed rows they then hold, if these are any.
    """

    way: Way
    width: int
    keep: int
    ns: float
    by: By = "codes"
    left: float = 0.0

    @property
    def exact(self) -> bool:
        """Whether it gives what a scan of all float32 rows gives."""
        return self.way in ("rows", "codes")


def choose(offer: Offer, k: int, allowed: int, recall: float, index: Index, together: int = 1) -> Plan:
    """The cheapest way to the best ``k`` of ``allowed`` rows that reaches ``recall``.

    ``together``: queries of this request over the space, which share a pass. It is left out of account where an exact
    and an approximate way compete: a user's answer is the same asked alone or among others.
    """
    exact = exact_plan(offer, k, allowed, together)
    if index == "exact" or recall >= 1.0:
        return exact
    alone = exact_plan(offer, k, allowed, 1) if index == "auto" else rows_plan(offer, allowed)
    found: Plan | None = None
    reach = k * offer.rows / allowed if allowed else math.inf  # the best k of allowed rows are among so many of all
    for kind, plan in (("ivf", lists_plan), ("graph", graph_plan)):
        facts = offer.facts_of(kind, reach) if index in ("auto", kind) else None
        tried = plan(offer, facts, k, allowed, recall, at_most=index == kind) if facts is not None else None
        if tried is not None and (found is None or tried.ns < found.ns):
            found = tried
    return exact if found is None or alone.ns <= found.ns else found


def exact_plan(offer: Offer, k: int, allowed: int, together: int) -> Plan:
    """The cheaper of the two ways that give the same bytes."""
    rows = rows_plan(offer, allowed)
    if not offer.codes or not 0 < k * CODES_PAY <= offer.rows:
        return rows
    passed = offer.rows * (WEIGH_NS + offer.dim * (READ_NS / max(1, together) + MULTIPLY_NS))
    codes = Plan("codes", 0, 0, passed + second_look(offer, KEPT * k))
    return rows if rows.ns < codes.ns else codes


def rows_plan(offer: Offer, allowed: int) -> Plan:
    """A scan of the float32 rows that are allowed."""
    return Plan("rows", 0, 0, second_look(offer, allowed) + WORD_NS * offer.rows)


def second_look(offer: Offer, rows: float) -> float:
    """The cost of scoring so many float32 rows that lie anywhere."""
    return rows * (FLOAT_NS * offer.dim + MISS_NS / (1.0 + ALONE * rows / offer.rows)) if rows else 0.0


def lists_plan(
    offer: Offer, facts: IndexFacts, k: int, allowed: int, recall: float, *, at_most: bool = False
) -> Plan | None:
    """Inverted lists; None where no width reaches the recall (with ``at_most``: the widest).

    Beyond the k that was measured lists grow with the square of the reach, which was enough wherever it was tried.
    """
    width = width_for(facts, recall, facts.k)
    if width is None and not at_most:
        return None
    lists, keep = facts.parameters["lists"], keep_for(facts, k)
    times = max(1.0, k * offer.rows / allowed / facts.k)
    width = lists if width is None else min(lists, math.ceil(width * times * times))
    by, left, ns = sifting(facts, width, allowed, offer.rows, offer.dim)
    if by == "codes":
        ns += second_look(offer, min(keep, allowed))
    return Plan("ivf", width, keep, ns, by, left)


def graph_plan(
    offer: Offer, facts: IndexFacts, k: int, allowed: int, recall: float, *, at_most: bool = False
) -> Plan | None:
    """A walk, which passes rows that are not allowed; None where they are too many, and as for lists."""
    width = width_for(facts, recall, k)
    if allowed < WALK_SHARE * offer.rows or (width is None and not at_most):
        return None
    width = max(k, facts.points[-1][0] if width is None else width)
    entries = facts.parameters["entries"]
    walked = entries + max(0.0, scored_at(facts, width) - entries) * offer.rows / allowed
    ns = walk_ns(walked, offer.dim) + second_look(offer, KEPT * k)
    return Plan("graph", width, 0, ns)
