"""Requests answered together: the same bytes as alone, one pass over what they scan alike, each by its own clock."""

import time
from itertools import groupby

import msgspec
import numpy as np
import pytest
from film_store import DIM, ITEMS, USERS, node_with
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixline.node import engine, scans
from mixline.node.engine import Asked
from mixline.node.errors import BadRequest, NodeError, NotFound
from mixline.node.inprocess import never
from mixline.node.page import Page
from mixline.node.request import prepare
from mixline.storage.codes import encode

NEAR = """
unknown_user = "{unknown}"
[[source]]
name = "taste"
kind = "nearest"
space = "{space}"
query = "user"
limit = {limit}
[[filter]]
kind = "seen"
[[selector]]
kind = "topk"
by = "taste.score"
"""
TWO = """
[[source]]
name = "one"
kind = "nearest"
space = "taste"
query = "user"
limit = 9
[[source]]
name = "two"
kind = "nearest"
space = "taste"
query = "recent"
limit = 9
[[scorer]]
name = "final"
kind = "weighted"
terms = { "one.score" = 1.0, "two.score" = 0.5 }
[[selector]]
kind = "topk"
by = "final"
"""
FILTERED = """
[[source]]
name = "popular"
kind = "popular"
limit = 30
[[filter]]
kind = "seen"
[[scorer]]
name = "final"
kind = "weighted"
terms = { "popular.score" = 2.0 }
[[selector]]
kind = "topk"
by = "final"
"""
FAR_NS = 10**12


@pytest.fixture(scope="module")
def node(film_store, tmp_path_factory):
    surfaces = {
        "near": NEAR.format(unknown="cold", space="taste", limit=8),
        "strict": NEAR.format(unknown="error", space="taste", limit=8),
        "wide": NEAR.format(unknown="cold", space="taste", limit=200),
        "two": TWO,
        "filtered": FILTERED,
    }
    opened = node_with(film_store, tmp_path_factory.mktemp("scans"), **surfaces)
    yield opened
    opened.close()


def untimed(body):
    answer = msgspec.msgpack.decode(body)
    del answer["timing"]
    for entry in answer["coverage"]:
        for measured in ("us", "certified", "wanted", "kept"):  # what a pass kept depends on who shared it
            entry.pop(measured, None)
    return answer


def asked(surface, pulse=never, deadline_ns=None, **arguments):
    header, body = prepare(surface, request_id=1, **arguments)
    return Asked(header, body, deadline_ns or time.monotonic_ns() + FAR_NS, pulse)


SURFACES = st.sampled_from(["near", "strict", "wide", "two", "filtered"])
SOME = st.lists(st.integers(0, USERS), min_size=1, max_size=4)
REQUESTS = st.one_of(
    st.builds(lambda surface, user: {"surface": surface, "user": user}, SURFACES, st.integers(0, USERS + 5)),
    st.builds(lambda users: {"surface": "near", "users": users}, SOME),
    st.just({"surface": "nowhere"}),
    st.just({"surface": "near", "user": 1, "limit": 100_000}),
)


@given(requests=st.lists(REQUESTS, min_size=1, max_size=20))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_together_gives_what_alone_gives(node, requests):
    found = {}
    for at, outcome in node.engine.answer_many([asked(**request) for request in requests], lambda _: None):
        assert at not in found
        found[at] = outcome
    assert sorted(found) == list(range(len(requests)))
    for at, request in enumerate(requests):
        try:
            status, body = node.engine.answer(*asked(**request))
        except NodeError as error:
            assert type(found[at]) is type(error) and str(found[at]) == str(error)
        else:
            assert found[at][0] == status and untimed(found[at][1]) == untimed(body)


def test_one_pass_serves_all_that_wait(node, monkeypatch):
    passes = []
    one_pass = scans.make_pass
    monkeypatch.setattr(scans, "make_pass", lambda going: passes.append(len(going)) or one_pass(going))
    outcomes = dict(node.engine.answer_many([asked("near", user=user) for user in range(7)], lambda _: None))
    assert passes == [7] and all(outcome[0] == "OK" for outcome in outcomes.values())


def test_who_is_out_of_time_leaves_with_its_best_so_far_and_the_others_go_on(node, monkeypatch):
    monkeypatch.setattr(scans, "SLICE_BYTES", DIM * 48)
    pulses = iter([False, True])
    asks = [asked("near", user=1), asked("near", lambda: next(pulses, True), user=2), asked("near", user=3)]
    outcomes = list(node.engine.answer_many(asks, lambda _: None))
    assert [at for at, _ in outcomes] == [1, 0, 2]
    (status, body), *others = [outcome for _, outcome in outcomes]
    assert status == "DEGRADED" and f"of {ITEMS} rows" in untimed(body)["coverage"][0]["why"]
    for user, (calm, whole) in zip((1, 3), others, strict=True):
        assert calm == "OK" and untimed(whole) == untimed(node.engine.answer(*asked("near", user=user))[1])


def test_a_scan_whose_guess_was_wrong_is_made_again():
    """Rows lie so that the sample sees nothing but the nearest."""
    n = 16 * 64 * 16
    matrix = -1.0 - np.arange(n, dtype=np.float32)[:, None].repeat(4, axis=1) / n
    for at in range(64):
        block = (2 * at + 1) * (n // 16) // 128
        matrix[16 * block : 16 * block + 16] *= -1.0
    target = scans.Target(encode(matrix, "dot"), n, None, "dot")
    scan = scans.Scan(target, np.ones(4, dtype=np.float32), 5000, None, time.monotonic_ns() + FAR_NS, never)
    assert list(scans.make_pass([scan])) == [[scan]] and scan.whole and scan.shortlist.missed
    again = scan.again()
    assert again.whole and not again.shortlist.missed and len(again.shortlist.rows()) >= 5000


def test_whose_turn_it_is_is_told(node):
    turns, ended = [], {}
    asks = [asked("near", user=1), asked("nowhere"), asked("near", user=2)]
    for at, outcome in node.engine.answer_many(asks, turns.append):
        ended[at] = outcome
        assert turns[-1] == at
    assert isinstance(ended[1], BadRequest) and len(ended) == 3
    first, *others = [[*some] for _, some in groupby(turns, key=lambda at: at is None)]
    assert first[:3] == [0, 1, 2] and others[0] == others[-1] == [None]
    assert len(others) == 3 and set(others[1]) == {0, 2}


def test_they_go_from_component_to_component_side_by_side(node, monkeypatch):
    """But for those that wait in threads, and no more at a time than have their pages soon."""
    turns = []
    monkeypatch.setattr(engine, "ABREAST", 3)
    outcomes = list(node.engine.answer_many([asked("filtered", user=user) for user in range(1, 5)], turns.append))
    assert [at for at, _ in outcomes] == [0, 1, 2, 3]
    alone = turns.count(3)
    assert turns == [0, 1, 2] * alone + [3] * alone and alone > 3
    monkeypatch.setattr(node.engine.pipelines["filtered"], "waits", True)
    turns.clear()
    list(node.engine.answer_many([asked("filtered", user=user) for user in range(1, 4)], turns.append))
    assert turns == [0, 1, 2, 0, 1, 2]


def test_ask_many_keeps_the_order_and_the_failures(node):
    requests = [{"surface": "near", "user": 1}, {"surface": "strict", "user": 10**6}, {"surface": "near", "limit": "x"}]
    pages = node.ask_many(requests * 30)
    assert [type(page) for page in pages[:3]] == [Page, NotFound, BadRequest] and len(pages) == 90
    assert pages[0].ids.tolist() == pages[87].ids.tolist() == node.ask("near", user=1).ids.tolist()
