"""Slates that are good and unlike, through surfaces: what each selector takes, and what it says."""

import numpy as np
import pytest
from film_store import DIM, build_store, films, node_with, vector

from mixline.kernels import reference_diversity
from mixline.node.components.selectors.diverse import relevance_of
from mixline.node.errors import ConfigError

SURFACE = """
limit = 20
[[source]]
name = "look"
kind = "nearest"
space = "look"
query = "given"
limit = 200
[[selector]]
kind = "{kind}"
by = "look.score"
{rest}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("films")


@pytest.fixture(scope="module")
def store(folder):
    return build_store(folder)


def ranked(node, name, folder):
    """The candidates in the order of their score: (ids, unit vectors, relevance)."""
    page = node.ask(name, vector=vector(1, 2), limit=200)
    ids = [film["id"] for film in films()]
    vectors = np.load(folder / "items.npy")
    rows = np.array([ids.index(one) for one in page.ids.tolist()], dtype=np.uint32)
    norms = np.linalg.norm(vectors, axis=1).astype(np.float32)
    return page.ids.tolist(), reference_diversity.unit_rows(vectors, rows, norms), relevance_of(page.scores)


CASES = {
    "mmr": ("trade = 0.6", lambda v, r, k: reference_diversity.mmr(v, r.astype(np.float32), k, 0.6)),
    "dpp": ("trade = 0.5", lambda v, r, k: reference_diversity.dpp(v, np.exp(r / 2).astype(np.float32), k)[0]),
    "ssd": ("gamma = 0.8\nwindow = 4", lambda v, r, k: reference_diversity.ssd(v, r.astype(np.float32), k, 0.8, 4)),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_slate_is_what_the_definition_takes(kind, store, folder, tmp_path):
    rest, twin = CASES[kind]
    plain = SURFACE.format(kind="topk", rest="limit = 200")
    with node_with(store, tmp_path, plain=plain, slate=SURFACE.format(kind=kind, rest=rest)) as node:
        ids, vectors, relevance = ranked(node, "plain", folder)
        page = node.ask("slate", vector=vector(1, 2), limit=12)
        assert page.ids.tolist() == [ids[at] for at in twin(vectors, relevance, 12)]
        assert page.ids.tolist() != ids[:12]
        entry = page.coverage[-1]
        assert (entry.state, entry.taken, entry.left) == ("ok", 12, 188)


def test_the_pool_and_the_limit_bound_what_is_taken(store, tmp_path):
    pooled = SURFACE.format(kind="mmr", rest="trade = 0.0\npool = 30")
    few = SURFACE.format(kind="mmr", rest="limit = 5")
    plain = SURFACE.format(kind="topk", rest="")
    with node_with(store, tmp_path, pooled=pooled, few=few, plain=plain) as node:
        best = node.ask("plain", vector=vector(3), limit=30).ids.tolist()
        assert sorted(node.ask("pooled", vector=vector(3), limit=50).ids.tolist()) == sorted(best)
        assert len(node.ask("few", vector=vector(3), limit=20).ids) == 5


def test_a_slate_of_more_than_the_space_spans_says_so(store, tmp_path):
    with node_with(store, tmp_path, slate=SURFACE.format(kind="dpp", rest="")) as node:
        page = node.ask("slate", vector=vector(1), limit=DIM + 10)
        assert page.coverage[-1].how == "10 by score: no direction was left"
        assert len(set(page.ids.tolist())) == DIM + 10
        again = node.ask("slate", vector=vector(1), limit=DIM + 10)
        assert again.ids.tolist() == page.ids.tolist()


@pytest.mark.parametrize("kind", CASES)
def test_items_without_a_vector_are_taken_and_told(kind, store, tmp_path):
    text = f"""
    [[source]]
    kind = "given"
    [[selector]]
    kind = "{kind}"
    by = "given.score"
    space = "look"
    """
    with node_with(store, tmp_path, slate=text) as node:
        node.apply([{"op": "upsert_item", "id": 5, "columns": {"year": 2000.0}}])
        page = node.ask("slate", candidates=[5, *(film["id"] for film in films()[:40])], limit=20)
        assert page.coverage[-1].how == "1 of 41 without a vector"
        assert 5 in page.ids.tolist()
        users = node.ask("slate", users=[1, 2], candidates=[film["id"] for film in films()[:40]], limit=20)
        assert users.ids.tolist()[:20] == users.ids.tolist()[20:]


def test_what_cannot_work_is_refused_at_load(store, tmp_path):
    for kind, rest, words in (
        ("mmr", "trade = 1.5", "trade = 1.5"),
        ("dpp", "trade = 1.0", "trade = 1.0"),
        ("ssd", "window = 0", "window = 0"),
        ("ssd", "gamma = -1.0", "gamma = -1"),
        ("mmr", "pool = 0", "pool = 0"),
        ("mmr", "limit = -1", "limit = -1"),
        ("mmr", 'space = "tast"', "space = 'tast'"),
    ):
        with pytest.raises(ConfigError) as refused:
            node_with(store, tmp_path, slate=SURFACE.format(kind=kind, rest=rest))
        assert words in str(refused.value) and "slate.toml" in str(refused.value)


def test_relevance_is_stretched_over_what_is_finite():
    assert relevance_of(np.array([3.0, 1.0, np.nan, 2.0, np.inf])).tolist() == [1.0, 0.0, 0.0, 0.5, 0.0]
    assert relevance_of(np.array([2.0, 2.0])).tolist() == [0.0, 0.0]
    assert relevance_of(np.array([np.nan])).tolist() == [0.0]
