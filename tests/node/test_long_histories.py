"""Seen sets of any length and of some actions, against plain sets; long ones are bitmaps that go on from request to
request."""

import numpy as np
import pytest
from film_store import ITEMS, build_store, films, near, node_with, vector

from mixline.node.errors import ConfigError
from mixline.storage import live_seen

NEW = 900_001
NAMELESS = """[[filter]]
kind = "seen"
actions = [""]
"""
BOUGHT = """[[filter]]
kind = "seen"
actions = ["buy", "served"]
"""
SEEN = """[[filter]]
kind = "seen"
"""


@pytest.fixture
def store(tmp_path):
    return build_store(tmp_path)


@pytest.fixture(params=[3, 50, 10**9], ids=["bitmaps", "both", "lists"])
def node(store, tmp_path, request, monkeypatch):
    monkeypatch.setattr(live_seen, "LONG", request.param)
    with node_with(store, tmp_path, all=near(), seen=near("user", SEEN), **by_action()) as opened:
        yield opened


def by_action():
    return {"bought": near("user", BOUGHT), "nameless": near("user", NAMELESS)}


def ids(node, surface, user):
    return set(node.ask(surface, user=user).ids.tolist())


def test_whatever_happens_to_users_and_items(node):
    """Events, new items, patches and deletions in any order, looked at in between."""
    rng = np.random.default_rng(8)
    epoch = node.engine.epoch
    items = [film["id"] for film in films()]
    seen = {user: set(epoch.items.ids_of(epoch.seen(epoch.users.row_of(user))).tolist()) for user in (5, 6)}
    bought = {5: set(), 6: set()}
    for step in range(120):
        what, user, one = rng.integers(6), int(rng.integers(5, 7)), int(rng.choice(items))
        if what == 0:
            items.append(NEW + step)
            node.apply([{"op": "upsert_item", "id": items[-1], "vectors": {"taste": vector(step % 20)}}])
        elif what == 1:
            node.apply([{"op": "patch_item", "id": one, "columns": {"year": 1999}}])
        elif what == 2 and len(items) > 200:
            node.apply([{"op": "delete_item", "id": one}])
            items.remove(one)
        else:
            action = str(rng.choice(["view", "buy", "served"]))
            node.record(user, one, action)
            if action != "served":  # what was shown is no act of the user
                seen[user].add(one)
            if action != "view":
                bought[user].add(one)
        if rng.integers(3) == 0:
            there = ids(node, "all", user)
            assert there == set(items)
            assert ids(node, "seen", user) == there - seen[user]
            assert ids(node, "bought", user) == there - bought[user]
    assert len(node.engine.live.seen._kept) == {3: 4, 50: 2, 10**9: 0}[live_seen.LONG]


def test_events_of_a_build_without_actions_have_none(node):
    """The first action that comes later is another one."""
    epoch = node.engine.epoch
    every, built = ids(node, "all", 5), set(epoch.items.ids_of(epoch.seen(epoch.users.row_of(5))).tolist())
    one, other = sorted(every - built)[:2]
    assert ids(node, "bought", 5) == every and ids(node, "nameless", 5) == every - built
    node.record(5, one, "buy")
    assert ids(node, "bought", 5) == every - {one} and ids(node, "nameless", 5) == every - built
    node.record(5, other)
    assert ids(node, "nameless", 5) == every - built - {other}


def test_a_history_of_any_length_is_whole(node, monkeypatch):
    monkeypatch.setattr("mixline.storage.live_view.EVENTS_OF_USER_MAX", 10)
    first, every = films()[0]["id"], [film["id"] for film in films()]
    node.record(5, first)
    for _ in range(3):
        node.apply([{"op": "events", "users": [5] * 200, "items": every[50:250]}])
    assert first not in ids(node, "seen", 5)
    node.record(5, every[250])
    left = ids(node, "seen", 5)
    assert not left & {first, *every[50:251]} and len(left) > 10
    call_rows = node.engine.live.view().seen(node.engine.epoch.users.row_of(5))
    assert (call_rows.dtype == np.uint64) == (live_seen.LONG < 600)


def test_a_request_that_began_before_sees_its_own_state(node):
    node.record(5, films()[0]["id"])
    older, user = node.engine.live.view(), node.engine.epoch.users.row_of(5)
    before = older.seen(user)
    node.record(5, next(film["id"] for film in films() if film["id"] in ids(node, "seen", 5)))
    newer = node.engine.live.view().seen(user)
    assert (older.seen(user) == before).all()
    assert newer.shape != before.shape or (newer != before).any()


def test_what_is_kept_is_bounded(node, monkeypatch):
    monkeypatch.setattr(live_seen, "KEPT_BYTES_MAX", 2 * 8 * -(-ITEMS // 64))
    for user in (*range(8), *range(8)):
        node.record(user, films()[user]["id"])
        assert films()[user]["id"] not in ids(node, "seen", user)
    kept = node.engine.live.seen
    assert len(kept._kept) <= 2 and kept._bytes == sum(words.nbytes for _, words in kept._kept.values())


def test_no_actions_are_a_mistake(store, tmp_path):
    with pytest.raises(ConfigError, match="name at least one"):
        node_with(store, tmp_path, wrong=near("user", '[[filter]]\nkind = "seen"\nactions = []\n'))
