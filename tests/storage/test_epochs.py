"""Managing epochs: list, verify, activate, roll back, prune, dump, the lock, and many processes over one copy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from build_case import build, write_films

from mixline.storage.dump import dump
from mixline.storage.errors import FormatUnknown, StoreDamaged, StoreLocked, StoreMissing, WrongProcess
from mixline.storage.lock import StoreLock
from mixline.storage.manifest import MANIFEST
from mixline.storage.publish import epoch_folder
from mixline.storage.store import Store
from mixline.tools.cli import main


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pattern store with three epochs; tests copy it."""
    folder = tmp_path_factory.mktemp("three")
    spec = write_films(folder / "in", ".csv")
    for _ in range(3):
        build(spec, folder / "store")
    return folder / "store"


@pytest.fixture
def store(three: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-a", three, tmp_path / "store"], check=True)
    return tmp_path / "store"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture) -> Callable[..., tuple[int, bytes, bytes]]:
    def run(*arguments: object) -> tuple[int, bytes, bytes]:
        monkeypatch.setattr(sys, "argv", ["mixline", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        sys.stdout.flush()
        shown = capfdbinary.readouterr()
        return code, shown.out, shown.err

    return run


def test_list(store: Path, run: Callable) -> None:
    code, shown, _ = run("epoch", "list", store, "--json")
    found = json.loads(shown)
    assert code == 0
    assert [(one["number"], one["active"], one["items"], one["users"], one["events"]) for one in found] == [
        (1, False, 5, 3, 60),
        (2, False, 5, 3, 60),
        (3, True, 5, 3, 60),
    ]
    size = sum(path.stat().st_size for path in epoch_folder(store, 1).rglob("*") if path.is_file())
    assert 0 < found[0]["bytes"] <= size
    assert run("epoch", "list", store)[1].decode().splitlines()[2].startswith("*      3")


def test_published_files_cannot_be_written(store: Path) -> None:
    modes = {path.stat().st_mode & 0o777 for path in epoch_folder(store, 1).rglob("*") if path.is_file()}
    assert modes == {0o444}


def files(epoch: Path) -> list[str]:
    return sorted(path.relative_to(epoch).as_posix() for path in epoch.rglob("*") if path.is_file())


def test_verify_names_every_flipped_bit(store: Path, run: Callable) -> None:
    epoch = epoch_folder(store, 2)
    assert run("epoch", "verify", store, "--epoch", 2)[0] == 0
    rng = np.random.default_rng(5)
    names = files(epoch)
    assert len(names) > 20
    for name in names:
        path = epoch / name
        raw = bytearray(path.read_bytes())
        if not raw:
            continue
        at, bit = int(rng.integers(len(raw))), 1 << int(rng.integers(8))
        raw[at] ^= bit
        path.chmod(0o644)
        path.write_bytes(raw)
        code, shown, error = run("epoch", "verify", store, "--epoch", 2, "--json")
        assert code == (78 if b"store format" in shown else 65), (name, shown, error)
        assert ("manifest.json" if name.startswith("manifest") else name) in shown.decode()
        raw[at] ^= bit
        path.write_bytes(raw)
    assert run("epoch", "verify", store, "--epoch", 2)[0] == 0


def test_a_damaged_epoch_is_not_activated(store: Path, run: Callable) -> None:
    path = epoch_folder(store, 1) / "spaces" / "taste" / "items.npy"
    path.chmod(0o644)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    code, _, error = run("epoch", "activate", store, 1)
    assert code == 65
    assert b"spaces/taste/items.npy: its SHA-256 differs" in error
    assert Store(store).current() == 3
    path.write_bytes(raw[:-4])
    with pytest.raises(StoreDamaged, match=r"spaces/taste/items.npy: \d+ bytes instead of \d+"):
        Store(store).open(1)
    path.unlink()
    (path.parent / "stray").write_text("x")
    code, shown, _ = run("epoch", "verify", store, "--epoch", 1)
    assert code == 65
    assert b"spaces/taste/items.npy: missing" in shown and b"spaces/taste/stray: not named" in shown


def test_activate_and_roll_back(store: Path, run: Callable) -> None:
    assert run("epoch", "activate", store, 1)[0] == 0
    assert Store(store).current() == 1
    code, _, error = run("epoch", "rollback", store)
    assert code == 66 and b"no epoch older than the active one (1)" in error
    assert run("epoch", "activate", store, 3)[0] == 0
    assert json.loads(run("epoch", "rollback", store, "--json")[1]) == {"active": 2}
    with Store(store).open() as epoch:
        assert epoch.number == 2
    code, _, error = run("epoch", "activate", store, 9)
    assert code == 66 and b"there is no epoch 9; there are: 1, 2, 3" in error


def test_prune_leaves_the_active_the_newest_and_the_leased(store: Path, run: Callable) -> None:
    Store(store).activate(2)
    reader = Store(store).open(1)
    assert json.loads(run("epoch", "prune", store, "--keep", 1, "--json")[1]) == {"removed": [], "in_use": [1]}
    assert reader.items.record(0)["title"] == "Rashōmon"
    reader.close()
    assert json.loads(run("epoch", "prune", store, "--keep", 1, "--json")[1]) == {"removed": [1], "in_use": []}
    assert [one.number for one in Store(store).epochs()] == [2, 3]
    with pytest.raises(StoreMissing, match="no such epoch"):
        Store(store).open(1)
    assert run("epoch", "prune", store, "--keep", 0)[0] == 64


def test_a_lease_outlives_its_epoch(store: Path) -> None:
    with Store(store).open(1) as epoch:
        lease = epoch.lease()
    assert Store(store).prune(1).in_use == [1]
    lease.close()
    assert Store(store).prune(1).removed == [1]


def test_dumps_of_two_builds_are_equal(store: Path, run: Callable) -> None:
    one, two = (run("epoch", "dump", store, "--epoch", number)[1] for number in (1, 2))
    assert one == two
    lines = [json.loads(line) for line in one.splitlines()]
    assert sum(line.get("of") == "items" for line in lines) == 5
    assert [line["id"] for line in lines if line.get("of") == "users"] == [300, 1, 20]
    assert sum(len(line["rows"]) for line in lines if "history" in line) == 60


def test_dumps_tell_different_data_apart(store: Path, tmp_path: Path) -> None:
    spec = write_films(tmp_path / "other", ".csv", seed=2)
    build(spec, tmp_path / "two")
    with Store(store).open() as one, Store(tmp_path / "two").open() as two:
        assert b"".join(dump(one)) != b"".join(dump(two))


def test_one_builder_or_manager_at_a_time(store: Path, tmp_path: Path, run: Callable) -> None:
    spec = write_films(tmp_path / "in", ".csv")
    with StoreLock(store, "a test"):
        with pytest.raises(StoreLocked, match=rf"in use by process {os.getpid()} \(a test\); wait"):
            build(spec, store)
        code, _, error = run("epoch", "activate", store, 1)
        assert code == 75 and b"in use by process" in error
        assert run("epoch", "prune", store, "--keep", 1)[0] == 75
        with Store(store).open() as epoch:  # readers need no lock
            assert epoch.number == 3
    assert build(spec, store).number == 4


def test_no_store(tmp_path: Path, run: Callable) -> None:
    code, _, error = run("epoch", "dump", tmp_path / "none")
    assert code == 66 and b"no active epoch; run mixline build" in error
    assert run("epoch", "list", tmp_path / "none")[:2] == (0, b"no epochs\n")
    for verb in (["activate", tmp_path / "none", 1], ["prune", tmp_path / "none", "--keep", 1]):
        code, _, error = run("epoch", *verb)
        assert code == 66, error


def test_unknown_format_is_refused(store: Path, run: Callable) -> None:
    path = epoch_folder(store, 3) / MANIFEST
    path.chmod(0o644)
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(FormatUnknown, match="store format 2, and this release reads format 1; run mixline build"):
        Store(store).open()
    code, _, error = run("epoch", "dump", store)
    assert code == 78 and b"store format 2" in error


def test_garbage_in_current(store: Path, run: Callable) -> None:
    (store / "CURRENT").write_bytes(b"\xff\x00seven\n")
    with pytest.raises(StoreDamaged, match="instead of an epoch's number; run mixline epoch activate"):
        Store(store).open()
    assert run("epoch", "activate", store, 2)[0] == 0
    assert Store(store).current() == 2


def test_a_change_while_serving_is_noticed(store: Path) -> None:
    with Store(store).open() as epoch:
        epoch.check_unchanged()
        path = epoch.path / "spaces" / "half" / "items.npy"
        path.chmod(0o644)
        path.write_bytes(path.read_bytes())
        with pytest.raises(StoreDamaged, match="changed while being served"):
            epoch.check_unchanged()


def test_use_after_close_and_after_fork(store: Path) -> None:
    epoch = Store(store).open()
    child = os.fork()
    if child == 0:
        refused = 0
        for use in (lambda: epoch.items, lambda: epoch.history(0), lambda: epoch.seen(0), lambda: epoch.spaces):
            try:
                use()
            except WrongProcess:
                refused += 1
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    assert epoch.items.count == 5
    epoch.close()
    with pytest.raises(WrongProcess, match="used after close"):
        epoch.history(0)


READER = """
import sys
from mixline.storage.store import Store
with Store(sys.argv[1]).open() as epoch:
    for _ in range(50):
        for row in range(epoch.items.count):
            assert epoch.items.row_of(epoch.items.id_of(row)) == row
            assert len(epoch.items.record(row)) == 7
        assert sum(len(epoch.history(row).rows) for row in range(epoch.users.count)) == 60
    print(epoch.number, flush=True)
    sys.stdin.readline()
    assert float(epoch.spaces["taste"].items.sum()) == float(sys.argv[2])
"""


def test_many_processes_read_while_epochs_come_and_go(store: Path, tmp_path: Path) -> None:
    with Store(store).open() as epoch:
        total = float(epoch.spaces["taste"].items.sum())  # type: ignore[union-attr]
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, store, str(total)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    try:
        assert [reader.stdout.readline() for reader in readers] == ["3\n"] * 6  # type: ignore[union-attr]
        build(write_films(tmp_path / "in", ".csv"), store)
        assert Store(store).current() == 4
        done = Store(store).prune(1)
        assert (done.removed, done.in_use) == ([1, 2], [3])
        for reader in readers:
            assert reader.communicate("\n", timeout=60)[0] == ""
        assert [reader.returncode for reader in readers] == [0] * 6
        assert Store(store).prune(1).removed == [3]
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()


def test_threads_share_one_epoch(store: Path) -> None:
    def read(row: int) -> tuple:
        return epoch.items.record(row % 5)["score"], len(epoch.history(row % 3).rows), epoch.items.row_of(42)

    with Store(store).open() as epoch:
        expected = [read(row) for row in range(200)]
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(read, range(200))) == expected
