"""The planner: which way is taken, and what it may not depend on."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixline.node.retrieval_plan import REACH, WALK_SHARE, Offer, choose, exact_plan
from mixline.storage.costs import scored_at
from mixline.storage.manifest import IndexFacts

LISTS = IndexFacts(
    "ivf", {"lists": 4096, "keep_percent": 125}, 100, ((1, 0.6, 4500.0), (8, 0.98, 6500.0), (24, 0.996, 10500.0))
)
GRAPH = IndexFacts(
    "graph",
    {"degree": 32, "width": 96, "entries": 500},
    100,
    ((100, 0.97, 3000.0), (200, 0.991, 4000.0), (400, 0.997, 6000.0)),
)
ROWS = 1_000_000
BARE, BOTH = Offer(ROWS, 128, True), Offer(ROWS, 128, True, (LISTS, GRAPH))
OFFERS = st.builds(
    Offer,
    st.integers(1, 3_000_000),
    st.integers(1, 2048),
    st.booleans(),
    st.sampled_from([(), (LISTS,), (GRAPH,), (LISTS, GRAPH)]),
)
INDEXES = st.sampled_from(["auto", "exact", "ivf", "graph"])


@st.composite
def questions(draw):
    offer = draw(OFFERS)
    k = draw(st.integers(1, min(offer.rows, 20_000)))
    allowed = draw(st.one_of(st.integers(0, offer.rows), st.just(offer.rows)))
    return offer, k, allowed, draw(st.floats(0.01, 1.0)), draw(INDEXES)


@given(question=questions(), together=st.integers(1, 300))
def test_company_never_chooses_between_different_answers(question, together):
    alone, among = choose(*question), choose(*question, together=together)
    assert alone.exact == among.exact
    if not alone.exact:
        assert alone == among


@given(question=questions())
def test_a_plan_is_one_that_the_space_can_follow(question):
    offer, k, allowed, recall, index = question
    plan = choose(*question)
    if index == "exact" or recall == 1.0 or not offer.indexes:
        assert plan.exact
    if plan.way == "codes":
        assert offer.codes and k * 8 <= offer.rows
    if not plan.exact:
        facts = offer.facts_of(plan.way, k * offer.rows / allowed)
        assert facts is not None and index in ("auto", plan.way)
        assert k * offer.rows <= REACH * facts.k * allowed
    if plan.way == "ivf":
        assert 1 <= plan.width <= 4096 and plan.keep >= k
    if plan.way == "graph":
        assert plan.width >= k and allowed >= WALK_SHARE * offer.rows
    assert math.isfinite(plan.ns) and plan.ns >= 0.0


@given(offer=OFFERS, k=st.integers(1, 100), allowed=st.integers(0, 3_000_000))
def test_a_shared_pass_costs_each_query_no_more_than_one_alone(offer, k, allowed):
    costs = [exact_plan(offer, k, min(allowed, offer.rows), many).ns for many in (1, 2, 8, 64)]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize(
    ("offer", "index", "share", "way"),
    [
        (BARE, "auto", 1.0, "codes"),
        (BARE, "auto", 0.001, "rows"),
        (BOTH, "exact", 1.0, "codes"),
        (BOTH, "auto", 1.0, "ivf"),
        (BOTH, "graph", 1.0, "graph"),
        (BOTH, "auto", 0.5, "ivf"),
        (BOTH, "auto", 0.1, "codes"),
        (BOTH, "graph", 0.1, "codes"),
        (Offer(ROWS, 128, True, (GRAPH,)), "auto", 0.5, "graph"),
        (Offer(ROWS, 128, True, (GRAPH,)), "auto", 0.4, "codes"),
        (BOTH, "ivf", 0.01, "rows"),
        (Offer(5000, 32, True, (LISTS,)), "auto", 0.0, "rows"),
        (Offer(700, 32, True), "auto", 1.0, "rows"),  # of which 100 are wanted
    ],
)
def test_ways(offer, index, share, way):
    assert choose(offer, 100, int(share * offer.rows), 0.99, index).way == way


def test_the_fewer_are_allowed_the_more_lists_are_looked_at():
    widths = [choose(BOTH, 100, int(share * ROWS), 0.99, "ivf").width for share in (1.0, 0.8, 0.6, 0.5)]
    assert widths == sorted(widths) and widths[-1] == 4 * widths[0]


@pytest.mark.parametrize(("share", "by"), [(1.0, "codes"), (0.9, "codes"), (0.1, "places"), (0.01, "rows")])
def test_the_fewer_are_allowed_the_fewer_codes_are_read(share, by):
    """Lists that were measured at the pools that filters leave: codes of all, then places, then rows alone."""
    pools = tuple(IndexFacts("ivf", LISTS.parameters, k, ((64, 0.992, 70_000.0),)) for k in (100, 1000, 10_000))
    plan = choose(BARE._replace(indexes=pools), 100, int(share * ROWS), 0.99, "ivf")
    assert (plan.way, plan.width, plan.by) == ("ivf", plan.width, by)
    assert plan.ns < exact_plan(BARE, 100, int(share * ROWS), 1).ns


def test_an_index_that_never_reached_the_recall_is_taken_only_when_named():
    assert choose(BOTH, 100, ROWS, 0.9999, "auto").way == "codes"
    assert choose(BOTH, 100, ROWS, 0.9999, "graph").width == 400
    assert choose(BOTH, 100, ROWS, 0.9999, "ivf").width in (4096, 0)


def test_much_more_than_the_k_that_was_measured_is_exact():
    assert [choose(BOTH, k, ROWS, 0.99, "auto").exact for k in (100, 220, 221, 1000)] == [False, False, True, True]
    wide = IndexFacts("ivf", LISTS.parameters, 1000, ((32, 0.992, 12_000.0),))
    plans = [choose(BARE._replace(indexes=(LISTS, wide)), k, ROWS, 0.99, "auto") for k in (100, 1000, 2201)]
    assert [plan.width for plan in plans[:2]] == [13, 32] and plans[2].exact


def test_rows_scored_are_read_between_and_beyond_what_was_measured():
    assert scored_at(LISTS, 8) == 6500.0 and scored_at(LISTS, 16) == 8500.0 and scored_at(LISTS, 48) == 16_904.0
