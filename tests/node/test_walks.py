"""The source of walks through surfaces: what it finds, leaves out, repeats, and says."""

import itertools

import numpy as np
import pytest
from film_store import BLOCKED, SEEN, build_store, films, node_with, vector

from mixline.kernels import reference_walk
from mixline.node.components.sources.walk_source import budgets_of
from mixline.node.errors import ConfigError

SURFACE = """
limit = 300
[[source]]
name = "walk"
kind = "walk"
query = "{query}"
steps = {steps}
limit = 300
{rest}
{filters}
[[selector]]
kind = "topk"
by = "walk.score"
"""


def surface(query="item", steps=4000, rest="", *filters):
    return SURFACE.format(query=query, steps=steps, rest=rest, filters="".join(filters))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_store(tmp_path_factory.mktemp("films"))


@pytest.fixture
def node(tmp_path):
    store = build_store(tmp_path)
    kept = surface("item", 4000, "", SEEN, BLOCKED)
    few = surface().replace("limit = 300\n\n", "limit = 10\n")
    made = {"related": surface(), "recent": surface("recent"), "kept": kept, "few": few}
    with node_with(store, tmp_path / "config", **made) as opened:
        yield opened


FIRST, SECOND = films()[0]["id"], films()[1]["id"]


def lists(ends, values):
    return [values[start:stop] for start, stop in itertools.pairwise(ends)]


def test_a_walk_is_its_twin_of_the_same_request(node):
    """The row of a film is its place in the file."""
    acted = node.engine.epoch.acted
    page = node.ask("related", items=[FIRST, SECOND], request_id=77)
    steps = budgets_of(np.diff(acted.item_ends)[:2], int(np.diff(acted.item_ends).max()), 4000).tolist()
    found = [
        reference_walk.visits(
            lists(acted.item_ends, acted.users), lists(acted.user_ends, acted.items), seed, steps[seed],
            (77 ^ crc("walk") << 32) + seed * 0xA0761D6478BD642F & reference_walk.WORD, 0.5, 0, 4,
        )
        for seed in (0, 1)
    ]  # fmt: skip
    expected = reference_walk.boosted(found)
    ids = [film["id"] for film in films()]
    assert dict(zip(page.ids.tolist(), page.scores, strict=True)) == {
        ids[row]: score for row, score in expected.items() if row > 1
    }


def crc(text):
    import zlib

    return zlib.crc32(text.encode())


def test_the_same_request_walks_the_same_way(node):
    pages = [node.ask("related", item=FIRST, request_id=one) for one in (1, 1, 2)]
    assert pages[0].ids.tolist() == pages[1].ids.tolist() and pages[0].scores.tobytes() == pages[1].scores.tobytes()
    assert pages[0].scores.tobytes() != pages[2].scores.tobytes()
    assert FIRST not in pages[0].ids.tolist() and len(pages[0]) > 100


def test_live_events_are_seeds_and_what_is_gone_is_not_found(node):
    user = 39  # without an event of the build
    assert node.ask("recent", user=user).ids.tolist() == []
    node.record(user, FIRST)
    found = node.ask("recent", user=user, request_id=1).ids.tolist()
    assert len(found) > 100 and FIRST not in found
    gone, blocked, patched = found[:3]
    node.apply(
        [
            {"op": "delete_item", "id": gone},
            {"op": "block", "user": user, "item": blocked},
            {"op": "patch_item", "id": patched, "columns": {"year": 1999.0}},
            {"op": "upsert_item", "id": 5, "vectors": {"taste": vector(1)}},
        ]
    )
    left = node.ask("recent", user=user, request_id=1).ids.tolist()
    assert left == [one for one in found if one != gone]
    kept = node.ask("kept", user=user, item=FIRST, request_id=1).ids.tolist()
    assert kept and not {gone, blocked, FIRST} & set(kept) and patched in kept
    node.record(user, 5)
    assert node.ask("recent", user=user, request_id=1).ids.tolist()
    assert node.ask("related", item=5).ids.tolist() == []


def test_why_not_tells_how_near_an_item_was(node):
    page = node.ask("related", item=FIRST, request_id=1)
    near, far = page.ids.tolist()[3], page.ids.tolist()[20]
    told = node.ask("few", item=FIRST, request_id=1, why=[near, far, FIRST]).why
    assert [one["sources"]["walk"]["brought"] for one in told] == [True, False, False]
    scores = [one["sources"]["walk"]["score"] for one in told]
    assert scores == [*page.scores[[3, 20]].tolist(), None]
    assert [one["sources"]["walk"]["cutoff"] for one in told] == [page.scores[9]] * 3


def test_groups_walk_by_themselves(node):
    page = node.ask("recent", users=[1, 2, 39], request_id=3, limit=20)
    assert page.ids[:20].tolist() != page.ids[20:40].tolist() and len(page.ids) == 40


def test_what_cannot_work_is_refused_at_load(built, tmp_path):
    for rest in ("restart = 1.5", "seeds = 0", "stop_items = -1", "stop_visits = 0"):
        with pytest.raises(ConfigError) as refused:
            node_with(built, tmp_path, odd=surface("item", 1000, rest))
        assert rest in str(refused.value)
    with pytest.raises(ConfigError, match="steps = 0"):
        node_with(built, tmp_path, odd=surface("item", 0))


def test_steps_grow_with_users_but_less_than_in_proportion():
    found = budgets_of(np.array([1, 10, 1000]), 1000, 30_000_000)
    assert found[0] < found[1] < found[2] and found[2] < 1000 * found[0] and 29_999_990 < found.sum() <= 30_000_000
    assert budgets_of(np.array([1, 1]), 1, 11).tolist() == [5, 5]
    assert budgets_of(np.array([1, 1]), 0, 11).tolist() == [5, 5]
