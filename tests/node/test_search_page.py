"""What a page says of a search besides its items: spelling, total, facets, highlights; and fused scores."""

import numpy as np
import pytest
from film_store import node_with, write_config
from text_store import TITLES, build_titles, films

from mixline.node import Node
from mixline.node.errors import ConfigError
from mixline.node.highlights import highlight
from mixline.storage.analysis import Analyser, AnalyserFacts

FULL = """
[[source]]
kind = "text"
limit = 3
facets = { genres = {}, studio = { limit = 1 }, year = { ranges = [1960, 1980, 2000] } }
highlight = ["title", "plot"]
[[hydrator]]
kind = "text_match"
name = "match"
fields = ["title", "plot"]
[[selector]]
kind = "topk"
by = "text.score"
"""
FUSED = """
[[source]]
kind = "text"
[[source]]
kind = "popular"
[[scorer]]
kind = "{kind}"
name = "final"
sources = {{ text = 2.0, popular = 1.0 }}
[[selector]]
kind = "topk"
by = "final"
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    store = build_titles(folder)
    config = write_config(folder, full=FULL, rrf=FUSED.format(kind="rrf"), fusion=FUSED.format(kind="fusion"))
    with Node.open(store, config=config) as node:
        yield node


def test_facets_count_all_that_matches(node):
    page = node.ask("full", query="space")
    matching = [one for one in films() if "space" in f"{one['title']} {one['plot']}".lower()]
    assert len(page) == 3 and page.total == len(matching) > 3
    genres = {name: sum(name in one["genres"] for one in matching) for name in ("Drama", "Comedy")}
    assert {one["value"]: one["count"] for one in page.facets["genres"]} == genres
    assert len(page.facets["studio"]) == 1
    edges = [(None, 1960), (1960, 1980), (1980, 2000), (2000, None)]
    wanted = [sum((a or 0) <= one["year"] < (b or 9999) for one in matching) for a, b in edges]
    assert [(one["from"], one["to"], one["count"]) for one in page.facets["year"]] == [
        (*edge, many) for edge, many in zip(edges, wanted, strict=True) if many
    ]
    assert node.ask("full", query='"deep space"').total == 2


def test_facets_know_what_came_later(tmp_path):
    with Node.open(build_titles(tmp_path), config=write_config(tmp_path, full=FULL)) as node:
        before = node.ask("full", query="space")
        new = {"title": "Space Western", "genres": ["Western"], "year": 2020.0}
        node.apply([{"op": "upsert_item", "id": 900, "columns": new}, {"op": "delete_item", "id": 100}])
        after = node.ask("full", query="space")
        assert after.total == before.total
        assert {"value": "Western", "count": 1} in after.facets["genres"]


def test_words_that_match_are_shown(node):
    page = node.ask("full", query="opera -house", limit=3)
    assert len(page.highlights) == len(page)
    for one, shown in zip(page.ids.tolist(), page.highlights, strict=True):
        assert shown["title"] == TITLES[one - 100].replace("Opera", "<b>Opera</b>")


def test_a_piece_of_a_long_text():
    analyser = Analyser(AnalyserFacts())
    text = "filler words go on " * 30 + "a <deep> space opera & more " + "and so on " * 40
    shown = highlight(text, analyser, {"deep", "opera"}, ())
    assert "&lt;<b>deep</b>&gt; space <b>opera</b> &amp; more" in shown
    assert shown.startswith("…") and shown.endswith("…") and len(shown) < 300
    assert highlight("nothing here", analyser, {"deep"}, ()) == ""


@pytest.mark.parametrize(
    ("query", "meant"), [("spce opera", "space opera"), ("opera huose", "opera house"), ("dune", ""), ("xqzzy", "")]
)
def test_a_misspelt_query_is_corrected(node, query, meant):
    assert node.ask("full", query=query).spelling == meant


def test_numbers_are_no_slips_and_rare_words_stand_where_they_fit(tmp_path):
    films = [{"id": 1000 + at, "title": f"Gone faces {1900 + at}"} for at in range(95)]
    films += [{"id": 2000, "title": "Taxi fares of Lisbon"}, {"id": 2001, "title": "Lisbon nights"}]
    films += [{"id": 3000 + at, "title": "Other things"} for at in range(100)]
    with node_with(build_titles(tmp_path, more=films), tmp_path, full=FULL) as node:
        for query, meant in (
            ("fares", "faces"),  # one has it, 95 the other
            ("gone fares", "gone faces"),
            ("lisbon fares", ""),  # but they stand together
            ("lisbn fares", "lisbon fares"),
            ("fares 1994", "faces 1994"),
            ("1998x", ""),
            ("1899", ""),
        ):
            assert node.ask("full", query=query).spelling == meant, query
        assert len(node.ask("full", query="1899")) == len(node.ask("full", query="19999")) == 0
        assert node.ask("full", query="1994").ids.tolist() == [1094]
        assert len(node.ask("full", query="1899~")) > 0  # asked for


def test_features_of_single_fields(node):
    page = node.ask("full", query="dune", explain=True)
    columns = {one: reason["columns"] for one, reason in zip(page.ids.tolist(), page.explain, strict=True)}
    assert columns[119]["match.title"] > 0 == columns[119]["match.plot"]
    assert columns[100]["match.plot"] > 0 == columns[100]["match.title"]


def test_ranks_are_fused(node):
    page = node.ask("rrf", query="space", limit=50, explain=True)
    ranks = {}
    for name in ("text", "popular"):
        scores = {
            one: r["sources"][name]
            for one, r in zip(page.ids.tolist(), page.explain, strict=True)
            if name in r["sources"]
        }
        ranks[name] = {one: at for at, one in enumerate(sorted(scores, key=lambda one: (-scores[one], one)), 1)}
    for one, score in zip(page.ids.tolist(), page.scores.tolist(), strict=True):
        wanted = sum(w / (60 + ranks[n][one]) for n, w in (("text", 2.0), ("popular", 1.0)) if one in ranks[n])
        assert score == pytest.approx(wanted, rel=1e-6)


def test_scores_are_fused_on_one_scale(node):
    page = node.ask("fusion", query="space", limit=50, explain=True)
    columns = [reason["columns"] for reason in page.explain]
    wanted = np.zeros(len(page))
    for name, weight in (("text", 2.0), ("popular", 1.0)):
        scores = np.array([np.nan if c[f"{name}.score"] is None else c[f"{name}.score"] for c in columns])
        low, high = np.nanmin(scores), np.nanmax(scores)
        wanted += weight * np.nan_to_num((scores - low) / (high - low))
    assert np.allclose(page.scores, wanted, atol=1e-6)


def test_what_does_not_fit_is_refused(tmp_path):
    store = build_titles(tmp_path)
    bad = FULL.replace("genres = {}", "genre = {}, title = {}").replace('["title", "plot"]', '["titel"]')
    with pytest.raises(ConfigError) as caught:
        Node.open(store, config=write_config(tmp_path, full=bad))
    for part in ("facets.genre", "facets.title", "highlight: no searchable column 'titel'"):
        assert part in str(caught.value)
