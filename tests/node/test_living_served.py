"""Living data on a served node: through real sockets, over deaths of the writer, through new epochs and restarts."""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest
from film_store import BLOCKED, DIM, ITEMS, SEEN, build_store, films, near, vector, write_config
from node_process import running, wait_until

from mixline.node import AsyncClient, Client
from mixline.node.errors import BadRequest

NEW = 900_001


def upsert(one, place):
    return {"op": "upsert_item", "id": one, "columns": {"title": f"film {one}"}, "vectors": {"taste": vector(place)}}


@pytest.fixture
def store(tmp_path):
    return build_store(tmp_path)


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path, near=near("user", SEEN, BLOCKED), given=near("given", SEEN, BLOCKED))


def serving(store, config, workers=2):
    return running(store.parent, store=store, workers=workers, serve=["--config", config])


def writer_of(client):
    """The writer's pid, 0 while there is none."""
    writer = client.info()["writer"]
    return writer["pid"] if writer["state"] == "ready" else 0


def test_updates_through_the_socket_are_in_the_next_request(store, config):
    with serving(store, config) as node, Client(node.endpoint) as client:
        assert writer_of(client) == 0
        for at in range(30):
            done = client.apply([upsert(NEW + at, at % DIM)])
            assert done.live_seq == 2 * at + 1 and not done.repeated
            page = client.ask("given", vector=vector(at % DIM), fields=["title"])
            assert NEW + at in page.ids[: 1 + at // DIM + 1] and page.live_seq >= done.live_seq
            first = int(client.ask("near", user=at % 7).ids[0])
            client.record(at % 7, first, "view")
            assert first not in client.ask("near", user=at % 7).ids
        assert writer_of(client) > 0
        with pytest.raises(BadRequest, match="no column 'yeer'"):
            client.apply([{"op": "upsert_item", "id": 1, "columns": {"yeer": 1}}])


def test_many_clients_write_at_once_and_nothing_is_lost(store, config):
    async def write(endpoint):
        async with AsyncClient(endpoint) as client:
            ids = [film["id"] for film in films()]
            return await asyncio.gather(*(client.record(5_000 + at % 9, ids[at % ITEMS]) for at in range(400)))

    with serving(store, config) as node, Client(node.endpoint) as client:
        done = asyncio.run(write(node.endpoint))
        assert sorted(one.live_seq for one in done) == list(range(1, 401))
        for at in range(9):
            mine = {films()[event % ITEMS]["id"] for event in range(400) if event % 9 == at}
            client.apply([{"op": "upsert_user", "id": 5_000 + at, "vectors": {"taste": vector(1)}}])
            assert not mine & set(client.ask("near", user=5_000 + at).ids.tolist())
            assert len(client.ask("near", user=5_000 + at)) == ITEMS - len(mine)


def test_a_killed_writer_loses_and_doubles_nothing(store, config):
    acknowledged, stop = [], threading.Event()

    def write(endpoint, name):
        with Client(endpoint) as client:
            at = 0
            while not stop.is_set():
                one = NEW + name * 100_000 + at
                client.apply(
                    [upsert(one, at % DIM), {"op": "events", "users": [3], "items": [one]}], deadline_ms=30_000
                )
                acknowledged.append(one)
                at += 1

    with serving(store, config) as node, Client(node.endpoint) as client:
        client.record(1, films()[0]["id"])
        threads = [threading.Thread(target=write, args=(node.endpoint, name)) for name in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(8):
                many = len(acknowledged)
                wait_until(lambda many=many: len(acknowledged) > many + 5)
                before = writer_of(client)
                if before:
                    os.kill(before, signal.SIGKILL)
                wait_until(lambda before=before: writer_of(client) not in (0, before))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        last = client.record(1, films()[1]["id"]).live_seq
        assert last == 2 + 2 * len(acknowledged)  # each batch has two operations, and each was applied once
        page = client.ask("given", vector=vector(0), limit=1000)
        assert page.live_seq == last
        found = {one for place in range(DIM) for one in client.ask("given", vector=vector(place)).ids.tolist()}
        assert set(acknowledged) <= found
        assert not set(acknowledged) & set(client.ask("near", user=3).ids.tolist())


def test_all_of_it_is_there_after_a_restart_of_the_node(store, config):
    with serving(store, config) as node, Client(node.endpoint) as client:
        client.apply([upsert(NEW, 4)])
        client.record(3, NEW)
        before = client.ask("near", user=3), client.ask("given", vector=vector(4))
    with serving(store, config) as node, Client(node.endpoint) as client:
        wait_until(lambda: writer_of(client))
        again = client.ask("near", user=3), client.ask("given", vector=vector(4))
        for one, other in zip(before, again, strict=True):
            assert one.ids.tolist() == other.ids.tolist() and one.scores.tobytes() == other.scores.tobytes()
            assert one.live_seq == other.live_seq == 2
        assert client.record(3, films()[0]["id"]).live_seq == 3


def test_a_new_epoch_comes_with_all_that_was_written(store, config):
    """The files are built again while the node serves and is written to; nothing that was acknowledged is missed."""
    command = [sys.executable, "-m", "mixline.tools", "build", str(store.parent / "spec.toml"), "--out", str(store)]
    with serving(store, config) as node, Client(node.endpoint) as client:
        client.apply([upsert(NEW, 4)])
        subprocess.run([*command, "--quiet"], check=True, timeout=100)
        os.kill(node.process.pid, signal.SIGHUP)
        at, epochs = 0, set()
        while at < 20 or 2 not in epochs or any(one["epoch"] != 2 for one in client.info()["workers"]):
            at += 1
            client.apply([upsert(NEW + at % 100, 4)], deadline_ms=30_000)
            page = client.ask("given", vector=vector(4))
            assert {*range(NEW, NEW + min(at, 99) + 1)} <= set(page.ids.tolist()), at
            epochs.add(page.epoch)
        assert epochs == {1, 2}


def test_the_readers_of_a_store_nobody_writes_need_no_writer(store, config):
    with serving(store, config) as node, Client(node.endpoint) as client:
        client.ask("near", user=3)
        assert writer_of(client) == 0 and not (store / "live" / "log").exists()
