"""Warming an epoch by priority and within bounds, and a node that says READY only after it."""

import json
import socket
import subprocess
import sys

import pytest
from film_store import build_store, write_config
from node_process import running

from mixline.ipc.residency import resident_bytes
from mixline.ipc.warming import forget
from mixline.node import warming
from mixline.node.client import Client
from mixline.node.config import load_node_config
from mixline.node.errors import ConfigError
from mixline.node.warming import CLASSES, in_order, kind_of, read_recorded, replay, warm
from mixline.storage.store import Store


@pytest.fixture(scope="module")
def store(disk):
    (disk / "films").mkdir()
    return build_store(disk / "films")


def cool(store):
    """Drop all pages; the files were synced when they were published."""
    with Store(store).open() as epoch:
        paths = [epoch.path / name for name in epoch.manifest.files]
    for path in paths:
        forget(path)
    if sum(resident_bytes(path) for path in paths):
        pytest.skip("this file system keeps pages that it is asked to drop (tmpfs)")
    return paths


def test_order(store):
    assert kind_of("spaces/look/items_graph_codes.npy") == kind_of("graph/seen_rows.npy") == "graph"
    assert kind_of("spaces/look/ivf_rows.npy") == kind_of("spaces/look/items_int8.npy") == "codes"
    assert kind_of("columns/items/year.npy") == "columns" and kind_of("records.lmdb/data.mdb") == "ids"
    with Store(store).open() as epoch:
        kinds = [kind for kind, _, _ in in_order(epoch)]
        assert len(kinds) == len(epoch.manifest.files)
    assert kinds == sorted(kinds, key=CLASSES.index) and set(kinds) == set(CLASSES)


def test_cold_becomes_warm(store):
    paths = cool(store)
    with Store(store).open() as epoch:
        files = list(warm(epoch))
    assert sum(one.before for one in files) < sum(one.bytes for one in files) == sum(one.after for one in files)
    assert all(resident_bytes(path) == path.stat().st_size for path in paths)
    with Store(store).open() as epoch:
        assert {one.way for one in warm(epoch)} == {"resident"}


@pytest.mark.parametrize("helps", [True, False])
def test_what_lies_in_small_pages_is_read_once_more_while_that_helps(store, monkeypatch, helps):
    looked = []

    def share(path):
        looked.append(path)
        return float(helps and looked.count(path) > 1)

    monkeypatch.setattr(warming, "huge_share", share)
    with Store(store).open() as epoch:
        paths = [epoch.path / name for _, name, _ in in_order(epoch)]
        list(warm(epoch, huge=False))
        assert not looked
        files = list(warm(epoch))
    again = [one.file for one in files if one.way != "resident"]
    assert again == ([one.file for one in files] if helps else [files[0].file])
    assert sorted(looked) == sorted(2 * paths if helps else 2 * paths[:1])
    assert all(one.after == one.bytes for one in files)


def test_what_was_cold_is_not_read_twice(store, monkeypatch):
    looked = []
    monkeypatch.setattr(warming, "in_small_pages", lambda path: looked.append(path) is None)
    monkeypatch.setattr(warming, "resident_bytes", lambda _: 0)
    with Store(store).open() as epoch:
        list(warm(epoch))
    assert len(looked) == 1, "its file system has none"


def test_what_does_not_fit_is_told_and_comes_last(store):
    cool(store)
    with Store(store).open() as epoch:
        total = sum(facts.bytes for facts in epoch.manifest.files.values())
        files = list(warm(epoch, room=total - 5000))
        assert {one.way for one in files[:-1]} <= {"huge", "populated", "resident"}
        assert (files[-1].way, files[-1].kind) == ("in part", "rows")
    cool(store)
    with Store(store).open() as epoch:
        assert {one.way for one in warm(epoch, room=0)} <= {"left out", "resident"}


def write_requests(path):
    lines = [{"surface": "homefeed", "user": user, "weight": 2} for user in range(8)] + [{"surface": "none"}]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


def test_replay(store, tmp_path):
    requests = read_recorded(write_requests(tmp_path / "requests.jsonl"))
    seen = []
    assert replay(store, None, requests, seen.append) == {"answered": 8, "failed": 1} and len(seen) == 9
    (tmp_path / "bad.jsonl").write_text('{"surface": "homefeed"}\n{"user": 5}\n')
    with pytest.raises(ConfigError, match=r"bad.jsonl:2: .*surface"):
        read_recorded(tmp_path / "bad.jsonl")


def mixline(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "mixline.tools", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_command(store, tmp_path):
    paths = cool(store)
    recorded = write_requests(tmp_path / "requests.jsonl")
    done = mixline("warm", store, "--json", "--replay", recorded)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["resident_after"] == told["bytes"] > told["resident_before"]
    assert told["replay"] == {"answered": 8, "failed": 1} and len(told["files"]) == len(paths)
    cool(store)
    shown = mixline("warm", store, "--memory", "1B")
    assert shown.returncode == 0 and "no memory for all of" in shown.stdout and "left out" in shown.stdout
    assert mixline("warm", tmp_path / "none").returncode == 66
    assert mixline("warm", store, "--memory", "much").returncode == 64
    assert mixline("warm", store, "--replay", tmp_path / "none").returncode == 78


def test_locked_until_told_to_end(store):
    process = subprocess.Popen(
        [sys.executable, "-m", "mixline.tools", "warm", store, "--lock", "--json"], stdout=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        assert json.loads(line)["locked"]
        with Store(store).open() as epoch:
            for name, facts in epoch.manifest.files.items():
                forget(epoch.path / name)
                assert resident_bytes(epoch.path / name) == facts.bytes
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_node_is_ready_only_when_its_store_is_warm(store, tmp_path, monkeypatch):
    config = write_config(tmp_path)
    write_requests(tmp_path / "requests.jsonl")
    config.write_text(config.read_text() + '[warm]\nreplay = "requests.jsonl"\n')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        cool(store)
        with running(tmp_path, store=store, serve=("--config", config)) as node, Client(node.endpoint) as client:
            with Store(store).open() as epoch:
                for name, facts in epoch.manifest.files.items():
                    assert resident_bytes(epoch.path / name) == facts.bytes
            assert len(client.ask("homefeed", user=1, deadline_ms=10_000).ids)
            told = [systemd.recv(4096).decode() for _ in range(2)]
            assert "warming" in told[0] and "EXTEND_TIMEOUT_USEC=" in told[0] and "READY=1" not in told[0]
            assert "READY=1" in told[1]
            assert node.stop() == 0
            assert "8 recorded requests answered, 1 failed" in node.log()


def test_warm_keys_are_checked(store, tmp_path):
    config = write_config(tmp_path)
    config.write_text('[warm]\nreplay = "none.jsonl"\n')
    with pytest.raises(ConfigError, match=r"warm.replay = 'none.jsonl': .* is not a file"):
        load_node_config(config)
    config.write_text("[warm]\nhueg = true\n")
    with pytest.raises(ConfigError, match="hueg"):
        load_node_config(config)
