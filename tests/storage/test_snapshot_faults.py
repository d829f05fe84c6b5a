"""EIO and ENOSPC at each write, fsync, rename, link and mkdir of a snapshot and of a restore, put there by strace.

Whatever fails, what was there before is whole, the command says so in one line, and the next one works.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from build_case import build, write_films
from log_case import LOG, read_log, write_log
from straced import calls_made, failing, needs_strace

from mixline.storage.snapshots import Snapshots
from mixline.storage.store import Store

CALLS = "write,pwrite64,writev,fsync,fdatasync,rename,renameat2,link,linkat,mkdir,chmod,fchmodat,ftruncate"
EXITS = (0, 65, 73)  # the log's own library says EIO of its copy as of a damaged log


class Case:
    """A store with a log and one snapshot, and what a command does to it when a call fails."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, folder / "store"
        build(write_films(folder / "in", ".csv"), self.store)
        write_log(self.store, 1, 5)
        self.shots = Snapshots.of(self.store)
        self.shots.create(self.store)

    def command(self, what: str) -> list[str]:
        words = ["create", self.store] if what == "create" else ["restore", self.folder / "new", "--from", self.store]
        return [sys.executable, "-B", "-m", "mixline.tools", "snapshot", *map(str, words), "--json"]

    def calls(self, what: str) -> list[tuple[str, int]]:
        """Every call that the command makes itself: its name, and how many of that name came before it."""
        made = calls_made(self.command(what), CALLS, self.folder / "calls")
        found = [(name, at) for name, at, line in made if str(self.folder) in line]
        self.clear()
        return found

    def clear(self) -> None:
        shutil.rmtree(self.folder / "new", ignore_errors=True)
        if len(self.shots.numbers()) > 1:
            for number in self.shots.numbers()[1:]:
                shutil.rmtree(self.shots.path(number))

    def fail(self, what: str, call: str, at: int, error: str) -> int:
        """Let one call of a command fail; returns its exit code."""
        done = failing(self.command(what), call, at, error)
        where = f"{what}: {call} {at} {error}: exit {done.returncode}: {done.stderr}"
        assert done.returncode in EXITS and "Traceback" not in done.stderr, where
        if done.returncode:
            assert done.stderr.startswith("mixline: ") and len(done.stderr) < 500, where
        else:
            json.loads(done.stdout)
        self.check(where)
        self.clear()
        return done.returncode

    def check(self, where: str) -> None:
        """All that has a name is whole."""
        assert 1 in self.shots.numbers() and Store(self.store).verify() == [], where
        assert [fault for number in self.shots.numbers() for fault in self.shots.verify(number)] == [], where
        if (self.folder / "new" / "CURRENT").exists():
            assert Store(self.folder / "new").verify() == [], where
            assert read_log(self.folder / "new" / LOG) == [1, 2, 3, 4, 5], where

    def succeed(self) -> None:
        for what in ("create", "restore"):
            subprocess.run(self.command(what), check=True, capture_output=True)
        self.check("at the end")


@needs_strace
def test_some_calls_fail(tmp_path: Path) -> None:
    case, random = Case(tmp_path), Random(6)
    codes = []
    for what in ("create", "restore"):
        calls = case.calls(what)
        assert {"fsync", "rename"} <= {name for name, _ in calls} and len(calls) > 60
        codes += [case.fail(what, *random.choice(calls), random.choice(("EIO", "ENOSPC"))) for _ in range(4)]
    assert 73 in codes
    case.succeed()


@needs_strace
@pytest.mark.stress
@pytest.mark.timeout(880)
@pytest.mark.parametrize("what", ["create", "restore"])
def test_every_call_fails(tmp_path: Path, what: str, stress_seed: int) -> None:
    """Each once, with EIO or ENOSPC as the seed says."""
    case, random = Case(tmp_path), Random(stress_seed)
    codes = [case.fail(what, name, at, random.choice(("EIO", "ENOSPC"))) for name, at in case.calls(what)]
    assert codes.count(73) > len(codes) // 3
    case.succeed()
