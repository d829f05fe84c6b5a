"""Sources that go by when an item came: latest, following, exploration."""

import numpy as np
import pytest
from film_store import node_with
from shop_store import COUNT, DAY, HOUR, MINUTE, NOW, articles

from mixline.node.components.sources.exploration_source import lots
from mixline.node.errors import ConfigError

LATEST = """
[[source]]
kind = "latest"
column = "at"
limit = {limit}
{rest}
[[selector]]
kind = "topk"
by = "latest.score"
"""
FOLLOWING = """
[[source]]
kind = "following"
column = "at"
{rest}
[[selector]]
kind = "topk"
by = "following.score"
"""
EXPLORE = """
[[source]]
kind = "exploration"
column = "at"
limit = {limit}
{rest}
[[selector]]
kind = "topk"
by = "exploration.score"
"""
SEEN = '[[filter]]\nkind = "seen"\n'


def newest(keep=lambda one: True):
    """Ids in the order of their times, of those kept."""
    found = [one for one in articles() if one["at"] is not None and keep(one)]
    return [one["id"] for one in sorted(found, key=lambda one: (-one["at"], one["id"]))]


def ids(page):
    return page.ids.tolist()


def test_latest_brings_the_newest_first_and_nothing_from_the_future(shop_store, tmp_path):
    with node_with(shop_store, tmp_path, fresh=LATEST.format(limit=10, rest="")) as node:
        page = node.ask("fresh", time=NOW)
        assert ids(page) == newest()[:10]
        assert page.scores.tolist() == (1 / np.arange(1, 11)).astype(np.float32).tolist()
        assert ids(node.ask("fresh", time=NOW - 5 * HOUR)) == newest(lambda one: one["at"] <= NOW - 5 * HOUR)[:10]
        assert ids(node.ask("fresh", time=NOW - 1000 * DAY)) == []


def test_latest_leaves_out_what_filters_forbid_before_its_limit(shop_store, tmp_path):
    with node_with(shop_store, tmp_path, fresh=LATEST.format(limit=5, rest=SEEN)) as node:
        assert ids(node.ask("fresh", user=1, time=NOW)) == newest(lambda one: one["id"] not in (101, 104, 110))[:5]


def test_latest_knows_what_came_was_patched_and_went(own_shop, tmp_path):
    with node_with(own_shop, tmp_path, fresh=LATEST.format(limit=4, rest="depth = 6")) as node:
        node.apply(
            [
                {"op": "upsert_item", "id": 900, "columns": {"at": NOW}},
                {"op": "upsert_item", "id": 901, "columns": {"at": NOW - 50 * HOUR}},
                {"op": "patch_item", "id": 140, "columns": {"at": NOW - 1}},
                {"op": "delete_item", "id": 101},
            ]
        )
        assert ids(node.ask("fresh", time=NOW)) == [100, 900, 140, 102]
        node.apply([{"op": "upsert_item", "id": 900, "columns": {"at": NOW - 1}}])
        node.apply([{"op": "upsert_item", "id": 900, "columns": {"at": NOW - 90 * MINUTE}}])
        assert ids(node.ask("fresh", time=NOW)) == [100, 140, 900, 102]
        told = node.why_not("fresh", 103, time=NOW)
        assert (told["fate"], told["sources"]["latest"]["brought"]) == ("not_retrieved", False)
        assert told["sources"]["latest"]["score"] == pytest.approx(1 / 5)


def test_following_brings_what_is_new_of_those_one_follows(shop_store, tmp_path):
    with node_with(shop_store, tmp_path, feed=FOLLOWING.format(rest='follows = "follows"\nlimit = 7')) as node:
        assert ids(node.ask("feed", user=1, time=NOW)) == newest(lambda one: one["maker"] == "ann")[:7]
        assert ids(node.ask("feed", user=3, time=NOW)) == newest(lambda one: one["maker"] != "ann")[:7]
        assert ids(node.ask("feed", user=2, time=NOW)) == ids(node.ask("feed", user=77, time=NOW)) == []
        both = node.ask("feed", users=[3, 2, 1], time=NOW)
        assert both.groups.tolist() == [0, 7, 7, 14]


def test_following_by_events_and_by_what_is_known_of_late_users(own_shop, tmp_path):
    liked = FOLLOWING.format(rest='actions = ["like"]\nlimit = 3')
    told = FOLLOWING.format(rest='follows = "follows"\nlimit = 3')
    with node_with(own_shop, tmp_path, liked=liked, told=told) as node:
        assert ids(node.ask("liked", user=1, time=NOW)) == newest(lambda one: one["maker"] == "bob")[:3]
        assert ids(node.ask("liked", user=3, time=NOW)) == []
        node.apply(
            [
                {"op": "events", "users": [3], "items": [102], "actions": "like"},
                {"op": "patch_user", "id": 1, "columns": {"follows": ["dora"]}},
                {"op": "upsert_item", "id": 950, "columns": {"at": NOW - 1, "maker": "dora"}},
            ]
        )
        assert ids(node.ask("liked", user=3, time=NOW)) == newest(lambda one: one["maker"] == "cleo")[:3]
        assert ids(node.ask("told", user=1, time=NOW)) == [950]


def test_exploration_gives_every_cold_item_the_same_chance(shop_store, tmp_path):
    with node_with(shop_store, tmp_path, try_out=EXPLORE.format(limit=3, rest="pool = 40\nevents = 0")) as node:
        cold = [one for one in newest()[:40] if one not in (101, 104, 110)]
        counts = dict.fromkeys(cold, 0)
        for at in range(600):
            page = node.ask("try_out", user=2, time=NOW, request_id=at)
            assert page.scores.tolist() == [pytest.approx(3 / len(cold))] * 3
            for one in ids(page):
                counts[one] += 1
        expected = 600 * 3 / len(cold)
        squares = sum((count - expected) ** 2 / expected for count in counts.values())
        assert squares < 80, "beyond what 36 degrees of freedom give by chance once in 50,000"
        assert ids(node.ask("try_out", user=2, time=NOW, request_id=5)) == ids(
            node.ask("try_out", user=2, time=NOW, request_id=5)
        )


def test_exploration_stops_at_an_item_that_is_known(own_shop, tmp_path):
    with node_with(own_shop, tmp_path, try_out=EXPLORE.format(limit=1, rest="pool = 1\nevents = 1")) as node:
        assert ids(node.ask("try_out", time=NOW)) == [100]
        node.record(user=2, item=100, action="view")
        assert ids(node.ask("try_out", time=2 * NOW)) == [100]
        node.record(user=3, item=100, action="view")
        assert ids(node.ask("try_out", time=2 * NOW)) == []
        assert node.ask("try_out", time=2 * NOW).status == "OK"


def test_lots_depend_on_key_and_seed_and_fall_evenly():
    keys = np.arange(10_000, dtype=np.uint64)
    drawn = lots(keys, 77)
    assert len(np.unique(drawn)) == len(keys) and (drawn != lots(keys, 78)).all()
    assert abs(int((drawn >> np.uint64(63)).sum()) - 5000) < 250
    assert lots(keys[5:6], 77)[0] == drawn[5]


def test_without_a_column_what_came_last_is_newest(own_shop, tmp_path):
    fresh = LATEST.format(limit=3, rest="depth = 5").replace('column = "at"', "")
    with node_with(own_shop, tmp_path, fresh=fresh) as node:
        assert ids(node.ask("fresh")) == [159, 158, 157]
        node.apply([{"op": "upsert_item", "id": 5, "columns": {}}, {"op": "delete_item", "id": 158}])
        assert ids(node.ask("fresh")) == [5, 159, 157]
        assert ids(node.ask("fresh", time=1)) == [5, 159, 157]


def test_what_cannot_work_is_refused_at_load(shop_store, tmp_path):
    for text, words in (
        (LATEST.format(limit=5, rest="depth = 4"), "depth = 4"),
        (LATEST.format(limit=5, rest="").replace('"at"', '"maker"'), "column = 'maker': no column of numbers"),
        (FOLLOWING.format(rest=""), "follows, actions: give one"),
        (FOLLOWING.format(rest='follows = "age"'), "follows = 'age'"),
        (FOLLOWING.format(rest='actions = ["like"]\ncreator = "risk"'), "creator = 'risk'"),
        (EXPLORE.format(limit=5, rest="pool = 1"), "pool = 1"),
        (EXPLORE.format(limit=5, rest="events = -1"), "events = -1"),
    ):
        with pytest.raises(ConfigError) as refused:
            node_with(shop_store, tmp_path, bad=text)
        assert words in str(refused.value)


def test_a_store_of_many_items_keeps_the_newest_of_them(shop_store, tmp_path):
    with node_with(shop_store, tmp_path, fresh=LATEST.format(limit=2, rest="depth = 3")) as node:
        assert ids(node.ask("fresh", time=NOW)) == newest()[:2]
        assert COUNT > 2 * 3
