"""Completions of what is typed: by popularity, forgiving one slip, with past queries and what came later."""

import numpy as np
import pytest
from film_store import write_config
from text_store import build_titles

from mixline.node import Node
from mixline.node.compaction import compact
from mixline.storage.completions import KEY, Completions, CompletionsWriter, other_variants, plain_words, variants

PAST = "query,count\nspace films,90\nstar trek,3\nalien films,1\n"


@pytest.fixture
def node(tmp_path):
    (tmp_path / "queries.csv").write_text(PAST)
    store = build_titles(tmp_path, '[text]\nqueries = "queries.csv"\n')
    with Node.open(store, config=write_config(tmp_path)) as node:
        yield node


def texts(node, typed):
    return [one["text"] for one in node.ask("suggest", query=typed).suggestions]


def test_titles_and_past_queries_complete(node):
    assert texts(node, "spa")[0] == "space films"
    assert set(texts(node, "Opera ")[:2]) == {"The Opera House", "Opera of the Deep Space"}
    assert set(texts(node, "star t")[:2]) == {"Star Trek", "star trek"}
    assert texts(node, "AMELI") == ["Amélie"]
    assert texts(node, "") == texts(node, "  ") == texts(node, "xqz") == []
    page = node.ask("suggest", query="dune", fields=["title"])
    assert page.suggestions == [{"text": "Dune", "id": 119}] and page.fields["title"] == ["Dune"]


def test_one_slip_is_forgiven(node):
    assert texts(node, "inetrst")[:1] == ["Interstellar"]
    assert "The Terminator" in texts(node, "temrin") and "Terminal" in texts(node, "terinal")


def test_what_came_later_and_what_is_gone(node):
    node.apply([{"op": "upsert_item", "id": 900, "columns": {"title": "Zardoz the Great"}}])
    assert texts(node, "zard") == ["Zardoz the Great"] == texts(node, "the grea")
    node.apply([{"op": "delete_item", "id": 900}, {"op": "delete_item", "id": 119}])
    assert texts(node, "zard") == texts(node, "dune") == []


FILTERED = """
[[source]]
kind = "suggest"
limit = 5
[[filter]]
kind = "predicate"
where = "year >= 2250"
[[filter]]
kind = "blocked"
[[selector]]
kind = "topk"
by = "suggest.score"
"""


def test_filters_find_what_few_pass_and_folds_keep_it(tmp_path):
    many = [{"id": 1000 + at, "title": f"Zebra {at:04d}", "year": 2000.0 + at} for at in range(600)]
    store = build_titles(tmp_path, more=many)

    def completed(node, **more):
        return [one["text"] for one in node.ask("films", query="zebr", **more).suggestions]

    with Node.open(store, config=write_config(tmp_path, films=FILTERED)) as node:
        assert completed(node) == [f"Zebra {at:04d}" for at in range(250, 255)]
        node.apply(
            [
                {"op": "delete_item", "id": 1250},
                {"op": "patch_item", "id": 1251, "columns": {"year": 1999.0}},
                {"op": "upsert_item", "id": 2000, "columns": {"title": "Zebra of late", "year": 3000.0}},
                {"op": "upsert_item", "id": 2001, "columns": {"title": "Zebra of old", "year": 1900.0}},
                {"op": "block", "item": 1252},
                {"op": "block", "user": 1, "item": 1253},
            ]
        )
        live = completed(node), completed(node, user=1)
        assert live[0] == [f"Zebra {at:04d}" for at in range(253, 258)] and live[1] == [
            f"Zebra {at:04d}" for at in range(254, 259)
        ]
        assert [one["text"] for one in node.ask("films", query="zebra of").suggestions] == ["Zebra of late"]
    for _ in range(2):
        assert compact(store) is not None
        with Node.open(store, config=write_config(tmp_path, films=FILTERED)) as node:
            assert (completed(node), completed(node, user=1)) == live
            assert [one["text"] for one in node.ask("films", query="zebra of").suggestions] == ["Zebra of late"]
            node.record(1, 100)  # so that there is something to fold


def test_the_most_popular_of_any_stretch(tmp_path):
    rng = np.random.default_rng(4)
    words = np.char.add(rng.choice(["a", "b", "c"], (20_000, 3)), rng.integers(0, 50, (20_000, 3)).astype(str))
    titles = [" ".join(row) for row in words.tolist()]
    popularity = rng.permutation(20_000).astype(np.float32)
    writer = CompletionsWriter(tmp_path / "epoch", tmp_path / "scratch")
    for start in range(0, 20_000, 3000):
        writer.add(start, titles[start : start + 3000])
    writer.close(20_000, popularity, {})
    found = Completions(tmp_path / "epoch")
    for typed in ("a", "b1", "c4", "a1 b", "a12 b3"):
        having = [at for at, title in enumerate(titles) if f" {typed}" in f" {title}"]
        wanted = sorted(having, key=lambda at: -popularity[at])[:10]
        got = [one.text for one in found.best(typed, 10, forgive=False)]
        assert got == wanted[: len(got)] and len(got) == min(10, len(having))


def test_the_most_popular_of_all_that_are_one_slip_away(tmp_path):
    rng = np.random.default_rng(7)
    titles = [f"film{one:05d}" for one in rng.permutation(30_000).tolist()] + ["fixm 123", "filn7"] * 300
    popularity = rng.permutation(len(titles)).astype(np.float32)
    writer = CompletionsWriter(tmp_path / "epoch", tmp_path / "scratch")
    writer.add(0, titles)
    writer.close(len(titles), popularity, {})
    found = Completions(tmp_path / "epoch")
    for typed in ("film0123x", "flim", "fixm1", "film9999", "filmm12"):
        begin = tuple(one.decode() for one in variants(typed).tolist())
        near = [at for at, title in enumerate(titles) if title.startswith(begin)]
        exact = {at for at, title in enumerate(titles) if title.startswith(typed)}
        wanted = sorted(exact, key=lambda at: -popularity[at])[:10]
        wanted += [at for at in sorted(near, key=lambda at: -popularity[at]) if at not in exact][: 10 - len(wanted)]
        assert [one.text for one in found.best(typed, 10)] == wanted and wanted, typed


@pytest.mark.parametrize(
    "plain", ["star", "ab", "star wars iv", "x" * 31 + "y", "of all the longest titles that anybody wrote"]
)
def test_variants_are_one_slip_away(plain):
    found = set(variants(plain).tolist())
    slow = {one for one in other_variants(plain) if one != plain.encode()[:KEY]}
    assert found == slow
    if plain == "star":
        assert {b"strar", b"sar", b"satr", b"stor"} <= found


def test_words_are_compared_without_marks():
    assert plain_words("The Élan, of 2001!") == ["the", "elan", "of", "2001"]
    assert "élan".encode() not in variants("élan") and "éxlan".encode() in variants("élan").tolist()
