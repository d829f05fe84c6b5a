"""A builder killed with -9 at any point leaves the old state or the new one, and nothing hinders the next build."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from build_case import build, write_films

from mixline.storage.dump import dump
from mixline.storage.errors import StoreUnwritable
from mixline.storage.publish import EPOCHS
from mixline.storage.store import Store
from mixline.tools.cli import main

COMMAND = "from mixline.tools.cli import main; main()"
PHASES = 8  # lines on stderr of a build of this data: what it reads, settles, counts, copies, digests


def check_whole(store: Path, number: int, expected: bytes) -> None:
    """Every published epoch is whole, and the active one is a published one."""
    numbers = [one.number for one in Store(store).epochs()]
    assert Store(store).current() in numbers
    assert numbers == list(range(1, number + 1))
    for one in numbers:
        assert Store(store).verify(one) == []
    with Store(store).open() as epoch:
        assert b"".join(dump(epoch)) == expected


def test_kill_9_at_random_points(tmp_path: Path) -> None:
    spec = write_films(tmp_path / "in", ".csv", events=30_000)
    store = tmp_path / "store"
    build(spec, store)
    with Store(store).open() as epoch:
        expected = b"".join(dump(epoch))
    random = Random(20)
    number, killed = 1, 0
    for attempt in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "build", spec, "--out", store], stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            for _ in range(1 + attempt % PHASES):
                assert process.stderr.readline()
            time.sleep(random.uniform(0, 0.06))
        finally:
            process.kill()
            killed += process.wait() == -9
            process.stderr.close()
        published = [one.number for one in Store(store).epochs()]
        number = published[-1]
        check_whole(store, number, expected)
    assert killed >= 5
    left = [path.name for path in (store / EPOCHS).iterdir() if path.name.startswith(".")]
    assert left, "no kill struck while a folder was being filled"
    assert build(spec, store).number == number + 1
    check_whole(store, number + 1, expected)
    assert not [path.name for path in (store / EPOCHS).iterdir() if path.name.startswith(".")]


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    spec = write_films(tmp_path / "in", ".csv")
    store = tmp_path / "store"
    build(spec, store)
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, {resource.RLIM_INFINITY})); {COMMAND}"
    done = subprocess.run(
        [sys.executable, "-c", code, "build", spec, "--out", store, "--quiet"], capture_output=True, text=True
    )
    assert done.returncode == 73, done.stderr
    assert "cannot be written: " in done.stderr and "the store is as it was" in done.stderr
    assert "Traceback" not in done.stderr
    assert [one.number for one in Store(store).epochs()] == [1]
    assert sorted(path.name for path in (store / EPOCHS).iterdir()) == ["000001"]


def test_a_store_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write_films(tmp_path / "in", ".csv")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnwritable, match=r"file.*: cannot be written: Not a directory"):
        build(spec, tmp_path / "file" / "store")
    monkeypatch.setattr(sys, "argv", ["mixline", "build", str(spec), "--out", os.fspath(tmp_path / "file" / "store")])
    with pytest.raises(SystemExit, match="73"):
        main()
