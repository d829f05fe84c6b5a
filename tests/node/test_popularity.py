"""What is popular counts what happened since the build, as a fold would, and alike however a worker met it."""

import numpy as np
import pytest
from film_store import EVENTS, build_store, films, node_with, vector

from mixline.node import Node
from mixline.node.compaction import compact
from mixline.node.components.popularity import SHARE

POPULAR = """
[[source]]
kind = "popular"
limit = 400
[[selector]]
kind = "topk"
by = "popular.score"
"""
NEWEST = 1_700_000_000 + 60 * (EVENTS - 1)
NEW = 900_001


@pytest.fixture
def store(tmp_path):
    return build_store(tmp_path)


def listed(node):
    page = node.ask("liked", user=1, limit=400)
    return dict(zip(page.ids.tolist(), page.scores.astype(float).tolist(), strict=True))


def acted(items, times=NEWEST, users=5, **more):
    times = times if isinstance(times, list) else [times] * len(items)
    return {"op": "events", "users": [users] * len(items), "items": items, "times": times, **more}


def test_what_was_acted_on_since_the_build_rises_at_once(store, tmp_path):
    with node_with(store, tmp_path, liked=POPULAR) as node:
        before = listed(node)
        top, last = next(iter(before)), list(before)[-1]
        node.apply([{"op": "upsert_item", "id": NEW, "columns": {}, "vectors": {"taste": vector(1)}}])
        assert listed(node) == before
        node.apply([acted([NEW] * 500)])
        now = listed(node)
        assert next(iter(now)) == NEW and now[NEW] == 1.0 and list(now)[1] == top
        assert now[last] / now[top] == pytest.approx(before[last] / before[top], rel=1e-6)
        why = node.why_not("liked", last, user=1)
        assert why["sources"]["popular"]["score"] == pytest.approx(now[last])
        node.apply([{"op": "delete_item", "id": NEW}])
        assert next(iter(listed(node))) == top


def test_as_after_a_fold(store, tmp_path):
    rng = np.random.default_rng(2)
    some = np.array([film["id"] for film in films()])
    with node_with(store, tmp_path, liked=POPULAR) as node:
        for _ in range(20):
            times = (NEWEST + rng.integers(-90, 400, 30) * 86_400).tolist()
            node.apply([acted(rng.choice(some, 30).tolist(), times, users=int(rng.integers(30)))])
        node.apply([acted(some[:SHARE].tolist(), NEWEST)])  # so that steps have taken in all but a few
        live = listed(node)
    assert compact(store) is not None
    with node_with(store, tmp_path, liked=POPULAR) as node:
        folded = listed(node)
    assert set(live) == set(folded)
    apart = [abs(live[one] - folded[one]) for one in folded]
    assert max(apart) < 0.05 and np.mean(apart) < 0.005


def test_the_first_events_count_one_by_one_and_what_was_shown_does_not(store, tmp_path):
    with node_with(store, tmp_path, liked=POPULAR) as node:
        one = list(listed(node))[-1]
        scores = [listed(node)[one]]
        for _ in range(5):
            node.apply([acted([one])])
            scores.append(listed(node)[one])
        assert (np.diff(scores) > 0).all()
        node.apply([acted([one] * 50, actions="served"), acted([one] * 50, actions="sent")])
        assert listed(node)[one] == pytest.approx(scores[-1])


def test_bits_depend_on_the_state_alone(store, tmp_path):
    """Whoever meets the events one batch at a time has the page of who meets all of them at once."""
    rng = np.random.default_rng(4)
    some = np.array([film["id"] for film in films()])
    with node_with(store, tmp_path, liked=POPULAR) as node:
        for _ in range(60):
            times = (NEWEST + rng.integers(0, 10**7, 17)).tolist()
            node.apply([acted(rng.choice(some, 17).tolist(), times)])
            gradual = node.ask("liked", user=1)
    with Node.open(store, tmp_path / "node.toml") as node:
        at_once = node.ask("liked", user=1)
    assert gradual.live_seq == at_once.live_seq
    assert gradual.ids.tolist() == at_once.ids.tolist() and gradual.scores.tobytes() == at_once.scores.tobytes()


def test_a_forgotten_user_made_nothing_popular(store, tmp_path):
    with node_with(store, tmp_path, liked=POPULAR) as node:
        before = listed(node)
        last = list(before)[-1]
        node.apply([acted([last] * 400, users=777)])
        assert next(iter(listed(node))) == last
        node.apply([{"op": "forget", "user": 777}])
        assert listed(node) == pytest.approx(before, rel=1e-5)


def test_events_from_far_ahead_are_all_that_counts(store, tmp_path):
    with node_with(store, tmp_path, liked=POPULAR) as node:
        one = list(listed(node))[-1]
        node.apply([acted([one], [1 << 40])])
        now = listed(node)
        assert now[one] == 1.0 and np.isfinite(list(now.values())).all()
