"""What was acted on after a query: built from a file, kept by folds, without what is gone or filtered."""

import numpy as np
import pytest
from click.testing import CliRunner
from film_store import node_with
from text_store import build_titles

from mixline.node.compaction import compact
from mixline.storage.errors import BadInput, BadSpec
from mixline.storage.past_queries import ITEMS_MAX, ActedOn, PastQueries, key_of, write_acted
from mixline.tools.build import build

CLICKS = """query,item,count
space films,103,5
Space  Films!,104,9
space films,119,1
SPACE FILMS,103,5
star trek,117,3
star trek,4711,8
star trek,,40
nothing,,2
,101,7
"""
TEXT = '[text]\nqueries = "clicks.csv"\nqueries_item = "item"\n'
SURFACE = """
[[source]]
kind = "popular_for_query"
limit = 2
{filters}
[[selector]]
kind = "topk"
by = "popular_for_query.score"
"""
LATE = '[[filter]]\nkind = "predicate"\nwhere = "year >= 1960"\n'


def store_of(folder, clicks=CLICKS, users=3):
    (folder / "clicks.csv").write_text(clicks)
    return build_titles(folder, f"{TEXT}queries_users = {users}\n")


def told(node, query, surface="asked"):
    page = node.ask(surface, query=query)
    return dict(zip(page.ids.tolist(), page.scores.astype(float).round(4).tolist(), strict=True))


def test_what_was_acted_on_most_comes_first(tmp_path):
    with node_with(
        store_of(tmp_path), tmp_path, asked=SURFACE.format(filters=""), late=SURFACE.format(filters=LATE)
    ) as node:
        page = node.ask("asked", query="space FILMS")
        assert page.ids.tolist() == [103, 104] and page.scores.tolist() == [1.0, pytest.approx(0.9)]
        assert told(node, "Star Trek.") == {117: 1.0}
        assert told(node, "nothing") == told(node, "unheard of") == told(node, "") == told(node, "?!") == {}
        assert node.ask("asked").status == "OK"
        assert told(node, "space films", "late") == {104: 0.9, 119: 0.1}
        assert node.ask("suggest", query="star tr").suggestions[1:] == [{"text": "Star Trek", "id": 117}]
        why = node.why_not("asked", 119, query="space films")
        assert why["sources"]["popular_for_query"]["score"] == pytest.approx(0.1)


def test_folds_keep_it_and_lose_what_is_gone(tmp_path):
    store = store_of(tmp_path)
    with node_with(store, tmp_path, asked=SURFACE.format(filters="")) as node:
        node.apply([{"op": "delete_item", "id": 103}])
        assert told(node, "space films") == {104: 1.0, 119: 0.1111}
        before = [node.ask("suggest", query=typed).suggestions for typed in ("spa", "star", "nothi")]
    for _ in range(2):
        compact(store)
        with node_with(store, tmp_path, asked=SURFACE.format(filters="")) as node:
            assert told(node, "space films") == {104: 1.0, 119: 0.1111}
            assert told(node, "star trek") == {117: 1.0}
            after = [node.ask("suggest", query=typed).suggestions for typed in ("spa", "star", "nothi")]
            for some, same in zip(before, after, strict=True):
                assert [one["text"] for one in some] == [one["text"] for one in same]


def test_a_store_without_says_so(tmp_path):
    spec = '[items]\npath = "shop.jsonl"\nid = "id"\ncolumns = { price = "f32" }\n'
    (tmp_path / "shop.jsonl").write_text('{"id": 1, "price": 2.5}\n{"id": 2, "price": 3.5}\n')
    (tmp_path / "spec.toml").write_text(spec)
    command = [str(tmp_path / "spec.toml"), "--out", str(tmp_path / "store"), "--quiet"]
    assert CliRunner().invoke(build, command).exit_code == 0
    with node_with(tmp_path / "store", tmp_path, asked=SURFACE.format(filters="")) as node:
        [source] = [one for one in node.ask("asked", query="space").coverage if one.stage == "source"]
        assert source.state == "disabled" and "without text columns" in source.why
        node.record(1, 2, query="space")
        assert len(node.ask("asked", query="space")) == 0


def test_faults_of_the_file_are_told(tmp_path):
    store_of(tmp_path)
    spec = (tmp_path / "spec.toml").read_text()
    for clicks, text, words in (
        ("query,count\na,1\n", spec, "no column 'item'"),
        (CLICKS + "space,100,-3\n", spec, "how often a query was asked"),
        (CLICKS, spec.replace('queries = "clicks.csv"\n', ""), "give queries too"),
    ):
        (tmp_path / "clicks.csv").write_text(clicks)
        (tmp_path / "spec.toml").write_text(text)
        done = CliRunner().invoke(build, [str(tmp_path / "spec.toml"), "--out", str(tmp_path / "store"), "--quiet"])
        assert isinstance(done.exception, BadInput | BadSpec) and words in str(done.exception)


def test_of_one_query_a_thousand_items_are_kept(tmp_path):
    rng = np.random.default_rng(2)
    rows = rng.integers(0, 5000, 20_000).astype(np.uint32)
    counts = rng.integers(1, 9, 20_000).astype(np.float64)
    numbers = np.zeros(20_000, dtype=np.uint32)
    write_acted(tmp_path, PastQueries({"a b": 1.0}, numbers, rows, counts))
    found, times = ActedOn(tmp_path).of("A, b")
    sums = np.bincount(rows, counts, minlength=5000)
    order = np.lexsort((np.arange(5000), -sums))[:ITEMS_MAX]
    assert found.tolist() == order.tolist() and times.tolist() == sums[order].tolist()
    assert key_of("a b") == key_of("Á  B!") != key_of("ab") and key_of(" ?") == 0
