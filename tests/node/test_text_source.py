"""The source `text`: what queries mean, filters inside the search, and queries that nobody would call one."""

import numpy as np
import pytest
from film_store import write_config
from text_store import TITLES, build_titles

from mixline.node import Node
from mixline.node.call import Call
from mixline.node.errors import BadRequest
from mixline.node.limits import query_chars_max
from mixline.node.text_query import parse_query
from mixline.node.text_terms import NEAR_MAX

SURFACE = """
[[source]]
kind = "text"
limit = 50
{more}
[[selector]]
kind = "topk"
by = "text.score"
"""
EARLY = '[[filter]]\nkind = "predicate"\nwhere = "year < 1980"\n'


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    store = build_titles(folder)
    config = write_config(
        folder,
        texts=SURFACE.format(more=""),
        early=SURFACE.format(more=EARLY),
        titles=SURFACE.format(more='fields = ["title"]\nfuzzy = false'),
    )
    with Node.open(store, config=config) as node:
        yield node


def found(node, query, surface="titles"):
    page = node.ask(surface, query=query, limit=50)
    return {TITLES[one - 100] for one in page.ids.tolist()}


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("dune", {"Dune"}),
        ("AMELIE", {"Amélie"}),
        ("alien", {"Alien", "The Alien Space"}),
        ("alien*", {"Alien", "Aliens", "The Alien Space"}),
        ("+space +opera", {"Space Opera", "Opera of the Deep Space"}),
        ("opera -space", {"The Opera House", "A Night at the Opera"}),
        ('"space opera"', {"Space Opera"}),
        ('"opera space"~3', {"Space Opera", "Opera of the Deep Space"}),
        ('opera -"deep space"', {"Space Opera", "The Opera House", "A Night at the Opera"}),
        ("+star trek", {"Star Trek", "Star Wars"}),
        ("title:dune plot:dune", {"Dune", "Space Opera"}),
        ("termnator", set()),
        ("terminator~", {"The Terminator"}),
        ("intrstellar~", {"Interstellar"}),
        ('"star', {"Star Trek", "Star Wars"}),
        ("+nothing dune", set()),
        ("-dune", set()),
        ("", set()),
        ('""', set()),
        ("+", set()),
    ],
)
def test_what_a_query_finds(node, query, titles):
    assert found(node, query) == titles


def test_what_is_misspelt_is_found_where_nothing_else_is(node):
    assert found(node, "termnator", "texts") == {"The Terminator"}


def test_filters_work_inside_the_search(node):
    early = node.ask("early", query="space", limit=50)
    assert early.coverage[0].taken == len(early) > 2
    assert all(1950 + 3 * (one - 100) < 1980 for one in early.ids.tolist())


def test_why_not_knows_the_score(node):
    page = node.ask("titles", query="alien", why=[107, 119])
    assert [one["fate"] for one in page.why] == ["served", "not_retrieved"]
    assert page.why[0]["sources"]["text"]["score"] == pytest.approx(float(page.scores[page.ids.tolist().index(107)]))


def test_a_query_that_is_no_query_is_refused(node):
    with pytest.raises(BadRequest, match="at most"):
        node.ask("texts", query="x" * (query_chars_max + 1))
    with pytest.raises(BadRequest, match="required"):
        node.ask("texts", query=" ".join(f"+w{at}" for at in range(40)))
    with pytest.raises(BadRequest, match="phrase"):
        node.ask("texts", query='"' + " ".join(f"w{at}" for at in range(40)) + '"')


ALPHABETS = (
    "abc \"+-:*~'",
    'space opera alien* +-"~0123456789:title plot',
    "".join(map(chr, range(0x250))),
    "אבגדהאל\u202e\u202d\u200f مرحبا\u0301\u0308",
    "日本語カナひら한국어ไทย",
    "".join(map(chr, (*range(0x1F300, 0x1F400), *range(0x10000, 0x10100), 0x10FFFF, 0xE0001, 0xFFFF))),
)


def strange_queries(rng, count):
    """Of all planes: short and long, of one alphabet or several."""
    for _ in range(count):
        letters = "".join(rng.choice(ALPHABETS, rng.integers(1, 4)).tolist())
        size = int(rng.choice([3, 12, 80, 2000], p=[0.3, 0.4, 0.25, 0.05]))
        yield "".join(rng.choice(list(letters), size).tolist())


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A store of 6,000 more films, whose titles are of the letters that strange queries have: thousands of words."""
    rng, folder = np.random.default_rng(6), tmp_path_factory.mktemp("wide")
    more = [
        {"id": 1000 + at, "title": "".join(rng.choice(list(ALPHABETS[at % len(ALPHABETS)]), 24).tolist())}
        for at in range(6000)
    ]
    with Node.open(build_titles(folder, more=more), config=write_config(folder, texts=SURFACE.format(more=""))) as node:
        yield node


def answers(node, queries):
    refused = 0
    for query in queries:
        try:
            page = node.ask("texts", query=query, limit=10)
        except BadRequest as error:
            assert str(error).startswith("query: "), query
            refused += 1
            continue
        assert np.isfinite(page.scores).all() and (np.diff(page.scores) <= 0).all(), query
        for clause in parse_query(query, {"title", "plot"}):
            assert query[clause.start : clause.end] == clause.text
    return refused


@pytest.mark.parametrize("name", ["node", "wide"])
def test_any_text_is_a_query_or_a_bad_request(name, request):
    node = request.getfixturevalue(name)
    assert answers(node, strange_queries(np.random.default_rng(8), 5000)) < 500
    extremes = ["a" * 60_000, '"' * 50_000, " +".join("x" * 9000), "w " * 10_000, "\0" * 999, "*" * 999, "the " * 5000]
    answers(node, extremes)


def test_a_search_stops_at_its_deadline_with_the_best_so_far(wide, monkeypatch):
    query = "a* b* c* 1* s* o*"
    whole = wide.ask("texts", query=query, limit=50)
    assert whole.status == "OK" and len(whole) == 50
    monkeypatch.setattr("mixline.node.text_search.SLICE_WINDOWS", 1)
    monkeypatch.setattr(Call, "stopped", lambda call: True)  # as if the time were over at the first look
    page = wide.ask("texts", query=query, limit=50)
    [source] = [entry for entry in page.coverage if entry.stage == "source"]
    assert page.status == "DEGRADED" and source.state == "degraded" and "deadline after" in source.why
    assert set(page.ids.tolist()) != set(whole.ids.tolist()) and (np.diff(page.scores) <= 0).all()
    scores = dict(zip(whole.ids.tolist(), whole.scores.tolist(), strict=True))
    assert all(
        scores.get(one, score) == score for one, score in zip(page.ids.tolist(), page.scores.tolist(), strict=True)
    )


def test_a_query_is_read_as_far_as_there_is_time(wide, monkeypatch):
    query = "space opera " + "alein termnator " * 2000
    whole = wide.ask("texts", query="space opera", limit=5)
    with monkeypatch.context() as patch:
        patch.setattr("mixline.node.text_search.READING", 1 << 60)  # no time at all
        page = wide.ask("texts", query=query, limit=5)
        [source] = [entry for entry in page.coverage if entry.stage == "source"]
        assert page.status == "DEGRADED" and "deadline while the query was read" in source.why
        assert len(page) and page.ids[0] == whole.ids[0]
        assert wide.ask("texts", query="space opera", limit=5).status == "OK"  # of few words all are read
    again = wide.ask("texts", query=query, limit=5, deadline_ms=30_000)
    assert again.status == "OK" and again.ids.tolist() != page.ids.tolist()  # what was cut is not remembered


def test_of_many_slips_so_many_are_looked_up(wide):
    def readings(words):
        search = next(step.bound for step in wide.engine.pipelines["texts"].sources)
        return [len(group.readings) for group in search.translator.terms(" ".join(words)).groups]

    slips = [f"terminat{one}r" for one in "abcdfghijklmnpqrstuvwxyz"]
    assert all(many > 1 for many in readings(slips[:NEAR_MAX])) and len(slips) > NEAR_MAX
    assert sum(many > 1 for many in readings(slips)) == NEAR_MAX


def test_what_is_counted_and_shown_ends_at_the_deadline_too(tmp_path, monkeypatch):
    more = 'facets = { genres = {}, year = { ranges = [1980] } }\nhighlight = ["title", "plot"]'
    store = build_titles(tmp_path)
    with Node.open(store, config=write_config(tmp_path, full=SURFACE.format(more=more))) as node:
        whole = node.ask("full", query="space opera alien story")
        assert set(whole.facets) == {"genres", "year"} and any(whole.highlights)
        monkeypatch.setattr("mixline.node.text_search.SLICE_LISTS", 1)
        monkeypatch.setattr(Call, "stopped", lambda call: True)
        page = node.ask("full", query="space opera alien story")
        [source] = [entry for entry in page.coverage if entry.stage == "source"]
        assert page.status == "DEGRADED" and 0 < page.total < whole.total
        assert page.facets == {} and not any(page.highlights) and "pieces of 0 of" in source.why


@pytest.mark.stress
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(4))
def test_a_quarter_million_strange_queries(node, wide, stress_seed, part):
    answers(wide if part % 2 else node, strange_queries(np.random.default_rng([stress_seed, part]), 250_000))
