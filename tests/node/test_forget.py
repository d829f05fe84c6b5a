"""A user who is forgotten: unknown in the next request, and in no byte of the store once the command has ended."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bytes_left import files_with
from click.testing import CliRunner
from film_store import BLOCKED, DIM, ITEMS, SEEN, films, near, node_with, vector, write_config, write_inputs
from node_process import running, wait_until

from mixline.node import Client
from mixline.node.compaction import compact
from mixline.node.errors import BadRequest
from mixline.storage.errors import LogUnwritable
from mixline.storage.live_erase import forgotten_rows
from mixline.storage.live_log import LiveLog
from mixline.storage.live_ops import Batch, Block, Events, Forgotten, PatchUser, UpsertUser, operation_count
from mixline.storage.live_paths import log_folder
from mixline.storage.log_check import log_faults
from mixline.storage.log_rewrite import without_user
from mixline.storage.snapshots import Snapshots
from mixline.storage.store import Store
from mixline.tools.build import build
from mixline.tools.forget import forget

COLUMNS = 'columns = { name = "text", city = "category", likes = "tags", age = "i64", weight = "f32" }'
KINDS = ["numbers", "strings"]


def id_of(kind, at):
    """Ids whose bytes are found nowhere else."""
    return 0xA1B2C3D4E5F60000 + at if kind == "numbers" else f"somebody-{at:04d}"


def person(at):
    return {
        "name": f"Persona {at} Nongrata",
        "city": f"Ville-{at}",
        "likes": [f"liking-{at}", "films"],
        "age": 0x1122334455660000 + at,
        "weight": 60.0 + at,
    }


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def store(tmp_path, kind):
    """Forty users, the last of whom did nothing."""
    write_inputs(tmp_path)
    lines = [json.dumps({"id": id_of(kind, at), **person(at)}) for at in range(40)]
    (tmp_path / "users.jsonl").write_text("\n".join(lines))
    events = (tmp_path / "events.csv").read_text().splitlines()
    moved = [line.split(",", 1) for line in events[1:]]
    (tmp_path / "events.csv").write_text(
        "\n".join([events[0], *(f"{id_of(kind, int(u))},{rest}" for u, rest in moved)])
    )
    spec = (tmp_path / "spec.toml").read_text()
    spec = spec.replace('path = "users.csv"\nid = "id"', f'path = "users.jsonl"\nid = "id"\n{COLUMNS}')
    (tmp_path / "spec.toml").write_text(spec)
    done = CliRunner().invoke(build, [str(tmp_path / "spec.toml"), "--out", str(tmp_path / "store"), "--quiet"])
    assert done.exit_code == 0, done.output or done.exception
    return tmp_path / "store"


@pytest.fixture
def node(store, tmp_path):
    with node_with(store, tmp_path, near=near("user", SEEN, BLOCKED), recent=near("recent")) as opened:
        yield opened


def traces(kind, at):
    """Bytes that say who it is or what only they had."""
    one = id_of(kind, at)
    found = [one.encode()] if kind == "strings" else [one.to_bytes(8, "little"), one.to_bytes(8, "big")]
    who = person(at)
    found += [who["name"].encode(), who["city"].encode(), who["likes"][0].encode()]
    return [*found, who["age"].to_bytes(8, "little"), who["age"].to_bytes(8, "big")]


def write_about(node, kind, at):
    """All that can be written about a user, in batches with others."""
    one, other, ids = id_of(kind, at), id_of(kind, at + 1), [film["id"] for film in films()]
    users = [one, other, one] if kind == "strings" else np.array([one, other, one], dtype=np.uint64).tobytes()
    node.apply(
        [
            {"op": "upsert_user", "id": one, "columns": person(at), "vectors": {"taste": vector(at % DIM)}},
            {"op": "upsert_user", "id": other, "columns": person(at + 1), "vectors": {"taste": vector(1)}},
            {"op": "patch_user", "id": one, "columns": {"age": person(at)["age"]}},
            {"op": "block", "user": one, "item": ids[3]},
            {"op": "block", "user": one, "column": "genres", "value": "War"},
        ]
    )
    node.apply([{"op": "events", "users": users, "items": ids[:3], "times": [5, 6, 7], "actions": ["a", "b", "c"]}])
    node.record(one, ids[5], "view")


def write_more(node, kind, at):
    """What a fold has to carry: grants, and events of items that are gone."""
    one, other, ids = id_of(kind, at), id_of(kind, at + 1), [film["id"] for film in films()]
    users = [one, other, one] if kind == "strings" else np.array([one, other, one], dtype=np.uint64).tobytes()
    budget = {"budget": "push", "users": users, "limit": 9, "window": 10**9}
    node.apply([{"op": "reserve", **budget}, {"op": "spend", **budget, "amounts": [1, 2, 1]}])
    node.apply([{"op": "delete_item", "id": ids[1]}])  # which the other acted on
    node.apply([{"op": "delete_item", "id": ids[2]}])  # and the one


def run(store, user, *more):
    done = CliRunner().invoke(forget, ["--user", str(user), "--store", str(store), "--json", *more])
    assert done.exit_code == 0, done.output or done.exception
    return json.loads(done.output)


@pytest.mark.parametrize("at", [7, 100], ids=["of the build", "that came later"])
def test_a_forgotten_user_is_unknown_and_everybody_else_is_as_before(node, kind, at):
    write_about(node, kind, at)
    one, other = id_of(kind, at), id_of(kind, at + 1)
    others = [other, id_of(kind, 3)]
    before = {user: node.ask("near", user=user).ids.tolist() for user in others}
    seen = node.ask("recent", user=one).ids.tolist()
    assert seen and len(node.ask("near", user=one)) < ITEMS
    last = node.ask("near", user=other).live_seq
    done = node.forget(one)
    assert (done.first, done.live_seq) == (last + 1, last + 1)
    assert len(node.ask("near", user=one)) == len(node.ask("recent", user=one)) == 0
    assert {user: node.ask("near", user=user).ids.tolist() for user in others} == before
    with pytest.raises(BadRequest, match="none to patch"):
        node.apply([{"op": "patch_user", "id": one, "columns": {"age": 1}}])
    node.record(one, films()[9]["id"])  # they come again, as somebody new
    node.apply([{"op": "upsert_user", "id": one, "vectors": {"taste": vector(2)}}])
    again = set(node.ask("near", user=one).ids.tolist())
    assert again == {film["id"] for film in films()} - {films()[9]["id"]}


@pytest.mark.parametrize("at", [7, 100], ids=["of the build", "that came later"])
def test_no_byte_is_left_of_a_forgotten_user(store, tmp_path, kind, at):
    marks, kept = traces(kind, at), traces(kind, at + 1)
    with node_with(store, tmp_path, near=near("user", SEEN, BLOCKED)) as node:
        write_about(node, kind, at)
        write_more(node, kind, at)
        before = node.ask("near", user=id_of(kind, at + 1)).ids.tolist()
        had = files_with(store, marks)
        assert {"live/log/data.mdb"} <= had and any(name.startswith("live/overlay") for name in had)
        assert any(name.startswith("epochs") for name in had) == (at < 40)
    Snapshots.of(store).create(store)
    told = run(store, id_of(kind, at))
    assert files_with(store, marks) == set() and files_with(store, kept)
    assert told["snapshots"] == [str(store / "snapshots" / "000001")] and told["held"] == []
    assert told["active"] == (2 if at < 40 else None) and told["removed"] == ([1] if at < 40 else [])
    assert Store(store).verify() == [] and log_faults(store) == [] and not (store / "live" / "log.new").exists()
    with node_with(store, tmp_path, near=near("user", SEEN, BLOCKED)) as node:
        assert len(node.ask("near", user=id_of(kind, at))) == 0
        assert node.ask("near", user=id_of(kind, at + 1)).ids.tolist() == before
    assert files_with(store, marks) == set()  # what is derived anew has nothing of it
    shutil.rmtree(store / "live" / "overlay")
    with node_with(store, tmp_path, near=near("user", SEEN, BLOCKED)) as node:
        assert node.ask("near", user=id_of(kind, at + 1)).ids.tolist() == before
    assert files_with(store, marks) == set()
    assert run(store, id_of(kind, at))["active"] is None


@pytest.mark.parametrize("order", ["folded, then forgotten", "forgotten, then folded"])
@pytest.mark.parametrize("at", [7, 100], ids=["of the build", "that came later"])
def test_a_fold_carries_nothing_of_a_forgotten_user(store, tmp_path, kind, at, order):
    marks, other = traces(kind, at), id_of(kind, at + 1)
    with node_with(store, tmp_path, near=near("user", SEEN, BLOCKED)) as node:
        write_about(node, kind, at)
        write_more(node, kind, at)
        before = node.ask("near", user=other).ids.tolist()
    for step in order.split(", then "):
        if step == "folded":
            assert compact(store) is not None
        else:
            run(store, id_of(kind, at))
    Store(store).prune(1)
    assert Store(store).verify() == [] and log_faults(store) == []
    with node_with(store, tmp_path, near=near("user", SEEN, BLOCKED)) as node:
        assert len(node.ask("near", user=id_of(kind, at))) == 0
        assert node.ask("near", user=other).ids.tolist() == before
        users = {"users": [other], "limit": 2, "window": 10**9}
        assert node.apply([{"op": "reserve", "budget": "push", **users}]).granted == [b"\0"]
    assert files_with(store, marks) == set()


def test_a_store_where_nothing_was_ever_written(store, kind):
    Snapshots.of(store).create(store)
    told = run(store, id_of(kind, 7))
    assert told == {
        "user": id_of(kind, 7),
        "active": 2,
        "removed": [1],
        "held": [],
        "snapshots": [str(store / "snapshots" / "000001")],
        "journalled": 0,
        "done": False,
    }
    assert files_with(store, traces(kind, 7)) == set() and not (store / "live").exists()
    with Store(store).open() as epoch:
        assert epoch.users.row_of(id_of(kind, 8)) == 8 and epoch.users.record(8)["name"] == person(8)["name"]
        assert (
            epoch.users.record(7) == dict.fromkeys(person(7))
            and not len(epoch.seen(7))
            and not len(epoch.history(7)[0])
        )
        assert epoch.acted is not None and len(epoch.acted.users) == len(epoch.acted.items)
        assert 7 not in epoch.acted.users and 8 in epoch.acted.users
        assert epoch.users.records(np.array([8], dtype=np.uint32), ["city", "likes"]) == {
            "city": ["Ville-8"],
            "likes": [["liking-8", "films"]],
        }
    if kind == "numbers":
        done = CliRunner().invoke(forget, ["--user", "Bob", "--store", str(store)])
        assert done.exit_code == 2 and "whole numbers" in done.output


@pytest.mark.parametrize("kind", ["numbers"], indirect=True)
def test_a_writer_that_dies_while_it_forgets(store, tmp_path, kind, monkeypatch):
    """After the log was exchanged, and before the overlay was written over."""
    with node_with(store, tmp_path, near=near("user", SEEN, BLOCKED)) as node:
        for at in (7, 100):
            write_about(node, kind, at)
            node.ask("near", user=id_of(kind, at))
        monkeypatch.setattr("mixline.storage.live_erase.erase_identity", lambda *_: 1 / 0)
        for at in (7, 100):
            with pytest.raises(ZeroDivisionError):
                node.forget(id_of(kind, at))
            node._writer.close()
            node._writer = None
            monkeypatch.undo()
            assert len(node.ask("near", user=id_of(kind, at))) > 0
            node.writer()
            assert len(node.ask("near", user=id_of(kind, at))) == 0
            node.forget(id_of(kind, at))
            monkeypatch.setattr("mixline.storage.live_erase.erase_identity", lambda *_: 1 / 0)
        monkeypatch.undo()
    assert {name.split("/")[0] for name in files_with(store, [*traces(kind, 7), *traces(kind, 100)])} == {"epochs"}
    assert forgotten_rows(store, 1).tolist() == [7]


@pytest.mark.parametrize("kind", ["numbers"], indirect=True)
def test_forgetting_is_alone_in_its_batch_and_applied_once(node, store, tmp_path, kind, monkeypatch):
    write_about(node, kind, 7)
    one = id_of(kind, 7)
    with pytest.raises(BadRequest, match="alone in its batch"):
        node.apply([{"op": "forget", "user": one}, {"op": "forget", "user": one}])
    with pytest.raises(BadRequest, match="must be a whole number"):
        node.forget("Bob")
    with pytest.raises(BadRequest, match="the log's own word"):
        node.apply([{"op": "forgotten", "count": 3}])
    assert node.ask("near", user=one).live_seq == 9
    first = node.forget(one, client="me", sequence=1)
    again = node.forget(one, client="me", sequence=1)
    assert again.live_seq == first.live_seq and again.repeated

    def cannot(*_):
        raise LogUnwritable("no exchange here")

    monkeypatch.setattr("mixline.storage.log_rewrite.exchange", cannot)
    write_about(node, kind, 9)
    with pytest.raises(Exception, match="no exchange here"):
        node.forget(id_of(kind, 9))
    monkeypatch.undo()
    assert node.record(id_of(kind, 9), films()[0]["id"]).live_seq > first.live_seq
    before = node.ask("near", user=id_of(kind, 9)).ids.tolist()
    node.close()
    assert log_faults(store) == [] and forgotten_rows(store, 1).tolist() == [7]
    with node_with(store, tmp_path, near=near("user", SEEN, BLOCKED)) as again:
        assert again.ask("near", user=id_of(kind, 9)).ids.tolist() == before


@pytest.mark.parametrize("kind", ["strings"], indirect=True)
def test_forgetting_while_a_node_serves(store, tmp_path, kind):
    config = write_config(tmp_path, near=near("user", SEEN, BLOCKED))
    one, other = id_of(kind, 7), id_of(kind, 8)
    command = [sys.executable, "-m", "mixline.tools", "forget", "--user", one, "--store", str(store), "--json"]
    with running(tmp_path, store=store, workers=1, serve=["--config", config]) as node, Client(node.endpoint) as client:
        write_about(client, kind, 7)
        before = client.ask("near", user=other).ids.tolist()
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 75 and "give its --endpoint" in done.stderr
        command += ["--endpoint", node.endpoint]
        told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert told["active"] == 2 and told["held"] == [1] and not told["done"]
        assert len(client.ask("near", user=one)) == 0 and client.ask("near", user=other).ids.tolist() == before
        node.process.send_signal(signal.SIGHUP)
        wait_until(lambda: client.ask("near", user=other).epoch == 2)
        wait_until(lambda: Store(store).in_use() == [2])
        told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert told["active"] is None and told["removed"] == [1] and told["done"]
        assert files_with(store, traces(kind, 7)) == set()
        assert len(client.ask("near", user=one)) == 0 and client.ask("near", user=other).ids.tolist() == before


def test_operations_of_a_batch_keep_their_count():
    batch = Batch(
        client="c",
        sequence=1,
        ops=[
            UpsertUser(id=1),
            PatchUser(id=2),
            Block(user=1, item=1),
            Block(item=1),
            Events(users=[1, 2, 1], items=[4, 5, 6], actions=["a", "b", "c"]),
            Events(users=np.array([1, 1], "<u8").tobytes(), items=[4, 5], times=np.array([8, 9], "<i8").tobytes()),
        ],
    )
    left = without_user(batch, 1)
    assert operation_count(left) == operation_count(batch) == 9
    assert left.ops == [
        Forgotten(count=1),
        PatchUser(id=2),
        Forgotten(count=1),
        Block(item=1),
        Events(users=[2], items=[5], actions=["b"]),
        Forgotten(count=2),
        Forgotten(count=2),
    ]
    assert without_user(batch, 3) == batch and without_user(batch, "1") == batch
    strings = Batch(client="c", sequence=1, ops=[Events(users=["a", "b"], items=["x", "y"], times=[1, 2], actions="k")])
    assert without_user(strings, "a").ops == [
        Events(users=["b"], items=["y"], times=[2], actions="k"),
        Forgotten(count=1),
    ]


def test_what_one_left_who_died_while_writing_the_log_anew_is_swept(tmp_path):
    left = log_folder(tmp_path).with_name("log.new")
    left.mkdir(parents=True)
    (left / "data.mdb").write_bytes(b"somebody")
    LiveLog(tmp_path).close()
    assert not left.exists() and Path(log_folder(tmp_path)).exists()
