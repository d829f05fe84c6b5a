"""Budgets: granted durably, never beyond their limit, whoever asks at once, and whatever dies meanwhile."""

import os
import shutil
import signal
import threading

import pytest
from film_store import build_store, films, node_with, write_config
from node_process import running, wait_until

from mixline.node import Client
from mixline.node.compaction import compact
from mixline.node.errors import BadRequest, ConfigError
from mixline.storage.live_writer import LiveWriter

IDS = [film["id"] for film in films()[:3]]
WEEK = 7 * 86_400
SURFACE = """
[[source]]
kind = "given"
[[hydrator]]
kind = "budgets"
[hydrator.columns]
push = { budget = "push", window = "7d" }
mail = { budget = "mail" }
every = { budget = "push", of = "all", window = "7d" }
[[filter]]
kind = "predicate"
where = "budgets.push < 2"
[[scorer]]
name = "final"
kind = "weighted"
terms = { "budgets.push" = 1.0, "budgets.mail" = 10.0, "budgets.every" = 100.0 }
[[selector]]
kind = "topk"
by = "final"
"""


def reserve(users=None, limit=2, budget="push", op="reserve", **more):
    named = {} if users is None else {"users": users}
    return {"op": op, "budget": budget, "limit": limit, "window": WEEK, **named, **more}


def release(users, budget="push"):
    return {"op": "release", "budget": budget, "users": users, "window": WEEK}


@pytest.fixture
def store(tmp_path):
    return build_store(tmp_path)


@pytest.fixture
def node(store, tmp_path):
    with node_with(store, tmp_path, left=SURFACE) as opened:
        yield opened


def flags(done):
    return [list(one) for one in done.granted]


def score(node, user):
    """What the columns say, None where the predicate lets nothing pass."""
    page = node.ask("left", user=user, candidates=IDS)
    assert len(page) in (0, len(IDS)) and len({*page.scores.tolist()}) <= 1
    return float(page.scores[0]) if len(page) else None


def test_each_entry_is_granted_or_not_and_the_batch_stands(node):
    done = node.apply([reserve([1, 2, 1, 1, 777]), {"op": "events", "users": [1], "items": [IDS[0]]}, release([2, 3])])
    assert flags(done) == [[1, 1, 1, 0, 1], [1, 0]] and done.live_seq == 8
    assert score(node, 1) is None and score(node, 2) == 0 and score(node, 777) == 1 and score(node, 39) == 0
    done = node.apply([reserve([1], op="spend"), reserve([1], op="spend"), reserve([1], op="spend"), release([1])])
    assert flags(done) == [[1], [1], [0], [0]]
    assert flags(node.apply([reserve([4], amounts=3), reserve([4], amounts=[2])])) == [[0], [1]]


def test_a_budget_for_all_is_nobodys_own(node):
    assert flags(node.apply([reserve(limit=1), reserve(limit=1), reserve([1]), reserve(budget="mail", limit=5)])) == [
        [1],
        [0],
        [1],
        [1],
    ]
    assert score(node, 1) == 101 and score(node, 5) == 100 and score(node, 999) == 100


def test_what_is_asked_again_was_granted_once(node, store, tmp_path):
    first = node.apply([reserve([1, 1, 1])], client="mailer", sequence=1)
    again = node.apply([reserve([1, 1, 1])], client="mailer", sequence=1)
    assert flags(first) == flags(again) == [[1, 1, 0]] and again.repeated
    node.close()
    shutil.rmtree(store / "live" / "overlay")
    with node_with(store, tmp_path, left=SURFACE) as later:
        again = later.apply([reserve([1, 1, 1])], client="mailer", sequence=1)
        assert flags(again) == [[1, 1, 0]] and again.repeated
        assert flags(later.apply([reserve([1])])) == [[0]] and score(later, 1) is None


def test_windows_go_by_the_writers_clock_which_never_falls(store, tmp_path, monkeypatch):
    clock = [1_000_000]
    monkeypatch.setattr(LiveWriter.__init__, "__defaults__", (lambda: clock[0], lambda: None))
    with node_with(store, tmp_path, left=SURFACE) as node:
        assert flags(node.apply([reserve([1, 1])])) == [[1, 1]]
        clock[0] += WEEK - 1
        assert flags(node.apply([reserve([1])])) == [[0]]
        clock[0] += 1
        assert flags(node.apply([reserve([1])])) == [[1]]
        clock[0] -= WEEK // 2
        assert flags(node.apply([reserve([1]), reserve([1])])) == [[1], [0]]
        assert node.ask("left", user=1, candidates=IDS, time=clock[0] + WEEK).ids.size == 0
        page = node.ask("left", user=1, candidates=IDS, time=clock[0] + WEEK + WEEK // 2)
        assert page.scores.tolist() == [0.0] * 3


def test_a_fold_keeps_what_was_granted(node, store, tmp_path):
    node.apply([reserve([1, 1, 555], limit=2), reserve(limit=9), reserve([2]), reserve([2], op="spend")])
    node.apply([reserve([3], budget="mail", window=0, limit=1)])
    before = [score(node, user) for user in (1, 2, 3, 555)]
    assert compact(store) is not None
    node.apply([reserve([555])])
    node.close()
    with node_with(store, tmp_path, left=SURFACE) as later:
        assert later.engine.epoch_number == 2
        assert [score(later, user) for user in (1, 2, 3)] == before[:3] and score(later, 555) is None
        assert flags(later.apply([release([1]), release([2]), reserve([3], budget="mail", window=0, limit=1)])) == [
            [1],
            [0],
            [0],
        ]


BAD = [
    (reserve([1], budget=""), "budget: give it a name"),
    (reserve([1], limit=-1), "limit -1: must lie"),
    (reserve([1], window=-1), "window -1: give seconds"),
    (reserve([1], amounts=0), "amount 0: must lie in 1"),
    (reserve([1], amounts=1 << 31), "amount 2147483648: must lie in 1"),
    (reserve([1, 2], amounts=[1]), "amounts: 1 for 2 entries"),
    (reserve(["x"]), "user id 'x'"),
    (reserve([1], taken=b"12345678"), "taken: the node decides that"),
    (reserve([]), "0 operations"),
    ({"op": "events", "users": [], "items": []}, "0 operations"),
    ({"op": "reserve", "budget": "push"}, "limit"),
    ({"op": "grants", "budgets": [], "users": [1], "lines": b""}, "no operation of a client"),
]


@pytest.mark.parametrize(("bad", "words"), BAD, ids=[words for _, words in BAD])
def test_a_bad_operation_is_refused_and_grants_nothing(node, bad, words):
    many = [reserve([1], limit=5), bad] if "0 operations" not in words else [bad]
    with pytest.raises(BadRequest, match=words):
        node.apply(many)
    assert flags(node.apply([reserve([1], limit=1)])) == [[1]]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("", "columns: name at least one column"),
        ('"a b" = { budget = "x" }', "columns.a b: a name is"),
        ('x = { budget = "x", window = "a week" }', "'a week' is no span of time"),
        ("x = {}", "missing required field `budget`"),
    ],
)
def test_what_is_wrong_with_a_declaration_is_said(store, tmp_path, columns, words):
    text = f'[[source]]\nkind = "given"\n[[hydrator]]\nkind = "budgets"\n[hydrator.columns]\n{columns}\n'
    with pytest.raises(ConfigError, match=words):
        node_with(store, tmp_path, bad=text)


def test_many_clients_and_a_killed_writer_overspend_nothing(store, tmp_path):
    """Eight clients take from the same budgets while the writer is killed; each says what it was granted."""
    config, granted, stop = write_config(tmp_path, left=SURFACE), [], threading.Event()

    def take(endpoint):
        with Client(endpoint) as client:
            while not stop.is_set():
                done = client.apply([reserve([5, 6], limit=500), reserve(limit=900)], deadline_ms=30_000)
                granted.append(flags(done))

    with (
        running(store.parent, store=store, workers=1, serve=["--config", config]) as run,
        Client(run.endpoint) as client,
    ):
        client.record(1, IDS[0])
        threads = [threading.Thread(target=take, args=(run.endpoint,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(4):
                many = len(granted)
                wait_until(lambda many=many: len(granted) > many + 40)
                before = client.info()["writer"]
                if before["state"] == "ready":
                    os.kill(before["pid"], signal.SIGKILL)
                wait_until(lambda pid=before["pid"]: client.info()["writer"]["pid"] not in (0, pid))
            wait_until(lambda: sum(one[1][0] for one in granted) >= 900 or len(granted) > 5000)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert [sum(one[0][at] for one in granted) for at in (0, 1)] == [500, 500]
        assert sum(one[1][0] for one in granted) == 900
        done = client.apply([release([5]), reserve([5, 5], limit=500)])
        assert flags(done) == [[1], [1, 0]]
