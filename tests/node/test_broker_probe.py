"""Damaged messages by the million through the broker's own checks, without a socket; and through the body's decoder.

The sanitizers' build runs these too: frames lie in blocks of exactly their length, so nothing is read beyond one.
"""

import random
import time

import numpy as np
import pytest

from mixline.ipc import seats
from mixline.ipc.board import Board
from mixline.ipc.meters import Meters
from mixline.ipc.segments import map_segment
from mixline.ipc.wire import Status
from mixline.node import limits
from mixline.node.broker_places import Places
from mixline.node.broker_probe import ProbeLoop
from mixline.node.errors import BadRequest
from mixline.node.request import decode_ask, prepare
from mixline.node.supervisor_exchange import Exchange

CHUNK = 100_000


@pytest.fixture
def probe():
    exchange = Exchange(1)
    at = exchange.seats[0]
    ends = (0, limits.seat_layout, at.seat_fd, at.bell_fd)
    ours = seats.BrokerSide(*ends, at.arena_read_fd, limits.arena_bytes)
    theirs = seats.WorkerSide(*ends, at.arena_fd, limits.arena_bytes)
    places = Places([ours])
    loop = ProbeLoop(
        Board(exchange.board_fd, exchange.broker_bell_fd, writable=True),
        memoryview(map_segment(exchange.slots_fd, limits.slot_bytes, writable=True)),
        places,
        Meters(map_segment(exchange.meters_fd, limits.broker_meters_bytes, writable=True), limits.broker_meter_rows),
        1,
        {"aaa": 2.0},
        control_fd=-1,
        work=theirs.work,
        released=theirs.released,
    )
    places.activate([0])
    loop.ever_ready = True
    for surface in ("a", "aa", "bbb"):
        loop.surfaces.announce(surface, 50)
    loop.quarantine.note(1, time.monotonic_ns() + 3600 * 10**9)  # so that every body's digest is made
    return loop


def check(probe, count):
    probe.settle_all()
    assert probe.considered == probe.replies == count, "one reply each"
    assert probe.bad_replies == probe.unsettled == 0
    assert probe.slots.taken == probe.waiting == probe.queue.count == probe.lend_count == 0
    assert not probe.places.is_broken(0)


def feed(probe, seed, count):
    rng = random.Random(seed)
    for at in range(0, count, CHUNK):
        probe.feed(seed + at, min(CHUNK, count - at))
        probe.bury(0, rng.random() < 0.5)  # the worker dies with whatever it has
    check(probe, count)


def test_damaged_messages_get_one_reply_each(probe):
    feed(probe, 5, 50_000)
    answered = {status for status in Status if probe.statuses[status.code]}
    assert {Status.OK, Status.BAD_REQUEST, Status.TOO_LARGE, Status.TIMEOUT} <= answered
    assert probe.forged > 100


@pytest.mark.stress
@pytest.mark.timeout(850)
def test_ten_million_damaged_messages(probe, stress_seed):
    feed(probe, stress_seed * 1_000_000_007, 10_000_000)


def bodies(rng):
    """Good bodies of every shape."""
    asks = [
        {"user": 7},
        {"user": "é" * 9, "limit": 3, "fields": ["a", "b"], "explain": True},
        {"users": list(range(40)), "params": {"a": 1, "b": 2.5, "c": "d", "e": False}},
        {"items": ["x", 3, "y"], "candidates": list(range(300))},
        {"vector": rng.standard_normal(64), "query": "two words", "cursor": "c" * 40},
    ]
    return [prepare("homefeed", **ask).body for ask in asks]


def decode_many(seed, count):
    rng = np.random.default_rng(seed)
    known, refused = bodies(rng), 0
    for at in range(count):
        body = bytearray(known[at % len(known)])
        for _ in range(at % 5):
            body[rng.integers(len(body))] = rng.integers(256)
        if at % 7 == 0:
            del body[rng.integers(len(body)) :]
        try:
            decode_ask(bytes(body))
        except BadRequest:
            refused += 1
    return refused


def test_damaged_bodies_are_refused_or_read():
    assert 1_000 < decode_many(3, 5_000) < 5_000


@pytest.mark.stress
@pytest.mark.timeout(850)
def test_a_million_damaged_bodies(stress_seed):
    assert decode_many(stress_seed, 1_000_000) > 100_000
