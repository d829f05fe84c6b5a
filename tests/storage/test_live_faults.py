"""EIO and ENOSPC at each write, sync and allocation of the writer, put there by strace; and a disk that is full.

Whatever fails, what was acknowledged is there and seen, what was not is refused in words, and the next writer goes on.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import lmdb
import pytest
from click.testing import CliRunner
from live_child import batch
from live_faults_child import BATCHES
from straced import calls_made, failing, needs_strace
from test_live_crash import build_store, check, look

from mixline.storage import live_log
from mixline.storage.errors import LogUnwritable, StoreDamaged
from mixline.storage.live_log import LiveLog, last_sequence
from mixline.storage.live_ops import encode_batch
from mixline.storage.live_paths import log_folder, overlay_folder, unverified_mark
from mixline.storage.live_view import LiveReader
from mixline.storage.live_writer import Ack, LiveWriter
from mixline.storage.log_check import log_faults
from mixline.storage.log_readers import ALARM_S, parse
from mixline.storage.store import Store
from mixline.tools.epoch import epoch as epoch_command

CALLS = "write,pwrite64,pwritev,writev,fsync,fdatasync,msync,ftruncate,fallocate,rename,openat"
CHILD = [sys.executable, "-B", str(Path(__file__).with_name("live_faults_child.py"))]


def calls_of(store: Path, log: Path) -> list[tuple[str, int]]:
    """Every call on living data that the child makes: its name, and how many of that name came before it."""
    return [
        (name, at)
        for name, at, line in calls_made([*CHILD, str(store)], CALLS, log)
        if f"{store}/live" in line and (name != "openat" or "O_CREAT" in line)
    ]


def fail(store: Path, call: str, at: int, error: str) -> str:
    """Let one call of the child fail; returns what the child said, after seeing that nothing is lost."""
    shutil.rmtree(store / "live", ignore_errors=True)
    done = failing([*CHILD, str(store)], call, at, error)
    where = f"{call} {at} {error}: {done.stdout}{done.stderr}"
    assert done.returncode == 0 and "Traceback" not in done.stderr, where
    acknowledged = 0
    for line in done.stdout.splitlines():
        word, *rest = line.split(maxsplit=3)
        if word == "ack":
            number, seen, _ = map(int, rest)
            acknowledged = number + 1
            assert seen == 4 * acknowledged, where
        elif word == "refused":
            assert int(rest[1]) in (4 * acknowledged, 4 * acknowledged + 4), where
            assert str(store) in rest[2] and re.search(r"are free|mend the disk", rest[2]), where
        else:
            assert word == "closed" and str(store) in line, where
    number = check(store, acknowledged)
    assert not unverified_mark(store).exists() and log_faults(store) == [], where
    with Store(store).open(grows=True) as epoch:
        writer = LiveWriter(store, [epoch], now=lambda: 0)
        (outcome,) = writer.apply([batch(number)])
        assert isinstance(outcome, Ack) and not outcome.repeated, where
        writer.close()
    return done.stdout


@needs_strace
def test_some_calls_fail(tmp_path: Path) -> None:
    store, random = build_store(tmp_path), Random(5)
    calls = calls_of(store, tmp_path / "calls")
    commits = [one for one in calls if one[0] in ("pwrite64", "pwritev", "writev", "fdatasync")]
    assert {"fallocate", "pwrite64", "fdatasync"} <= {name for name, _ in calls} and len(commits) >= 2 * BATCHES
    said = [fail(store, *random.choice(commits[4:]), error) for error in ("EIO", "ENOSPC") * 2]
    said += [fail(store, *random.choice(calls), random.choice(("EIO", "ENOSPC"))) for _ in range(2)]
    assert sum("refused" in one for one in said) >= 4


@needs_strace
@pytest.mark.stress
@pytest.mark.timeout(880)
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_every_call_fails(tmp_path: Path, error: str) -> None:
    store = build_store(tmp_path)
    calls = calls_of(store, tmp_path / "calls")
    said = [fail(store, name, at, error) for name, at in calls]
    assert sum("refused" in one or "closed" in one for one in said) > len(calls) // 2


@needs_strace
def test_after_an_io_error_nothing_is_written_and_a_full_disk_is_over_when_it_has_room(tmp_path: Path) -> None:
    store = build_store(tmp_path)
    syncs = [one for one in calls_of(store, tmp_path / "calls") if one[0] == "fdatasync"]
    words = [line.split()[0] for line in fail(store, *syncs[-3], "EIO").splitlines()]
    first = words.index("refused")
    assert first > 0 and set(words[first:]) == {"refused"}
    words = [line.split()[0] for line in fail(store, *syncs[-3], "ENOSPC").splitlines()]
    assert words.count("refused") == 1 and words.count("ack") == BATCHES


@pytest.fixture
def small(tmp_path: Path):
    """A file system of 32 MB in a file."""
    image, at = tmp_path / "image", tmp_path / "small"
    at.mkdir()
    with image.open("wb") as file:
        file.truncate(32 << 20)
    for command in (["mkfs.ext4", "-q", "-F", str(image)], ["mount", "-o", "loop", str(image), str(at)]):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", "") or str(error)
            pytest.skip(f"no file system can be made and mounted here: {why.strip()}")
    yield at
    subprocess.run(["umount", "--lazy", str(at)], check=True)


def test_a_full_disk_refuses_batches_and_goes_on_when_there_is_room(small: Path) -> None:
    store = build_store(small)
    with Store(store).open(grows=True) as epoch:
        writer = LiveWriter(store, [epoch], now=lambda: 0)
        reader = LiveReader(epoch, overlay_folder(store, epoch.number))
        number = 0
        while isinstance(writer.apply([batch(number)])[0], Ack):
            number += 1
            if number == 5:
                free = os.statvfs(small)
                (small / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - (1 << 20)))
        assert number >= 5
        (refused,) = writer.apply([batch(number)])
        assert isinstance(refused, LogUnwritable) and "are free" in str(refused) and str(store) in str(refused)
        look(reader.view(), epoch, number)
        (small / "filler").unlink()
        outcomes = [writer.apply([batch(one)])[0] for one in range(number, number + 20)]
        assert all(isinstance(one, Ack) for one in outcomes)
        look(reader.view(), epoch, number + 20)
        writer.close()
    check(store, number + 20)


def test_the_map_grows_with_the_log_and_no_further_than_the_disk(tmp_path: Path, monkeypatch) -> None:
    store = tmp_path
    monkeypatch.setattr(live_log, "map_bytes", lambda _: 1 << 16)
    monkeypatch.setattr(live_log, "MAP_STEP", 1 << 16)
    log = LiveLog(store)
    many = [batch(at) for at in range(12, 500)]
    for at in range(0, len(many), 61):
        log.append(many[at : at + 61])
    assert log._env.info()["map_size"] > 1 << 16 and log.last == 5 * len(many)
    assert [encode_batch(one) for _, one in log.after(0)] == [encode_batch(one) for one in many]
    monkeypatch.setattr(LiveLog, "_free", lambda _: 10)
    with pytest.raises(LogUnwritable, match=r"no room: a commit of \d+ bytes was to be written, and 10 are free"):
        for number in range(500, 5000):
            log.append([batch(number)])
    monkeypatch.undo()
    reached = log.last
    log.append([batch(9000)])
    assert log.last == reached + 5
    log.close()
    assert last_sequence(store) == reached + 5


def test_a_log_that_failed_is_read_whole_before_it_is_believed(tmp_path: Path) -> None:
    store = build_store(tmp_path)
    log = LiveLog(store)
    log.append([batch(0), batch(1), batch(2)])
    log.close()
    with lmdb.open(str(log_folder(store)), max_dbs=2, map_size=1 << 30) as env, env.begin(write=True) as transaction:
        table = env.open_db(b"log", txn=transaction)
        transaction.put((8).to_bytes(8, "big"), b"\xc1", db=table)
    LiveLog(store).close()
    unverified_mark(store).touch()
    with pytest.raises(StoreDamaged, match=r"batch 8: batch: .*an I/O error came before"):
        LiveLog(store)
    done = CliRunner().invoke(epoch_command, ["verify", str(store)])
    assert done.exit_code == 65 and "batch 8" in done.output
    with lmdb.open(str(log_folder(store)), max_dbs=2, map_size=1 << 30) as env, env.begin(write=True) as transaction:
        transaction.delete((8).to_bytes(8, "big"), db=env.open_db(b"log", txn=transaction))
    assert log_faults(store) == [f"{log_folder(store)}: batch 12 has 4 operations, and the one before ends at 4"]
    shutil.rmtree(store / "live")
    assert log_faults(store) == []
    LiveLog(store).close()
    assert CliRunner().invoke(epoch_command, ["verify", str(store)]).output == "epoch 1: whole, and so is the log\n"


READS = """
import lmdb, os, sys
env = lmdb.open(sys.argv[1], readonly=True, max_dbs=2, map_size=1 << 30)
held = env.begin()
print("reads", flush=True)
sys.stdin.read(1)
os._exit(0)
"""


def test_readers_that_died_are_forgotten_and_the_oldest_is_told(tmp_path: Path, caplog) -> None:
    log = LiveLog(tmp_path)
    log.append([batch(0)])
    child = subprocess.Popen(
        [sys.executable, "-c", READS, str(log.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "reads\n"
    second = 1_000_000_000
    log.readers.look(log._env, second, always=True)
    assert log.readers.oldest is None  # it reads the latest
    for number in range(1, 4):
        log.append([batch(number)])
    log.readers.look(log._env, 10 * second, always=True)
    log.readers.look(log._env, 30 * second)
    assert log.readers.oldest == (child.pid, 20.0, 3) and not caplog.records
    log.readers.look(log._env, (10 + int(ALARM_S)) * second)
    log.readers.look(log._env, (12 + int(ALARM_S)) * second)
    (told,) = caplog.records
    assert f"process {child.pid} has been reading for {ALARM_S:.0f} s, 3 commits behind" in told.getMessage()
    child.kill()
    child.communicate()
    log.readers.look(log._env, 1000 * second)
    assert log.readers.freed == 1 and log.readers.oldest is None
    log.close()
    assert parse("(no active readers)\n") == [] and parse("    pid     thread     txnid\n  12 7f00a -\n") == []
