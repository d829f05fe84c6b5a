"""What was recorded with a query counts for it in the next request, with new items, deletions and blocks, as after a
fold."""

import numpy as np
import pytest
from bytes_left import files_with
from film_store import node_with
from test_popular_for_query import CLICKS, SURFACE, store_of
from text_store import build_titles

from mixline.node.compaction import compact
from mixline.storage.errors import BadOperation
from mixline.storage.forget import forget_in_epochs
from mixline.storage.live_segments import QUERIES_MAX, QUERY_CHARS_MAX
from mixline.storage.store import Store

WHOLE = SURFACE.format(filters='[[filter]]\nkind = "blocked"\n').replace("limit = 2", "limit = 50")
NEW = 900_001


def told(node, query, **more):
    page = node.ask("asked", query=query, **more)
    return dict(zip(page.ids.tolist(), page.scores.astype(float).round(4).tolist(), strict=True))


def test_events_with_a_query_count_at_once(tmp_path):
    with node_with(store_of(tmp_path, users=1), tmp_path, asked=WHOLE) as node:
        assert told(node, "space films") == {103: 1.0, 104: 0.9, 119: 0.1}
        for _ in range(3):
            node.record(1, 104, query="Space FILMS?")
        node.record(1, 103)  # found otherwise
        node.record(2, 105, "served", query="space films")  # shown, and no act
        assert told(node, "space films") == {104: 1.0, 103: round(10 / 12, 4), 119: round(1 / 12, 4)}
        node.apply([{"op": "upsert_item", "id": NEW, "columns": {"title": "Quite new"}}])
        events = {"op": "events", "users": [3, 4, 5], "items": [NEW, NEW, 105], "actions": "view"}
        node.apply([{**events, "queries": ["space films", "never asked before", "never asked before"]}])
        found = told(node, "space films")
        assert found[NEW] == round(1 / 12, 4) and next(iter(found)) == 104
        assert told(node, "NEVER asked,  before!") == {105: 1.0, NEW: 1.0}
        assert [*told(node, "never asked before")] == [105, NEW]  # of equal ones the one that came first
        node.apply([{"op": "patch_item", "id": NEW, "columns": {"title": "Quite old"}}])
        assert told(node, "never asked before") == {105: 1.0, NEW: 1.0}
        node.apply([{"op": "block", "user": 7, "item": NEW}])
        assert told(node, "never asked before", user=7) == {105: 1.0}
        assert told(node, "never asked before", user=8) == {105: 1.0, NEW: 1.0}
        node.apply([{"op": "delete_item", "id": NEW}])
        assert told(node, "never asked before") == {105: 1.0}
        assert node.why_not("asked", 105, query="never asked before")["sources"]["popular_for_query"]["score"] == 1.0
        assert told(node, "x" * (QUERY_CHARS_MAX + 1)) == {}


def test_a_fold_and_a_restart_change_nothing(tmp_path):
    store = store_of(tmp_path, users=1)
    rng, queries = np.random.default_rng(4), ["space films", "Star  Trek", "one more", "another", ""]
    with node_with(store, tmp_path, asked=WHOLE) as node:
        for _ in range(20):
            items, some = rng.integers(100, 120, 30).tolist(), rng.choice(queries, 30).tolist()
            node.apply([{"op": "events", "users": [1] * 30, "items": items, "queries": some}])
            told(node, "space films")  # sums are taken step by step
        live = {query: told(node, query) for query in queries}
        assert len(live["another"]) > 9 and not live[""]
    with node_with(store, tmp_path, asked=WHOLE) as node:
        assert {query: told(node, query) for query in queries} == live
    assert compact(store) is not None
    with node_with(store, tmp_path, asked=WHOLE) as node:
        assert {query: told(node, query) for query in queries} == live
        assert "one more" in [one["text"] for one in node.ask("suggest", query="one mo").suggestions]
        node.record(1, 100, query="another")
        live = {query: told(node, query) for query in queries}
    assert compact(store) is not None
    with node_with(store, tmp_path, asked=WHOLE) as node:
        assert {query: told(node, query) for query in queries} == live


def test_a_store_without_past_queries_learns_them(tmp_path):
    with node_with(build_titles(tmp_path), tmp_path, asked=WHOLE) as node:
        assert told(node, "space") == {}
        for user in (1, 2, 1, 2):
            node.record(user, 110, query="space")
            assert told(node, "space") == {}
        node.record(3, 111, query="space")
        assert told(node, "space") == {110: 1.0, 111: 0.25} and node.ask("asked", query="space").status == "OK"


def test_of_a_forgotten_user_no_word_is_left(tmp_path):
    store = store_of(tmp_path, users=1)
    with node_with(store, tmp_path, asked=WHOLE) as node:
        node.record(1, 110, query="zanzibar orchids")
        node.record(1, 110, query="space films")
        node.record(2, 111, query="space films")
        assert told(node, "zanzibar orchids") == {110: 1.0} and 110 in told(node, "space films")
        node.apply([{"op": "forget", "user": 1}])
        assert told(node, "zanzibar orchids") == {}
        assert 110 not in told(node, "space films") and 111 in told(node, "space films")
        node.record(2, 112, query="zanzibar orchids")
        assert told(node, "zanzibar orchids") == {112: 1.0}
        node.apply([{"op": "forget", "user": 2}])
    assert not {name for name in files_with(store, [b"zanzibar"]) if name.startswith("live")}


def test_columns_of_other_lengths_are_refused(tmp_path):
    with node_with(store_of(tmp_path, users=1), tmp_path, asked=WHOLE) as node:
        with pytest.raises(Exception, match=r"queries: 1 for 2 events") as refused:
            node.apply([{"op": "events", "users": [1, 2], "items": [100, 101], "queries": ["space"]}])
        assert isinstance(refused.value, BadOperation) or "ops[0] events" in str(refused.value)
        assert told(node, "space") == {}


def test_more_queries_than_are_kept_are_events_like_others(tmp_path, monkeypatch):
    monkeypatch.setattr("mixline.storage.live_labels.QUERIES_MAX", 2)
    assert QUERIES_MAX > 2
    with node_with(store_of(tmp_path, users=1), tmp_path, asked=WHOLE) as node:
        for at, query in enumerate(["first", "second", "third", "second"]):
            node.record(1, 100 + at, query=query)
        assert told(node, "first") == {100: 1.0} and told(node, "second") == {101: 1.0, 103: 1.0}
        assert told(node, "third") == {}
        assert node.ask("asked", query="first", user=1).status == "OK"


def completed(node, typed):
    return [one["text"] for one in node.ask("suggest", query=typed).suggestions]


def test_what_too_few_users_asked_is_told_to_nobody(tmp_path):
    store, query = store_of(tmp_path, CLICKS + "rarely asked,105,2\n"), "my own secret"
    with node_with(store, tmp_path, asked=WHOLE) as node:
        assert completed(node, "rarely") == [] and told(node, "rarely asked") == {}
        for _ in range(5):
            node.record(1, 110, query=query)
        node.record(2, 111, query="My own SECRET!")
        assert told(node, query) == {}
    for turn in range(2):  # the same users count once, whatever is folded in between
        assert compact(store) is not None
        with node_with(store, tmp_path, asked=WHOLE) as node:
            assert told(node, query) == {} and completed(node, "my own") == []
            assert "space films" in completed(node, "space fi")
            node.record(1 + turn, 110, query=query)
            assert told(node, query) == {}
            if turn:
                node.record(3, 112, query=query)
                assert told(node, query) == {110: 1.0, 111: 0.1429, 112: 0.1429}
                live = told(node, query)
    assert compact(store) is not None
    with node_with(store, tmp_path, asked=WHOLE) as node:
        assert told(node, query) == live and completed(node, "my own") == ["my own secret"]
        assert told(node, "rarely asked") == {}


def test_of_a_forgotten_user_no_query_is_left_in_an_epoch(tmp_path):
    store = store_of(tmp_path)
    with node_with(store, tmp_path, asked=WHOLE) as node:
        node.record(1, 110, query="zanzibar orchids")
        node.record(1, 110, query="madagascar lilies")
        node.record(2, 111, query="madagascar lilies")
    assert compact(store) is not None
    assert b"zanzibar orchids" in queries_of(store)
    with node_with(store, tmp_path, asked=WHOLE) as node:
        node.apply([{"op": "forget", "user": 1}])
    assert forget_in_epochs(store, 1).active is not None
    assert b"zanzibar" not in queries_of(store) and b"madagascar lilies" in queries_of(store)
    with node_with(store, tmp_path, asked=WHOLE) as node:
        for user in (1, 2, 3):
            node.record(user, 112, query="zanzibar orchids")
            node.record(user, 112, query="madagascar lilies")
        assert told(node, "zanzibar orchids") == {112: 1.0}
        assert told(node, "madagascar lilies") == {112: 1.0, 110: 0.3333, 111: 0.3333}


def queries_of(store):
    with Store(store).open() as epoch:
        return (epoch.path / "text/queries.bytes.npy").read_bytes()
