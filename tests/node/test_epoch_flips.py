"""Epochs that change under a node: flips and rollbacks under load, and what cannot be served is left for what can."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from film_store import USERS, build_store
from node_process import running, wait_until

from mixline.ipc.wire import Status
from mixline.node.client import Client
from mixline.node.inprocess import Node
from mixline.node.supervisor_fallback import FallBack
from mixline.storage.publish import epoch_folder
from mixline.storage.store import Store
from mixline.tools.build import build

CLIENTS = 4


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    """A store with two epochs of different answers, the second active; tests copy it."""
    folder = tmp_path_factory.mktemp("films")
    store = build_store(folder)
    lines = (folder / "events.csv").read_text().splitlines()
    (folder / "events.csv").write_text("\n".join([lines[0], *lines[1 : len(lines) // 3]]) + "\n")
    done = CliRunner().invoke(build, [str(folder / "spec.toml"), "--out", str(store), "--quiet"])
    assert done.exit_code == 0, done.output
    return store


@pytest.fixture
def store(pattern, tmp_path):
    subprocess.run(["cp", "-a", pattern, tmp_path / "store"], check=True)
    return tmp_path / "store"


def damage(store, number):
    """Cut a file short: it would kill whoever maps it."""
    path = epoch_folder(store, number) / "spaces" / "taste" / "items.npy"
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size // 2)


def ask_of(user):
    return {"surface": "homefeed", "user": user, "deadline_ms": 20_000, "request_id": user + 1}


def told(page):
    return page.ids.tolist(), page.scores.tolist()


def expected_pages(store):
    """What each epoch answers each user, computed without a node."""
    found = {}
    for number in (1, 2):
        Store(store).activate(number)
        with Node.open(store) as node:
            found[number] = [told(node.ask(**ask_of(user))) for user in range(USERS)]
    assert sum(one != two for one, two in zip(found[1], found[2], strict=True)) > USERS // 2
    return found


def load(endpoint, expected, over, errors, pause_s):
    """Ask until it is over; counts of pages by epoch. Any failure, or a page of two versions, is noted."""
    counts, random = {1: 0, 2: 0}, Random(threading.get_ident())
    with Client(endpoint) as client:
        while not over.is_set():
            user = random.randrange(USERS)
            try:
                page = client.ask(**ask_of(user))
            except Exception as error:  # noqa: BLE001  # the test fails with all of them
                errors.append(repr(error))
                continue
            if page.status is not Status.OK or told(page) != expected[page.epoch][user]:
                errors.append(f"user {user}: {page.status} from epoch {page.epoch}, another page than that epoch's")
            counts[page.epoch] += 1
            time.sleep(pause_s)
    return counts


def flip_under_load(store, folder, flips, pause_s=0.0):
    expected = expected_pages(store)
    over, errors = threading.Event(), []
    with running(folder, store=store) as node, ThreadPoolExecutor(CLIENTS) as pool:
        try:
            loads = [pool.submit(load, node.endpoint, expected, over, errors, pause_s) for _ in range(CLIENTS)]
            for at in range(flips):
                target = 1 + at % 2
                if target == 1:
                    assert Store(store).rollback() == 1
                else:
                    Store(store).activate(2)
                node.process.send_signal(signal.SIGHUP)
                wait_until(lambda target=target: {each["epoch"] for each in node.info()["workers"]} == {target}, 60)
                wait_until(lambda at=at: node.log().count("reload over") == at + 1, 60)
                node.wait_settled()
        finally:
            over.set()
        counts = [one.result() for one in loads]
        assert node.stop() == 0
    assert errors == []
    assert all(min(one.values()) > 0 for one in counts), counts
    return sum(sum(one.values()) for one in counts)


def test_flips_under_load_fail_nothing_and_mix_nothing(store, tmp_path):
    flip_under_load(store, tmp_path, 4, pause_s=0.002)


@pytest.mark.stress
@pytest.mark.timeout(890)
def test_a_hundred_flips_and_as_many_rollbacks(store, tmp_path, capsys):
    pages = flip_under_load(store, tmp_path, 200)
    with capsys.disabled():
        print(json.dumps({"flips": 200, "rollbacks_among_them": 100, "pages": pages, "failed_or_mixed": 0}))


def test_a_damaged_epoch_is_left_at_the_start(store, tmp_path):
    damage(store, 2)
    with running(tmp_path, store=store) as node, Client(node.endpoint) as client:
        assert client.ask(**ask_of(1)).epoch == 1
        assert Store(store).current() == 1
        assert "epoch 2 cannot be served: epoch 1 is active" in node.log()
        assert node.stop() == 0


def test_with_no_other_epoch_the_start_fails(store, tmp_path):
    for number in (1, 2):
        damage(store, number)
    command = ["serve", "--store", store, "--bind", f"ipc://{tmp_path}/sock", "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "mixline.tools", *map(str, command)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 65 and "no other is whole (tried: 1)" in done.stderr
    assert Store(store).current() == 2


def test_a_damaged_epoch_is_left_at_a_reload(store, tmp_path):
    """CURRENT goes back to the epoch that is served, newer or not, so that a restart finds it."""
    with running(tmp_path, store=store) as node, Client(node.endpoint) as client:
        workers = node.worker_pids()
        damage(store, 1)
        (store / "CURRENT").write_text("000001\n")  # as if it had been whole when it was activated
        node.process.send_signal(signal.SIGHUP)
        wait_until(lambda: Store(store).current() == 2, 60)
        wait_until(lambda: "reload refused" in node.log())
        assert client.ask(**ask_of(1)).epoch == 2 and node.worker_pids() == workers
        assert node.stop() == 0


def test_an_epoch_damaged_while_it_is_served(store, tmp_path):
    """Whoever takes a dead worker's place refuses the file; then all move to the other epoch."""
    with running(tmp_path, store=store) as node, Client(node.endpoint) as client:
        path = epoch_folder(store, 2) / "spaces" / "look" / "items.npy"
        path.chmod(0o644)
        with path.open("ab") as file:
            file.write(b"x")
        os.kill(node.worker_pids()[0], signal.SIGKILL)
        wait_until(lambda: {each["epoch"] for each in node.info()["workers"]} == {1}, 60)
        node.wait_settled()
        assert client.ask(**ask_of(1)).epoch == 1 and Store(store).current() == 1
        assert node.stop() == 0


def serving(store, folder):
    """A node on a real store with the engine that crashes; its orders name the store's folder."""
    return running(folder, engine="strange_engines:CrashesOnTwo", workers=1)


@pytest.fixture
def crashing(pattern, tmp_path):
    """The store lies where :func:`serving` looks for it."""
    subprocess.run(["cp", "-a", f"{pattern}/.", tmp_path], check=True)
    return tmp_path


def test_crashes_before_serving_at_the_start(crashing):
    with serving(crashing, crashing) as node:
        assert node.ask(b"")[1] == b"1" and Store(crashing).current() == 1
        assert "epoch 2 cannot be served: epoch 1 is active" in node.log()
        assert node.stop() == 0


def test_crashes_before_serving_at_a_reload(crashing):
    Store(crashing).activate(1)
    with serving(crashing, crashing) as node:
        Store(crashing).activate(2)
        node.process.send_signal(signal.SIGHUP)
        wait_until(lambda: Store(crashing).current() == 1, 60)
        wait_until(lambda: "reload over" in node.log())
        assert node.ask(b"")[1] == b"1"
        assert node.stop() == 0


class Ended:
    """A worker that could not open its store."""

    exit_code, death_signal, fate = 65, 0, "exit code 65"


def test_whoever_tried_the_epoch_before_accuses_nobody(store, monkeypatch):
    """A worker that was ordered before the node fell back may end after it: the epoch now active is not to blame."""
    begun = []
    monkeypatch.setattr(FallBack, "begin", lambda self, bad: begun.append(bad))
    node = SimpleNamespace(options=SimpleNamespace(store=str(store)), stopping=False)
    fallback = FallBack(node)
    assert Store(store).current() == 2
    assert fallback.failed(Ended(), 1) and begun == []
    assert fallback.failed(Ended(), 2) and begun == [2]
    fallback.exhausted = True
    assert not fallback.failed(Ended(), 2)
    (store / "CURRENT").unlink()
    assert not FallBack(node).failed(Ended(), None), "a store without an active epoch is never given one"


def test_an_epoch_that_fails_its_self_test_is_not_activated(store):
    """Rightly digested, wrongly built: codes of other rows, written with digests that fit them."""
    from mixline.storage.errors import StoreDamaged
    from mixline.storage.self_test import self_test

    self_test(epoch_folder(store, 1))
    rewritten(store, "spaces/taste/items_int8.npy", lambda raw: raw[:200] + bytes(b ^ 0x55 for b in raw[200:]))
    assert Store(store).verify(1) == []
    with pytest.raises(StoreDamaged, match=r"failed its self-test:\n  spaces/taste/items_int8.npy: block 0"):
        Store(store).activate(1)
    assert Store(store).current() == 2


@pytest.mark.parametrize(
    "name",
    [
        "spaces/taste/item_norms.npy",
        "spaces/look/items.npy",
        "ids/items/sorted_rows.npy",
        "graph/seen_rows.npy",
        "graph/popular_rows.npy",
        "graph/neighbours_indices.npy",
        "graph/neighbours_indptr.npy",
    ],
)
def test_what_the_self_test_sees(store, name):
    from mixline.storage.errors import StoreDamaged
    from mixline.storage.self_test import self_test

    rewritten(store, name, lambda raw: raw[:128] + bytes(b ^ 0x55 for b in raw[128:]))
    with pytest.raises(StoreDamaged):
        self_test(epoch_folder(store, 1))


def rewritten(store, name, change):
    """Change a file of epoch 1 and everything that says what it holds."""
    import msgspec

    from mixline.storage.digests import digest, seal_of
    from mixline.storage.manifest import MANIFEST, SEAL, encode_manifest, read_manifest

    folder = epoch_folder(store, 1)
    path: Path = folder / name
    path.chmod(0o644)
    path.write_bytes(change(path.read_bytes()))
    manifest = read_manifest(folder)
    files = {**manifest.files, name: msgspec.structs.replace(manifest.files[name], sha256=digest(path))}
    raw = encode_manifest(msgspec.structs.replace(manifest, files=files))
    for file, content in ((MANIFEST, raw), (SEAL, seal_of(raw))):
        (folder / file).chmod(0o644)
        (folder / file).write_bytes(content)
