"""Texts that came since the build: found in the next request, gone with the item, scored as after a fold."""

import pytest
from film_store import write_config
from test_text_source import SURFACE
from text_store import build_titles

from mixline.node import Node
from mixline.storage.live_source import LiveSource
from mixline.storage.progress import Silence

TEXT = '[text]\nstop = "english"\n'


@pytest.fixture
def node(tmp_path):
    store = build_titles(tmp_path, TEXT)
    with Node.open(store, config=write_config(tmp_path, texts=SURFACE.format(more=""))) as node:
        yield node


def ids(node, query):
    return node.ask("texts", query=query, limit=50).ids.tolist()


def test_what_is_written_is_found_in_the_next_request(node):
    assert ids(node, "zardoz") == []
    node.apply([{"op": "upsert_item", "id": 900, "columns": {"title": "Zardoz in Deep Space"}}])
    assert ids(node, "zardoz") == [900]
    assert 900 in ids(node, "space") and ids(node, '"deep space" +zardoz') == [900] and ids(node, "zard*") == [900]
    assert ids(node, '+zardoz "space deep"') == []
    node.apply([{"op": "patch_item", "id": 900, "columns": {"title": "Excalibur"}}])
    assert ids(node, "zardoz") == [] and ids(node, "excalibur") == [900]
    node.apply([{"op": "patch_item", "id": 119, "columns": {"plot": "spice"}}])
    assert ids(node, "dune") == [119, 100] and ids(node, "dune +spice") == [119]
    node.apply([{"op": "delete_item", "id": 900}, {"op": "delete_item", "id": 119}])
    assert ids(node, "excalibur") == [] and ids(node, "dune") == [100]


def test_late_texts_are_read_as_there_is_time(node, monkeypatch):
    for first in range(0, 300, 100):
        columns = [{"title": f"zardoz{one % 7} {'space ' * (one % 5)}late"} for one in range(first, first + 100)]
        node.apply([{"op": "upsert_item", "id": 900 + first + at, "columns": one} for at, one in enumerate(columns)])
    with monkeypatch.context() as patch:
        patch.setattr("mixline.node.text_search.READING", 1 << 60)  # no time at all
        page = node.ask("texts", query="dune zardoz3", limit=50)
        [source] = [entry for entry in page.coverage if entry.stage == "source"]
        assert page.status == "DEGRADED" and "of the texts that came since the build" in source.why
        known = page.ids.tolist()
        assert known and max(known) < 900
    page = node.ask("texts", query="dune zardoz3", limit=50)
    assert page.status == "OK" and len(page) == len(known) + sum(one % 7 == 3 for one in range(300))
    few, many = (node.ask("texts", query="zard* space", limit=limit) for limit in (10, 50))
    assert few.ids.tolist() == many.ids.tolist()[:10] and few.scores.tobytes() == many.scores[:10].tobytes()
    assert {one % 5 for one in few.ids.tolist() if one >= 900} == {4}


def test_scores_of_what_came_later_are_those_of_the_build(tmp_path):
    """An item that is patched to what it says already keeps its score, to the bit."""
    store = build_titles(tmp_path, TEXT)
    with Node.open(store, config=write_config(tmp_path, texts=SURFACE.format(more=""))) as node:
        queries = ["space opera", "alien -deep", '"deep space"', "story star*", "title:space plot:space"]
        before = [node.ask("texts", query=query, limit=50) for query in queries]
        node.apply([{"op": "patch_item", "id": 100 + at, "columns": {"year": 1999.0}} for at in range(0, 20, 2)])
        for query, was in zip(queries, before, strict=True):
            now = node.ask("texts", query=query, limit=50)
            assert now.ids.tolist() == was.ids.tolist() and now.scores.tobytes() == was.scores.tobytes()


def test_a_fold_finds_the_same(tmp_path):
    from mixline.node.build_kernels import build_kernels
    from mixline.storage.builder import Builder

    store = build_titles(tmp_path, TEXT)
    config = write_config(tmp_path, texts=SURFACE.format(more=""))
    with Node.open(store, config=config) as node:
        node.apply([{"op": "upsert_item", "id": 900, "columns": {"title": "Zardoz in Deep Space"}}])
        node.apply([{"op": "delete_item", "id": 111}])
        found = {query: set(ids(node, query)) for query in ("zardoz", "space", '"deep space"', "opera")}
    with LiveSource(store) as source:
        Builder(source, store, build_kernels(), 1 << 30, Silence()).build()
    with Node.open(store, config=config) as node:
        assert {query: set(ids(node, query)) for query in found} == found
