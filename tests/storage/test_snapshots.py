"""Snapshots in a folder: taken while the log is written, linked where nothing changed, restored whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import lmdb
import pytest
from build_case import build, write_films
from log_case import LOG, read_log, write_log

from mixline.storage.dump import dump
from mixline.storage.errors import RestoreRefused, SnapshotDamaged, SnapshotMissing, StoreDamaged, StoreUnwritable
from mixline.storage.lock import Lease
from mixline.storage.manifest import MANIFEST
from mixline.storage.publish import epoch_folder
from mixline.storage.restore import restore
from mixline.storage.snapshot_log import log_copy
from mixline.storage.snapshot_manifest import SNAPSHOT
from mixline.storage.snapshots import Snapshots
from mixline.storage.store import Store

COMMAND = "from mixline.tools.cli import main; main()"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pattern store with two epochs and a log of nine entries; tests copy it."""
    folder = tmp_path_factory.mktemp("built")
    spec = write_films(folder / "in", ".csv")
    build(spec, folder / "store")
    build(spec, folder / "store")
    write_log(folder / "store", 1, 9)
    return folder / "store"


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-a", built, tmp_path / "store"], check=True)
    return tmp_path / "store"


def mixline(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", COMMAND, "snapshot", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, input=stdin, check=False)


def told(store: Path, number: int | None = None) -> bytes:
    with Store(store).open(number) as epoch:
        return b"".join(dump(epoch))


def test_create_list_verify_restore(store: Path, tmp_path: Path) -> None:
    made = json.loads(mixline("create", store, "--json").stdout)
    assert (made["snapshot"], made["epoch"], made["log_seq"]) == (1, 2, 9)
    assert made["linked"] > made["copied"] > 0
    assert made["linked"] + made["copied"] + made["cloned"] == made["bytes"]
    [listed] = json.loads(mixline("list", store, "--json").stdout)
    assert (listed["number"], listed["epoch"], listed["fault"]) == (1, 2, None)
    assert b"epoch 2  log to 9" in mixline("list", store).stdout
    whole = mixline("verify", store, "--json")
    assert whole.returncode == 0 and json.loads(whole.stdout)["faults"] == []
    done = mixline("restore", tmp_path / "new", "--from", store, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["epoch"], found["log_seq"], found["active"], found["log"]) == (2, 9, True, True)
    assert Store(tmp_path / "new").current() == 2
    assert Store(tmp_path / "new").verify() == []
    assert told(tmp_path / "new") == told(store)
    assert read_log(tmp_path / "new" / LOG) == list(range(1, 10))
    write_log(tmp_path / "new", 10, 12)  # the restored log is an ordinary one
    assert Snapshots.of(store).verify() == []
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["CURRENT", "LOCK", "epochs", "live"]


def test_it_gives_way_before_it_is_even_imported() -> None:
    watched = """
import importlib, os, sys
from mixline.tools import cli
found, load = [], importlib.import_module
def seen(name):
    found.append((name, os.sched_getscheduler(0) == os.SCHED_IDLE, os.nice(0)))
    return load(name)
importlib.import_module = seen
sys.argv = ["mixline", sys.argv[1], "--help"]
try:
    cli.main()
finally:
    print(found, file=sys.stderr)
"""
    for verb, idle, nice in (("snapshot", True, 19), ("epoch", False, os.nice(0))):
        done = subprocess.run([sys.executable, "-c", watched, verb], capture_output=True, check=True)
        assert f"[('mixline.tools.{verb}', {idle}, {nice})]" in done.stderr.decode()


def test_what_has_not_changed_is_linked(store: Path) -> None:
    one, two = Snapshots.of(store).create(store), Snapshots.of(store).create(store, 1)
    assert one.linked + one.copied == one.bytes and one.epoch == 2
    # Two builds of one input: all files but the manifest with its number, and the records, are the same.
    assert two.number == 2 and two.linked > 0
    names = [f"epochs/{number:06d}/spaces/taste/users.npy" for number in (2, 1)]
    first, second = ((Snapshots.of(store).path(at + 1) / name).stat() for at, name in enumerate(names))
    assert first.st_ino == second.st_ino
    logs = [(Snapshots.of(store).path(number) / LOG / "data.mdb").stat().st_ino for number in (1, 2)]
    assert logs[0] == logs[1], "a log that did not grow is not copied again"
    write_log(store, 10, 10)
    assert Snapshots.of(store).create(store).log_seq == 10
    assert [read_log(Snapshots.of(store).path(number) / LOG)[-1] for number in (1, 2, 3)] == [9, 9, 10]


def test_manifests_of_two_stores_are_not_one_inode(store: Path, tmp_path: Path) -> None:
    """A lease is a lock on the manifest's inode: a reader of one store must not keep the other's epoch."""
    Snapshots.of(store).create(store, 1)
    restore(Snapshots.of(store).path(1), tmp_path / "new")
    with Lease(epoch_folder(tmp_path / "new", 1)):
        assert Store(store).prune(1).removed == [1]
    assert (epoch_folder(tmp_path / "new", 1) / MANIFEST).exists()


def test_another_file_system_gets_copies(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    made = Snapshots(tmp_path / "elsewhere").create(store)
    assert made.linked == 0 and made.copied + made.cloned == made.bytes
    assert Snapshots(tmp_path / "elsewhere").verify() == []


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from log_case import write_log
from pathlib import Path
write_log(Path(sys.argv[1]), 10, 1_000_000)
"""


def test_the_log_is_copied_while_it_is_written(store: Path, tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, store, Path(__file__).parent])
    try:
        last = 9
        for at in range(20):
            found = log_copy(store, tmp_path / str(at))
            assert read_log(tmp_path / str(at)) == list(range(1, found + 1)), "a prefix without a gap"
            assert found >= last
            last = found
            time.sleep(0.01)
        assert writer.poll() is None and last > 100
    finally:
        writer.kill()
        writer.wait()


def test_no_log_and_an_empty_log(store: Path, tmp_path: Path) -> None:
    subprocess.run(["rm", "-r", store / "live"], check=True)
    assert log_copy(store, tmp_path / "none") == 0 and not (tmp_path / "none").exists()
    assert Snapshots.of(store).create(store).log_seq == 0
    assert not restore(Snapshots.of(store).path(), tmp_path / "new").log
    (store / LOG).mkdir(parents=True)
    with lmdb.open(str(store / LOG)):
        pass
    assert log_copy(store, tmp_path / "empty") == 0
    (store / LOG / "data.mdb").write_bytes(b"garbage" * 5000)
    with pytest.raises(StoreDamaged, match="the log cannot be copied"):
        Snapshots.of(store).create(store)


def test_a_damaged_epoch_makes_no_snapshot(store: Path) -> None:
    path = epoch_folder(store, 2) / "spaces" / "taste" / "items.npy"
    path.chmod(0o644)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    done = mixline("create", store)
    assert done.returncode == 65 and b"spaces/taste/items.npy: differs from its epoch's manifest" in done.stderr
    assert [path.name for path in (store / "snapshots").iterdir()] == ["LOCK"]


def test_an_epoch_is_not_pruned_while_a_snapshot_is_taken(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("mixline.storage.snapshots.settle", lambda _: seen.append(Store(store).prune(1)))
    Snapshots.of(store).create(store, 1)
    assert [(done.removed, done.in_use) for done in seen] == [([], [1])]
    assert Store(store).prune(1).removed == [1]
    assert Snapshots.of(store).verify() == []


def test_prune(store: Path) -> None:
    shots = Snapshots.of(store)
    for _ in range(3):
        shots.create(store)
    with Lease(shots.path(1), SNAPSHOT):
        assert json.loads(mixline("prune", store, "--keep", 1, "--json").stdout) == {"removed": [2], "in_use": [1]}
    assert mixline("prune", store, "--keep", 1).stdout == b"removed: 1\n"
    assert shots.numbers() == [3] and shots.verify(3) == []
    assert shots.create(store).number == 4
    assert mixline("prune", store, "--keep", 0).returncode == 64


def test_restore_refuses_what_it_would_overwrite(store: Path, tmp_path: Path) -> None:
    shots = Snapshots.of(store)
    shots.create(store, 1)
    with pytest.raises(RestoreRefused, match="already has an epoch 1; mixline epoch activate"):
        restore(shots.path(), store)
    Store(store).prune(1)
    with pytest.raises(RestoreRefused, match=r"has a log of its own.*--epoch-only"):
        restore(shots.path(), store)
    done = restore(shots.path(), store, epoch_only=True)
    assert (done.epoch, done.log) == (1, False)
    assert Store(store).current() == 1 and read_log(store / LOG)[-1] == 9
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("x")
    refused = mixline("restore", tmp_path / "home", "--from", store)
    assert refused.returncode == 73 and b"holds 'thesis.txt' and is no store" in refused.stderr
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["thesis.txt"]


def test_a_log_that_does_not_reach_back_is_no_base(store: Path) -> None:
    Snapshots.of(store).create(store, 1)
    Store(store).prune(1)
    subprocess.run(["rm", "-r", store / "live"], check=True)
    write_log(store, 50, 60)
    with pytest.raises(RestoreRefused, match="begins at 50, and epoch 1 ends at 0"):
        restore(Snapshots.of(store).path(), store, epoch_only=True)


def test_missing_and_foreign_snapshots(store: Path, tmp_path: Path) -> None:
    assert mixline("list", store).stdout == b"no snapshots\n"
    assert mixline("verify", store).returncode == 66
    assert mixline("restore", tmp_path / "new", "--from", tmp_path).returncode == 66
    assert not (tmp_path / "new").exists()
    with pytest.raises(SnapshotMissing, match="there is no snapshot 7; there are: none"):
        Snapshots.of(store).path(7)
    Snapshots.of(store).create(store)
    path = Snapshots.of(store).path() / SNAPSHOT
    path.chmod(0o644)
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    assert "does not match its digest" in Snapshots.of(store).verify()[0]


@pytest.mark.parametrize("name", ["link", "fifo", "folder link"])
def test_links_and_devices_in_a_snapshot_are_refused(store: Path, tmp_path: Path, name: str) -> None:
    Snapshots.of(store).create(store)
    folder = Snapshots.of(store).path()
    target = folder / "epochs" / "000002" / "spaces" / "taste" / "items.npy"
    if name == "folder link":
        target = target.parent
        subprocess.run(["mv", target, tmp_path / "aside"], check=True)
        target.symlink_to(tmp_path / "aside")
    else:
        target.rename(tmp_path / "aside")
        if name == "link":
            target.symlink_to(tmp_path / "aside")
        else:
            os.mkfifo(target)
    assert any("neither a plain file nor a folder" in fault for fault in Snapshots.of(store).verify())
    with pytest.raises(SnapshotDamaged):
        restore(folder, tmp_path / "new")
    assert not (tmp_path / "new" / "CURRENT").exists()


@pytest.mark.parametrize(
    "name", ["../../etc/cron", "/etc/passwd", "epochs/000002/../../CURRENT", "CURRENT", "epochs/000001/x", ".x", "a\\b"]
)
def test_names_that_lead_elsewhere_are_refused(store: Path, tmp_path: Path, name: str) -> None:
    """A manifest with a right seal, since whoever writes the one can write the other."""
    from mixline.storage.digests import seal_of

    Snapshots.of(store).create(store)
    folder = Snapshots.of(store).path()
    facts = json.loads((folder / SNAPSHOT).read_text())
    facts["files"][name] = {"bytes": 1, "sha256": "0" * 64}
    raw = json.dumps(facts).encode()
    for file, content in ((SNAPSHOT, raw), ("snapshot.sha256", seal_of(raw, SNAPSHOT))):
        (folder / file).chmod(0o644)
        (folder / file).write_bytes(content)
    done = mixline("restore", tmp_path / "new", "--from", store)
    assert done.returncode == 65 and repr(name).encode() in done.stderr, done.stderr
    assert not (tmp_path / "new" / "CURRENT").exists()


def test_kill_9_leaves_the_old_or_the_new(store: Path, tmp_path: Path) -> None:
    """Creating and restoring, killed at random points; what is there afterwards is whole, and the next one works."""
    random, shots, target = Random(8), Snapshots.of(store), tmp_path / "new"
    shots.create(store)
    expected, killed = told(store), 0
    took_s = time.monotonic()
    assert mixline("restore", tmp_path / "timed", "--from", store).returncode == 0
    took_s = time.monotonic() - took_s
    for attempt in range(24):
        words = ["create", store] if attempt % 3 == 2 else ["restore", target, "--from", store]
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "snapshot", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(took_s * random.uniform(0.5, 1.1))
        process.kill()
        killed += process.wait() == -9
        assert [fault for number in shots.numbers() for fault in shots.verify(number)] == []
        if (target / "CURRENT").exists():
            assert Store(target).verify() == [] and told(target) == expected and read_log(target / LOG)[-1] == 9
            subprocess.run(["rm", "-r", target], check=True)
    assert killed >= 5
    assert mixline("restore", target, "--from", store).returncode == 0 and told(target) == expected
    assert mixline("create", store).returncode == 0
    assert not [path.name for path in (*target.iterdir(), *shots.folder.iterdir()) if path.name.startswith(".")]


def test_a_restore_killed_between_its_renames(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log and the epoch have their names, CURRENT does not: nobody serves, and the next restore begins anew."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    Snapshots.of(store).create(store)
    with monkeypatch.context() as patch:
        patch.setattr("mixline.storage.restore.write_current", killed)
        patch.setattr("mixline.storage.restore.clear_restore", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            restore(Snapshots.of(store).path(), tmp_path / "new")
    assert (tmp_path / "new" / LOG / "data.mdb").exists() and epoch_folder(tmp_path / "new", 2).is_dir()
    assert not (tmp_path / "new" / "CURRENT").exists()
    assert restore(Snapshots.of(store).path(), tmp_path / "new").log
    assert Store(tmp_path / "new").verify() == [] and read_log(tmp_path / "new" / LOG)[-1] == 9


def test_a_full_disk(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device", str(store / "snapshots"))

    Snapshots.of(store).create(store)
    monkeypatch.setattr("mixline.storage.snapshots.place", full)
    with pytest.raises(StoreUnwritable, match="No space left"):
        Snapshots.of(store).create(store)
    assert Snapshots.of(store).numbers() == [1] and Snapshots.of(store).verify() == []
    monkeypatch.setattr("mixline.storage.restore.place", full)
    with pytest.raises(StoreUnwritable, match="No space left"):
        restore(Snapshots.of(store).path(), tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["LOCK", "epochs"]
