"""The reserve of earlier pages: recorded after the reply, and brought back by a source, until it is old."""

import time

import pytest
from film_store import write_config
from node_process import running
from shop_store import DAY, NOW, articles

from mixline.node.client import Client
from mixline.node.compaction import compact
from mixline.node.errors import ConfigError
from mixline.node.inprocess import Node

ALL = [one["id"] for one in articles()]
FIRST = """
limit = 3
deadline_ms = 10000
[[source]]
kind = "given"
limit = 20
[[selector]]
kind = "topk"
by = "given.score"
[[side_effect]]
kind = "kept"
by = "given.score"
count = 4
"""
AGAIN = """
deadline_ms = 10000
[[source]]
kind = "cached"
window = "1d"
limit = {limit}
[[filter]]
kind = "seen"
[[filter]]
kind = "served"
[[selector]]
kind = "topk"
by = "cached.score"
"""


def open_with(store, tmp_path, limit=100):
    config = write_config(tmp_path, first=FIRST, again=AGAIN.format(limit=limit))
    return Node.open(store, config, effects=True)


def kept(node, wanted, user=2, when=NOW + 60):
    """What comes back, as soon as it is ``wanted``."""
    until = time.monotonic() + 10
    while (found := node.ask("again", user=user, time=when).ids.tolist()) != wanted and time.monotonic() < until:
        time.sleep(0.02)
    return found


def test_what_found_no_room_comes_back_best_first(own_shop, tmp_path):
    with open_with(own_shop, tmp_path) as node:
        assert node.ask("again", user=2, time=NOW).ids.tolist() == []
        assert node.ask("first", user=2, candidates=ALL[:10], time=NOW).ids.tolist() == ALL[:3]
        assert kept(node, ALL[3:7]) == ALL[3:7], "four of the seven that are left"
        page = node.ask("again", user=2, time=NOW + 60)
        assert page.scores.tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
        assert node.ask("again", user=3, time=NOW + 60).ids.tolist() == []
        assert node.ask("again", user=2, time=NOW + DAY + 1).ids.tolist() == [], "too old"
        assert node.ask("again", user=2, time=NOW - 1).ids.tolist() == [], "still to come"


def test_a_later_reserve_comes_first_and_an_item_once(own_shop, tmp_path):
    with open_with(own_shop, tmp_path) as node:
        node.ask("first", user=2, candidates=ALL[:10], time=NOW)
        assert kept(node, ALL[3:7]) == ALL[3:7]
        node.ask("first", user=2, candidates=[*ALL[20:23], *ALL[24:26], ALL[4]], time=NOW + 5)
        wanted = [*ALL[24:26], ALL[4], ALL[3], *ALL[5:7]]
        assert kept(node, wanted) == wanted


def test_what_is_gone_seen_or_served_is_left_out_before_the_limit(own_shop, tmp_path):
    with open_with(own_shop, tmp_path, limit=2) as node:
        node.ask("first", user=2, candidates=ALL[:10], time=NOW)
        assert kept(node, ALL[3:5]) == ALL[3:5]
        node.apply([{"op": "delete_item", "id": ALL[3]}])
        node.apply([{"op": "events", "users": [2], "items": [ALL[4]], "times": [NOW]}])
        assert kept(node, ALL[5:7]) == ALL[5:7]
        node.apply([{"op": "events", "users": [2], "items": [ALL[5]], "times": [NOW], "actions": "served"}])
        assert kept(node, ALL[6:7]) == ALL[6:7]


def test_it_is_no_act_of_the_user_and_a_fold_keeps_it(own_shop, tmp_path):
    with open_with(own_shop, tmp_path) as node:
        node.ask("first", user=2, candidates=ALL[:10], time=NOW)
        assert kept(node, ALL[3:7]) == ALL[3:7], "the filter seen lets them in"
    assert compact(own_shop) is not None
    with open_with(own_shop, tmp_path) as node:
        assert node.engine.epoch_number == 2 and kept(node, ALL[3:7]) == ALL[3:7]
        why = node.why_not("again", ALL[8], user=2, time=NOW + 60)
        assert why["sources"]["cached"].get("score") is None


def test_a_reserve_pushes_nothing_else_out_of_a_history(own_shop, tmp_path):
    """As many are kept as a history has events: what was served before is still known, live and after a fold."""
    more = {"op": "events", "users": [2] * 1000, "times": list(range(NOW - 1000, NOW))}
    with open_with(own_shop, tmp_path) as node:
        node.apply([{"op": "events", "users": [2], "items": [ALL[1]], "times": [NOW - 2000], "actions": "served"}])
        node.apply([{**more, "items": [ALL[1 + at % 4] for at in range(1000)], "actions": "kept"}])
        wanted = [ALL[4], ALL[3], ALL[2]]  # the newest first, and not what was served
        assert kept(node, wanted, when=NOW) == wanted
    assert compact(own_shop) is not None
    with open_with(own_shop, tmp_path) as node:
        assert kept(node, wanted, when=NOW) == wanted


def test_a_node_that_closes_writes_what_follows_its_replies(own_shop, tmp_path):
    for at in range(6):
        with open_with(own_shop, tmp_path) as node:
            node.ask("first", user=2, candidates=ALL[10 * at : 10 * at + 4], time=NOW + at)
    with open_with(own_shop, tmp_path) as node:
        page = node.ask("again", user=2, time=NOW + 60)
        assert page.live_seq == 6 and page.ids.tolist() == [ALL[10 * at + 3] for at in reversed(range(6))]


def test_every_user_of_a_batch_has_a_reserve_and_strangers_none(own_shop, tmp_path):
    with open_with(own_shop, tmp_path) as node:
        node.ask("first", users=[2, 987_654, 3], candidates=ALL[:5], time=NOW)
        assert kept(node, ALL[3:5]) == ALL[3:5] == kept(node, ALL[3:5], user=3)
        assert node.ask("again", user=987_654, time=NOW + 60).ids.tolist() == []


def test_any_worker_of_a_node_brings_it(own_shop, tmp_path):
    config = write_config(tmp_path, first=FIRST, again=AGAIN.format(limit=100))
    with running(tmp_path, store=own_shop, serve=["--config", config]) as node, Client(node.endpoint) as client:
        client.ask("first", user=2, candidates=ALL[:10], time=NOW)
        assert kept(client, ALL[3:7]) == ALL[3:7], node.log()
        pages = client.ask_many([{"surface": "again", "user": 2, "time": NOW + 60}] * 200)
        assert all(page.ids.tolist() == ALL[3:7] for page in pages)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (AGAIN.format(limit=9).replace('"1d"', '"soon"'), "window"),
        (FIRST.replace("count = 4", "count = 0"), "count = 0: must lie in 1 .. 1000"),
        (FIRST.replace('by = "given.score"\ncount', 'by = "nothing"\ncount'), "nothing"),
    ],
)
def test_what_cannot_work_is_refused(own_shop, tmp_path, text, why):
    with pytest.raises(ConfigError, match=why):
        Node.open(own_shop, write_config(tmp_path, odd=text))
