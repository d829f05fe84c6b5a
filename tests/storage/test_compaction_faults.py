"""EIO and ENOSPC at each write, fsync, rename and mkdir of a fold, put there by strace.

Whatever fails, the active epoch and the log are whole, the command says so in one line, and the next one works.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from live_child import batch
from straced import calls_made, failing, needs_strace
from test_live_crash import build_store

from mixline.storage.live_log import last_sequence
from mixline.storage.live_writer import Ack, LiveWriter
from mixline.storage.log_check import log_faults
from mixline.storage.publish import epoch_folder, write_current
from mixline.storage.store import Store

CALLS = "write,pwrite64,pwritev,writev,fsync,fdatasync,msync,rename,renameat2,mkdir,chmod,fchmodat,ftruncate,fallocate"
BATCHES = 12
PARTS = 3


class Case:
    """A store that was written to, and what a fold does to it when a call fails."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, build_store(folder)
        with Store(self.store).open(grows=True) as epoch:
            writer = LiveWriter(self.store, [epoch], now=lambda: 0)
            for number in range(BATCHES):
                (outcome,) = writer.apply([batch(number)])
                assert isinstance(outcome, Ack)
            writer.close()
        self.last = last_sequence(self.store)
        words = ["epoch", "build", str(self.store), "--from-live", "--json"]
        self.fold = [sys.executable, "-B", "-m", "mixline.tools", *words]  # writes nothing but the store

    def calls(self) -> list[tuple[str, int]]:
        """Every call on the store that a fold makes: its name, and how many of that name came before it."""
        made = calls_made(self.fold, CALLS, self.folder / "calls")
        found = [(name, at) for name, at, line in made if str(self.store) in line]
        self.check("at first", folded=True)
        return found

    def fail(self, call: str, at: int, error: str) -> int:
        """Let one call of a fold fail; returns its exit code."""
        done = failing(self.fold, call, at, error)
        where = f"{call} {at} {error}: exit {done.returncode}: {done.stderr}"
        assert done.returncode in (0, 65, 73) and "Traceback" not in done.stderr, where
        if done.returncode:
            assert done.stderr.startswith("mixline: ") and len(done.stderr) < 600, where
        self.check(where, folded=done.returncode == 0)
        return done.returncode

    def check(self, where: str, *, folded: bool) -> None:
        """The epoch before and the log are whole, and so is the new one if it has a name; then it is taken away."""
        store = Store(self.store)
        numbers = [one.number for one in store.epochs()]
        assert store.current() in ((2,) if folded else (1, 2)), where
        assert [fault for number in numbers for fault in store.verify(number)] == [], where
        assert last_sequence(self.store) == self.last and log_faults(self.store) == [], where
        if 2 in numbers:
            assert store.open(2).manifest.live_seq == self.last, where
        write_current(self.store, 1)
        shutil.rmtree(epoch_folder(self.store, 2), ignore_errors=True)


@needs_strace
def test_some_calls_fail(tmp_path: Path) -> None:
    case, random = Case(tmp_path), Random(4)
    calls = case.calls()
    assert {"fsync", "rename", "mkdir", "write"} <= {name for name, _ in calls} and len(calls) > 60
    codes = [case.fail(*random.choice(calls), random.choice(("EIO", "ENOSPC"))) for _ in range(5)]
    assert 73 in codes
    subprocess.run(case.fold, check=True, capture_output=True)
    case.check("at the end", folded=True)


@needs_strace
@pytest.mark.stress
@pytest.mark.timeout(880)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_call_fails(tmp_path: Path, stress_seed: int, part: int) -> None:
    """Each once in one of the parts, with EIO or ENOSPC as the seed says."""
    case, random = Case(tmp_path), Random(stress_seed)
    codes = [case.fail(name, at, random.choice(("EIO", "ENOSPC"))) for name, at in case.calls()[part::PARTS]]
    assert codes.count(73) > len(codes) // 3
    subprocess.run(case.fold, check=True, capture_output=True)
    case.check("at the end", folded=True)
