"""The whole way: files in, ``mixline build``, ``mixline serve`` as a real process, and every client asking it.

The same request gives the same ids and the same bits of score whoever carries it; damaged bodies and new epochs cost
nobody an answer.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from film_store import write_config
from node_process import running, wait_until

from mixline.ipc.wire import Kind, ReplyHeader, RequestHeader, Status
from mixline.node import AsyncClient, Client, Node
from mixline.node.errors import BadRequest, NodeError, NotFound

ITEMS, USERS, EVENTS, DIM = 400, 50, 3000, 8
SPEC = """
[items]
path = "items.csv"
id = "item"
columns = { title = "text", year = "i64", country = "category" }
[users]
path = "users.csv"
id = "user"
[events]
path = "events.csv"
user = "user"
item = "item"
time = "time"
[spaces.taste]
items = "item_vectors.npy"
users = "user_vectors.npy"
"""
ASKS = [
    *({"surface": "homefeed", "user": 1000 + user, "limit": 10} for user in range(0, USERS, 7)),
    {"surface": "homefeed", "user": 5, "limit": 3},  # unknown: cold
    {"surface": "homefeed", "users": [1000, 1003, 1004], "limit": 4},
    *({"surface": "related", "item": item, "fields": ["title", "year"]} for item in (3, 30, 300)),
    {"surface": "related", "items": [3, 4], "limit": 7, "explain": True},
]


def mixline(*arguments):
    command = [sys.executable, "-m", "mixline.tools", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def write_files(folder, seed):
    rng = np.random.default_rng(seed)
    rows = [f"{item},title {item},{1950 + item % 70},{'fr' if item % 3 else 'pl'}" for item in range(ITEMS)]
    (folder / "items.csv").write_text("item,title,year,country\n" + "\n".join(rows) + "\n")
    (folder / "users.csv").write_text("user\n" + "".join(f"{1000 + user}\n" for user in range(USERS)))
    events = zip(rng.integers(0, USERS, EVENTS), rng.integers(0, ITEMS, EVENTS), strict=True)
    lines = [f"{1000 + user},{item},{1_600_000_000 + at}" for at, (user, item) in enumerate(events)]
    (folder / "events.csv").write_text("user,item,time\n" + "\n".join(lines) + "\n")
    np.save(folder / "item_vectors.npy", rng.standard_normal((ITEMS, DIM)).astype(np.float32))
    np.save(folder / "user_vectors.npy", rng.standard_normal((USERS, DIM)).astype(np.float32))
    (folder / "spec.toml").write_text(SPEC)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store of two epochs from different data; the first is active."""
    folder = tmp_path_factory.mktemp("files")
    for seed in (1, 2):
        write_files(folder, seed)
        done = mixline("build", folder / "spec.toml", "--out", folder / "store")
        assert done.returncode == 0, done.stderr
    assert mixline("epoch", "activate", folder / "store", 1).returncode == 0
    return folder / "store"


@pytest.fixture(scope="module", params=["ipc", "tcp"])
def served(request, store, tmp_path_factory):
    with running(tmp_path_factory.mktemp("serve"), bind=request.param, store=store) as node:
        yield node


def told(page):
    """All of a page that must not depend on who carried it."""
    ids = page.ids if isinstance(page.ids, list) else page.ids.tolist()
    names = [(entry.name, entry.state, entry.taken, entry.left) for entry in page.coverage]
    return (page.status, page.epoch, ids, page.scores.tobytes(), page.sources, page.groups.tolist(), page.fields, names)


def patient(asks):
    return [{**ask, "deadline_ms": 10_000, "request_id": at} for at, ask in enumerate(asks)]


def test_every_way_of_asking_gives_the_same_bits(served, store):
    asks = patient(ASKS)
    with Node.open(store) as node:
        expected = [told(page) for page in node.ask_many(asks)]
        many = [{**ask, "request_id": at} for at, ask in enumerate(asks * 20)]
        expected_many = [told(page) for page in node.ask_many(many)]
        explained = [page.explain for page in node.ask_many(asks)]
    assert all(status is Status.OK and ids for status, _, ids, *_ in expected)
    with Client(served.endpoint) as client:
        assert [told(client.ask(**ask)) for ask in asks] == expected
        pages = client.ask_many(many)
        assert [told(page) for page in pages] == expected_many
        assert [page.explain for page in pages[: len(asks)]] == explained

    async def ask_all():
        async with AsyncClient(served.endpoint) as client:
            alone = await asyncio.gather(*(client.ask(**ask) for ask in asks))
            together = await client.ask_many(asks)
            return [told(page) for page in [*alone, *together]]

    assert asyncio.run(ask_all()) == expected * 2


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        ({"surface": "homefed", "user": 1000}, BadRequest),
        ({"surface": "related", "item": 10**9}, NotFound),
        ({"surface": "related"}, BadRequest),
        ({"surface": "homefeed", "user": 1000, "limit": 0}, BadRequest),
        ({"surface": "homefeed", "user": 1000, "fields": ["tilte"]}, BadRequest),
    ],
)
def test_failures_are_alike_in_process_and_served(served, store, ask, error):
    with Node.open(store) as node, pytest.raises(error) as inside:
        node.ask(**ask)
    with Client(served.endpoint) as client, pytest.raises(error) as outside:
        client.ask(**ask)
    assert str(inside.value) == str(outside.value)
    with Client(served.endpoint) as client:
        mixed = client.ask_many([ask, {"surface": "homefeed", "user": 1000, "deadline_ms": 10_000}])
    assert isinstance(mixed[0], NodeError) and mixed[1].status is Status.OK


def bombs(rng):
    """A body that no client of ours would send."""
    number = rng.choice([-1, 0, 1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 1.5, float("nan"), True, None, "1", b"1", []])
    keys = ["user", "users", "item", "items", "query", "vector", "candidates", "limit", "cursor", "fields", "params"]
    nested = rng.choice([b"\x91", b"\x81\xa1a", b"\x93\xc0\xc0"]) * rng.randrange(1, 4000)
    return rng.choice(
        [
            b"",
            b"\xdd\xff\xff\xff\xff",  # an array of four billion
            b"\xdf\xff\xff\xff\xff",  # a map of as many
            b"\xc6\xff\xff\xff\xff",  # four gigabytes of bin
            b"\x81\xa4user\xdb\xff\xff\xff\xff",
            nested,
            b"\x81\xa6params" + nested,
            rng.randbytes(rng.randrange(300)),
            msgspec.msgpack.encode({rng.choice(keys): number}),
            msgspec.msgpack.encode({rng.choice(keys): [number] * rng.randrange(1, 2000)}),
            msgspec.msgpack.encode({rng.choice(keys): {str(number): [number]} for _ in range(3)}),
            msgspec.msgpack.encode(
                {"item": 3, "vector": rng.randbytes(rng.randrange(40)), "limit": rng.randrange(2000)}
            ),
            msgspec.msgpack.encode({"users": [1000] * rng.randrange(300), "fields": ["title"] * rng.randrange(50)}),
        ]
    )


def flipped(rng):
    """A good body with some bytes changed, or its end cut off."""
    good = {
        "user": 1000 + rng.randrange(60),
        "item": rng.randrange(500),
        "limit": 5,
        "fields": ["title"],
        "explain": True,
    }
    body = bytearray(msgspec.msgpack.encode(good))
    for _ in range(rng.randrange(1, 4)):
        body[rng.randrange(len(body))] = rng.randrange(256)
    return bytes(body[: rng.randrange(1, len(body))] if rng.random() < 0.3 else body)


def fuzz_asks(node, cases, seed):
    rng, before = random.Random(seed), sorted(node.worker_pids())
    statuses = dict.fromkeys(Status, 0)
    for _ in range(cases // 50):
        sent = {}
        for _ in range(50):
            surface = rng.choice(["homefeed", "related", "homefeed", "related", "nowhere", ""])
            body = bombs(rng) if rng.random() < 0.6 else flipped(rng)
            request_id = rng.randbytes(16)
            node.socket.send_multipart([RequestHeader(Kind.ASK, request_id, 30_000_000, surface).pack(), body])
            sent[request_id] = (surface, body)
        for _ in range(50):
            head, body = node.receive_frames()
            reply = ReplyHeader.unpack(head)
            surface, asked = sent.pop(reply.request_id)
            statuses[reply.status] += 1
            if not reply.status.answered:
                assert msgspec.msgpack.decode(body)["error"]
            if surface not in ("homefeed", "related"):
                assert reply.status is Status.BAD_REQUEST
            allowed = (Status.OK, Status.DEGRADED, Status.BAD_REQUEST, Status.NOT_FOUND)
            assert reply.status in allowed, (reply.status, surface, asked[:200], body)
    assert sorted(node.worker_pids()) == before
    wait_until(lambda: node.info()["slots_taken"] == 0)  # a hedge may still run for nobody
    return statuses


def test_five_thousand_damaged_asks_never_hurt_the_engine(served):
    statuses = fuzz_asks(served, 2_500, seed=served.endpoint.startswith("ipc"))  # on each of the two transports
    assert statuses[Status.BAD_REQUEST] > 1000 and statuses[Status.OK] > 25 and statuses[Status.NOT_FOUND]


@pytest.mark.stress
@pytest.mark.timeout(870)
@pytest.mark.parametrize("part", range(4))
def test_a_million_damaged_asks(served, stress_seed, part):
    """Four ranges on each of the two transports; `make stress` runs each as a part of its own."""
    fuzz_asks(served, 125_000, seed=f"{stress_seed} {served.endpoint[:3]} {part}")


def test_activated_epoch_serves_after_sighup_and_no_ask_fails(store, tmp_path):
    ask = {"surface": "homefeed", "user": 1001, "deadline_ms": 10_000, "request_id": 1}
    expected = {}
    for number in (2, 1):
        assert mixline("epoch", "activate", store, number).returncode == 0
        with Node.open(store) as node:
            expected[number] = told(node.ask(**ask))
    assert expected[1][2] != expected[2][2]
    with running(tmp_path, store=store) as node, Client(node.endpoint) as client:
        for number in (2, 1):
            assert mixline("epoch", "activate", store, number).returncode == 0
            node.process.send_signal(signal.SIGHUP)
            seen = []

            def reloaded(number=number, seen=seen):
                page = client.ask(**ask)
                assert told(page) == expected[page.epoch]
                seen.append(page.epoch)
                return {each["epoch"] for each in node.info()["workers"]} == {number}

            wait_until(reloaded, 60)
            node.wait_settled()
            assert client.ask(**ask).epoch == number
        assert node.stop() == 0


def test_an_edited_surface_serves_after_sighup_and_not_before(store, tmp_path):
    surface = '[[source]]\nkind = "popular"\n[[selector]]\nkind = "topk"\nby = "popular.score"\n'
    config = write_config(tmp_path, few=f"limit = 3\n{surface}")
    with running(tmp_path, store=store, serve=("--config", config)) as node, Client(node.endpoint) as client:
        write_config(tmp_path, few=f"limit = 5\n{surface}")
        first = set(node.worker_pids())
        for pid in sorted(first):  # whoever takes a dead one's place serves what was checked at the last reload
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: pid not in node.worker_pids())
            node.wait_settled()
        assert first.isdisjoint(node.worker_pids())
        assert len(client.ask("few", user=1001, deadline_ms=10_000).ids) == 3
        node.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(client.ask("few", user=1001, deadline_ms=10_000).ids) == 5, 60)


def test_serve_says_what_is_wrong_and_exits_with_its_code(store, tmp_path):
    (tmp_path / "node.toml").write_text('workres = 2\nbind = ["ipc:///tmp/unused"]\n')
    bad = mixline("serve", "--store", store, "--config", tmp_path / "node.toml")
    assert bad.returncode == 78 and "workers" in bad.stderr
    assert mixline("serve", "--store", store, "--bind", "tcp://0.0.0.0:5571").returncode == 78
    assert mixline("serve", "--store", tmp_path / "nowhere").returncode == 64
    empty = mixline("serve", "--store", tmp_path, "--bind", f"ipc://{tmp_path}/sock", "--workers", "1")
    assert empty.returncode not in (0, 1, 70) and str(tmp_path) in empty.stderr


def test_ask_prints_what_the_client_got(served, store):
    shown = mixline("ask", "related", "--endpoint", served.endpoint, "--item", "3", "--limit", "5", "--json")
    assert shown.returncode == 0, shown.stderr
    with Client(served.endpoint) as client:
        page = client.ask("related", item=3, limit=5, deadline_ms=10_000)
    assert json.loads(shown.stdout)["ids"] == page.ids.tolist()
    assert Path(store, "CURRENT").exists()
