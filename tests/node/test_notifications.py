"""Whom to send what: quiet hours, budgets reserved before the reply, and what was shown, which is no act of a user."""

import time
from itertools import pairwise

import numpy as np
import pytest
from film_store import node_with, write_config
from node_process import running
from shop_store import DAY, HOUR, NOW, articles

from mixline.node.client import Client
from mixline.node.compaction import compact
from mixline.node.errors import ConfigError
from mixline.node.inprocess import Node

ALL = [one["id"] for one in articles()]
SEND = """
deadline_ms = 10000
[[source]]
kind = "given"
{rest}
[[selector]]
kind = "topk"
by = "given.score"
limit = 5
[[selector]]
kind = "reserve"
budgets = [{budgets}]
on_error = "fail"
[[side_effect]]
kind = "served"
action = "sent"
"""
WEEK = '{ budget = "push", limit = 2, window = "7d" }'
EVER = '{ budget = "life", limit = 3 }'
SENT = '[[filter]]\nkind = "served"\nactions = ["sent"]\nwindow = "30d"\n'
FEED = """
[[source]]
kind = "latest"
limit = 60
[[filter]]
kind = "served"
window = "1d"
[[selector]]
kind = "topk"
by = "latest.score"
[[side_effect]]
kind = "served"
"""


def open_with(store, tmp_path, **surfaces):
    """A node in this process that reserves and records."""
    return Node.open(store, write_config(tmp_path, **surfaces), effects=True)


def decided(page):
    """By user of the request: the item to send, or None."""
    ids, edges = page.ids.tolist(), page.groups.tolist()
    return [ids[start] if stop > start else None for start, stop in pairwise(edges)]


def settled(node, name, users, wanted, within_s=10.0, **given):
    """Ask until what was shown before has been recorded."""
    until = time.monotonic() + within_s
    while (found := decided(node.ask(name, users=users, **given))) != wanted and time.monotonic() < until:
        time.sleep(0.02)
    return found


def test_no_user_gets_more_than_the_budget_has(own_shop, tmp_path):
    with open_with(own_shop, tmp_path, send=SEND.format(rest="", budgets=WEEK)) as node:
        pages = [node.ask("send", users=[1, 2, 99, 3], candidates=ALL, time=NOW) for _ in range(3)]
        assert [decided(page) for page in pages] == [[100, 100, None, 100]] * 2 + [[None] * 4]
        assert pages[0].coverage[-1].how == "3 of 4 users" and pages[2].coverage[-1].how == "0 of 4 users"
        assert len(node.ask("send", user=2, candidates=ALL)) == 0
        view = node.engine.live.view()
        assert [view.budget(row, "push", 7 * DAY, int(time.time()))[0] for row in (0, 1, 2)] == [2, 2, 2]


def test_a_request_that_comes_again_takes_nothing_more(own_shop, tmp_path):
    with open_with(own_shop, tmp_path, send=SEND.format(rest="", budgets=WEEK)) as node:
        for _ in range(5):
            assert decided(node.ask("send", users=[1, 2], candidates=ALL, request_id=77)) == [100, 100]
        assert decided(node.ask("send", users=[1, 2], candidates=ALL, request_id=78)) == [100, 100]
        assert decided(node.ask("send", users=[1, 2], candidates=ALL, request_id=79)) == [None, None]


def test_what_one_budget_refuses_the_others_get_back(own_shop, tmp_path):
    ever = EVER.replace("3", '"words"')  # a column of users: 300 for 1, none for 2, 0 for 3
    with open_with(own_shop, tmp_path, send=SEND.format(rest="", budgets=f"{WEEK}, {ever}")) as node:
        assert decided(node.ask("send", users=[1, 2, 3], candidates=ALL)) == [100, None, None]
        view = node.engine.live.view()
        assert [view.budget(row, "push", 7 * DAY, int(time.time()))[0] for row in (0, 1, 2)] == [1, 0, 0]
        assert [view.budget(row, "life", 0, int(time.time()))[0] for row in (0, 1, 2)] == [1, 0, 0]


def test_each_kind_has_a_budget_of_its_own(own_shop, tmp_path):
    kinds = '{ budget = "kind", limit = 1, window = "1d", by = "maker" }'
    with open_with(own_shop, tmp_path, send=SEND.format(rest="", budgets=kinds)) as node:
        assert decided(node.ask("send", users=[1, 2], candidates=[100])) == [100, 100]
        assert decided(node.ask("send", users=[1, 2], candidates=[103])) == [None, None], "the same maker"
        assert decided(node.ask("send", users=[1], candidates=[101])) == [101]


def several(page):
    """By user of the request: the items to send."""
    ids, edges = page.ids.tolist(), page.groups.tolist()
    return [ids[start:stop] for start, stop in pairwise(edges)]


def counted(budgets, rest="", **keys):
    """A surface that takes several."""
    text = SEND.format(rest=rest, budgets=budgets)
    more = "".join(f"{key} = {value}\n" for key, value in keys.items())
    return text.replace('on_error = "fail"\n', f'on_error = "fail"\n{more}')


def test_a_user_may_get_several_and_no_more_than_the_budget_has(own_shop, tmp_path):
    budgets = WEEK.replace("2", "5")
    with open_with(own_shop, tmp_path, send=counted(budgets, count=3)) as node:
        found = [several(node.ask("send", users=[1, 99, 2], candidates=ALL, limit=10)) for _ in range(3)]
        assert found == [[ALL[:3], [], ALL[:3]], [ALL[:2], [], ALL[:2]], [[], [], []]]
        assert several(node.ask("send", users=[3], candidates=ALL, limit=2)) == [ALL[:2]]


def test_an_item_and_its_maker_have_budgets_of_their_own_for_all_users(own_shop, tmp_path):
    item = '{ budget = "item", of = "all", by = "id", limit = 1, window = "1d" }'
    maker = '{ budget = "maker", of = "all", by = "maker", limit = 2, window = "1d" }'
    makers = {one["id"]: one["maker"] for one in articles()}
    send = counted(f"{WEEK.replace('2', '3')}, {item}, {maker}", count=2, tries=20).replace("limit = 5", "limit = 60")
    with open_with(own_shop, tmp_path, send=send) as node:
        pages = [several(node.ask("send", users=[1, 2], candidates=ALL, limit=10)) for _ in range(3)]
        sent = [one for page in pages for items in page for one in items]
        assert len(sent) == len(set(sent)) and all(
            sum(makers[one] == maker for one in sent) <= 2 for maker in set(makers.values())
        )
        assert pages[0][0] == ALL[:2] and len(pages[0][1]) == 2
        view, now = node.engine.live.view(), int(time.time())
        for group, row in ((0, 0), (1, 1)):
            used = view.budget(row, "push", 7 * DAY, now)[0]
            assert used == sum(len(page[group]) for page in pages) <= 3, "what was refused elsewhere was given back"
        assert all(view.budget(None, f"item.{one}", DAY, now)[0] == 1 for one in sent)


def test_what_a_vain_candidate_held_is_for_the_next(own_shop, tmp_path):
    item = '{ budget = "item", of = "all", by = "id", limit = 1, window = "1d" }'
    one = WEEK.replace("2", "1")
    with open_with(own_shop, tmp_path, send=counted(f"{one}, {item}", count=2, tries=5)) as node:
        assert several(node.ask("send", users=[2], candidates=ALL[:1], limit=5)) == [ALL[:1]]
        again = [several(node.ask("send", users=[1], candidates=ALL, limit=5, request_id=9)) for _ in range(3)]
        assert again == [[ALL[1:2]]] * 3, "and a request that comes again has what it had"
        assert several(node.ask("send", users=[1], candidates=ALL, limit=5)) == [[]]


def test_late_filters_check_before_anything_is_reserved(own_shop, tmp_path):
    late = '[[filter]]\nkind = "odd_components.WrongLateFilter"\nname = "late"\nlate = true\n'
    late = late.replace("WrongLateFilter", "SlowLateFilter")  # drops odd ids
    with open_with(own_shop, tmp_path, send=counted(WEEK, rest=late, count=2)) as node:
        page = node.ask("send", users=[1, 2], candidates=ALL, limit=2)
        even = [one for one in ALL if one % 2 == 0][:2]
        assert several(page) == [even, even] and [entry.name for entry in page.coverage[-3:]] == [
            "topk",
            "late",
            "reserve",
        ]
        assert several(node.ask("send", users=[1, 2], candidates=ALL, limit=2)) == [[], []]


def test_an_engine_that_only_looks_counts_what_it_would_take(own_shop, tmp_path):
    item = '{ budget = "item", of = "all", by = "id", limit = 1, window = "1d" }'
    with node_with(own_shop, tmp_path, send=counted(f"{WEEK}, {item}", count=3, tries=9)) as node:
        page = node.ask("send", users=[1, 2], candidates=ALL, limit=5)
        assert several(page) == [ALL[:2], ALL[2:4]] or several(page)[0] == ALL[:2]
        assert "looked at, not reserved" in page.coverage[-1].how and "users" in page.coverage[-1].how


def test_what_was_sent_is_not_sent_again_and_is_no_act_of_the_user(own_shop, tmp_path):
    send = SEND.format(rest=SENT, budgets=EVER)
    seen = SEND.format(rest='[[filter]]\nkind = "seen"\n', budgets=EVER.replace("life", "other"))
    with open_with(own_shop, tmp_path, send=send, seen=seen) as node:
        assert decided(node.ask("send", users=[1, 2], candidates=ALL)) == [100, 100]
        assert settled(node, "send", [1, 2], [101, 101], candidates=ALL, request_id=5) == [101, 101]
        assert decided(node.ask("seen", users=[1, 2], candidates=ALL)) == [100, 100]


def test_pages_leave_out_what_was_served_within_the_window(own_shop, tmp_path):
    with open_with(own_shop, tmp_path, feed=FEED) as node:
        first = node.ask("feed", user=1, limit=5, time=NOW).ids.tolist()
        until = time.monotonic() + 10
        while (second := node.ask("feed", user=1, limit=5, time=NOW + 1).ids.tolist()) == first:
            assert time.monotonic() < until
        assert not set(first) & set(second)
        assert node.ask("feed", user=2, limit=5, time=NOW).ids.tolist() == first
        assert node.ask("feed", user=1, limit=5, time=NOW + 2 * DAY).ids.tolist() == first


def test_what_was_shown_counts_for_nothing_unless_named(own_shop, tmp_path):
    page = """
    [[source]]
    kind = "given"
    [[hydrator]]
    kind = "counters"
    [hydrator.columns]
    acts = { of = "item", window = "30d" }
    shown = { of = "item", window = "30d", actions = ["served", "sent"] }
    mine = { of = "user", window = "30d" }
    [[hydrator]]
    kind = "recent"
    columns = { items = { of = "items" } }
    """
    with node_with(own_shop, tmp_path, page=page) as node:

        def features():
            found = node.ask("page", user=1, candidates=[101], time=NOW, explain=True).explain[0]["columns"]
            names = ("counters.acts", "counters.shown", "counters.mine", "recent.items")
            return [found[name] for name in names]

        before = features()
        shown = {"op": "events", "users": [1] * 1500, "items": [101] * 1500, "times": [NOW - 5] * 1500}
        node.apply([{**shown, "actions": "served"}])
        assert features() == [before[0], 1500.0, before[2], before[3]]
        node.record(user=1, item=101, action="view", time=NOW - 4)
        assert features() == [before[0] + 1, 1500.0, before[2] + 1, before[3]]


def test_a_fold_keeps_what_was_shown_apart(own_shop, tmp_path):
    config = write_config(
        tmp_path,
        feed=FEED,
        fresh='[[source]]\nkind = "latest"\nlimit = 60\n[[filter]]\nkind = "seen"\n',
        often='[[source]]\nkind = "popular"\nlimit = 60\n',
        shown='[[source]]\nkind = "latest"\nlimit = 60\n[[filter]]\nkind = "seen"\nactions = ["served", "sent"]\n',
    )
    rng = np.random.default_rng(2)

    def answers(node):
        return [
            sorted(node.ask(name, user=user, limit=60, time=NOW).ids.tolist())
            for name in ("feed", "fresh", "often", "shown")
            for user in (1, 2, 3)
        ]

    with Node.open(own_shop, config) as node:
        for user in (1, 2, 3):
            for action, count in (("served", 400 * user), ("view", 5), ("sent", 3)):
                items = rng.choice(ALL[:30] if action == "served" else ALL, count).tolist()
                times = (NOW - rng.integers(1, DAY, count)).tolist()
                events = {"op": "events", "users": [user] * count, "items": items, "times": times, "actions": action}
                node.apply([events])
        seen = [node.ask("fresh", user=user, limit=60, time=NOW) for user in (1, 2, 3)]
        assert all(len(page) >= 59 - 5 - 3 for page in seen), "what was shown was not seen"
        before = answers(node)
    assert compact(own_shop) is not None
    with Node.open(own_shop, config) as node:
        after = answers(node)
        assert after[:6] == before[:6] and after[9:11] == before[9:11]
        lengths = [len(node.engine.epoch.history(row).rows) for row in (0, 1, 2)]
        assert lengths == [400 + 3 + 5 + 4, 800 + 3 + 5, 1000 + 5 + 1], "all acts, and the newest of what was shown"
        assert len(node.ask("often", limit=60)) < 30, "nothing is popular for having been shown"


QUIET = """
[[source]]
kind = "given"
[[filter]]
kind = "quiet_hours"
{rest}
"""


@pytest.mark.parametrize(
    ("rest", "quiet"),
    [
        ('start = "22:00"\nstop = "08:00"', lambda hour: hour >= 22 or hour < 8),
        ('start = "09:00"\nstop = "17:30"', lambda hour: 9 <= hour < 17.5),
        ('start = "09:00"\nstop = "09:00"', lambda hour: False),
        ('start = "00:00"\nstop = "12:00"\ndefault = "Asia/Tokyo"', lambda hour: (hour + 9) % 24 < 12),
        ('start = "00:00"\nstop = "12:00"\nzone = "age"', lambda hour: (hour + 30) % 24 < 12),
    ],
)
def test_quiet_hours_go_by_the_users_clock(shop_store, tmp_path, rest, quiet):
    midnight = NOW // DAY * DAY
    with node_with(shop_store, tmp_path, page=QUIET.format(rest=rest)) as node:
        for half in range(48):
            page = node.ask("page", user=1, candidates=[100], time=midnight + half * HOUR // 2)
            assert len(page) == (0 if quiet(half / 2) else 1), half / 2


def test_a_served_node_reserves_through_its_own_door(shop_store, own_shop, tmp_path):
    config = write_config(tmp_path, send=SEND.format(rest=SENT, budgets=WEEK))
    with (
        running(tmp_path, bind="tcp", store=own_shop, serve=["--config", config], workers=2) as node,
        Client(node.endpoint) as client,
    ):
        asks = [{"surface": "send", "users": [1, 2, 3], "candidates": ALL, "deadline_ms": 10_000} for _ in range(40)]
        pages = client.ask_many(asks)
        sent = np.array([[one is not None for one in decided(page)] for page in pages])
        assert sent.sum(axis=0).tolist() == [2, 2, 2], "whatever comes at once, through however many workers"
        rest = client.ask("send", users=[1, 2, 3], candidates=ALL, deadline_ms=10_000)
        assert decided(rest) == [None] * 3
    with Node.open(own_shop, config) as here:
        told = {one["fate"] for one in (here.why_not("send", 100, user=user) for user in (1, 2, 3))}
        assert told == {"left_out"}, "what was sent had been recorded when the node stopped"


def test_an_engine_that_writes_nothing_only_looks(own_shop, tmp_path):
    surfaces = {"send": SEND.format(rest="", budgets=WEEK.replace("2", "1"))}
    with open_with(own_shop, tmp_path, **surfaces) as node:
        assert decided(node.ask("send", users=[1, 2], candidates=ALL)) == [100, 100]
    with node_with(own_shop, tmp_path, **surfaces) as node:
        for _ in range(2):
            page = node.ask("send", users=[1, 3], candidates=ALL)
            assert decided(page) == [None, 100]
            assert page.coverage[-1].how == "looked at, not reserved; 1 of 2 users"


def test_what_cannot_work_is_refused_at_load(shop_store, tmp_path):
    for budgets, words in (
        ("", "budgets: name at least one"),
        ('{ budget = "", limit = 1 }', "budgets[0].budget"),
        ('{ budget = "x", limit = -1 }', "limit = -1"),
        ('{ budget = "x", limit = 1, window = "soon" }', "budgets[0].window"),
        ('{ budget = "x", limit = "speaks" }', "limit = 'speaks'"),
        ('{ budget = "x", limit = 1, by = "words" }', "by = 'words'"),
        ('{ budget = "x", limit = "words", of = "all" }', "the budget for all has a number"),
        ('{ budget = "x", limit = 1 }]\ncount = 0\nfields = [', "count = 0"),
        ('{ budget = "x", limit = 1 }]\ncount = 3\ntries = 2\nfields = [', "tries = 2"),
    ):
        with pytest.raises(ConfigError) as refused:
            node_with(shop_store, tmp_path, bad=SEND.format(rest="", budgets=budgets))
        assert words in str(refused.value), refused.value
    behind = SEND.format(rest="", budgets=WEEK) + '[[selector]]\nkind = "topk"\nname = "last"\nby = "given.score"\n'
    with pytest.raises(ConfigError, match="selector 'last': stands behind 'reserve'"):
        node_with(shop_store, tmp_path, bad=behind)
    for rest, words in (
        ('start = "25:00"', "start = '25:00'"),
        ('default = "Mars/Olympus"', "default = 'Mars/Olympus'"),
        ('zone = "speaks"', "zone = 'speaks'"),
    ):
        with pytest.raises(ConfigError) as refused:
            node_with(shop_store, tmp_path, bad=QUIET.format(rest=rest))
        assert words in str(refused.value), refused.value
