"""The doctor on stores and running nodes: real ones, and what it says of sick ones."""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
from click.testing import CliRunner
from sick_machine import GIB, Sick, examined, verdict

from mixline.ipc.residency import resident_bytes
from mixline.tools import doctor_limits as limits
from mixline.tools import doctor_memory as memory
from mixline.tools import doctor_node as node
from mixline.tools import doctor_store as store
from mixline.tools.cli import command
from mixline.tools.doctor_finding import STATES, Case
from mixline.tools.doctor_machine import Machine, Space, Unseen

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "node"))
from node_process import running

LIMITS = "Limit                     Soft Limit           Hard Limit           Units     \n"
SPEC = """
[items]
path = "items.csv"
id = "id"
[spaces.taste]
items = "items.npy"
"""


@pytest.fixture
def sick(tmp_path):
    return Sick(tmp_path / "root")


# The store.


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor-store")
    (folder / "items.csv").write_text("id\n" + "".join(f"{item}\n" for item in range(20_000)))
    np.save(folder / "items.npy", np.random.default_rng(3).standard_normal((20_000, 16), dtype=np.float32))
    (folder / "spec.toml").write_text(SPEC)
    build = [sys.executable, "-m", "mixline.tools", "build", str(folder / "spec.toml"), "--quiet"]
    subprocess.run([*build, "--out", str(folder / "store")], check=True)
    return folder / "store"


def test_a_store_really_looked_at(built):
    done = CliRunner().invoke(command, ["doctor", "--sample", "0", "--store", str(built), "--json"])
    found = {each["name"]: each for each in json.loads(done.stdout)["findings"]}
    assert found["active epoch"]["state"] == "ok" and "20000 items" in found["active epoch"]["found"]
    assert found["residency"]["state"] in STATES and len(found["residency"]["details"]) > 3
    for each in found["residency"]["details"]:
        assert each["bytes"] >= 0 and 0 <= each["resident"] <= 1
    assert found["disk head-room"]["state"] in ("ok", "warn")


def test_residency_of_real_files(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1_000_001))
    assert resident_bytes(path) == 1_000_001
    (tmp_path / "empty").touch()
    assert resident_bytes(tmp_path / "empty") == 0
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert resident_bytes(path) <= 1_000_001  # 0 on a disk; memory file systems keep it
    with pytest.raises(FileNotFoundError):
        resident_bytes(tmp_path / "none")


def test_residency_verdicts(sick, built, tmp_path):
    files = [{"file": "a.npy", "bytes": 1000, "resident": 1.0}, {"file": "b.npy", "bytes": 1000, "resident": 0.5}]
    cold = store.judge_residency(tmp_path, files)
    assert cold.state == "warn" and "b.npy" in cold.found and "75.0%" in cold.found and "mixline warm" in cold.mend
    assert [each["file"] for each in cold.details] == ["b.npy", "a.npy"]
    assert store.judge_residency(tmp_path, [files[0] | {"resident": 0.95}]).state == "note"
    assert store.judge_residency(tmp_path, files[:1]).state == "ok"
    sick.shown = False
    verdict(store, "residency", sick, "note", "owner", store=built)


def test_page_sizes(sick, built, monkeypatch):
    verdict(store, "store pages", sick, "ok", "no file of 32 MiB", store=built)
    monkeypatch.setattr(store, "LARGE_BYTES", 1)
    verdict(store, "store pages", sick, "ok", "100% of", store=built)
    sick.in_huge_pages = 0.2
    verdict(store, "store pages", sick, "note", "20% of", "mixline warm", store=built)


def test_active_epoch(sick, built, tmp_path):
    sick.meminfo()
    verdict(store, "active epoch", sick, "ok", store=built)
    verdict(store, "active epoch", sick.meminfo(MemTotal=memory.node_bytes(4)), "warn", "left for it", store=built)
    verdict(store, "active epoch", sick, "bad", "mixline build", store=tmp_path)
    verdict(store, "residency", sick, "note", store=tmp_path)
    broken = tmp_path / "broken"
    subprocess.run(["cp", "-r", str(built), str(broken)], check=True)
    victim = next((broken / "epochs").rglob("items.npy"))
    victim.chmod(0o644)
    with victim.open("r+b") as file:
        file.truncate(100)
    verdict(store, "active epoch", sick, "bad", "items.npy", "rollback", store=broken)


def test_disk_head_room(sick, built, tmp_path):
    verdict(store, "disk head-room", sick, "ok", store=built)
    sick.free = Space(100 * GIB, store.FREE_BYTES_MIN, 0)
    verdict(store, "disk head-room", sick, "bad", "prune", store=built)
    sick.free = Space(100 * GIB, 1000, 10)
    verdict(store, "disk head-room", sick, "bad", store=tmp_path)


def test_an_epoch_too_large_for_the_disk(sick, built, monkeypatch):
    monkeypatch.setattr(store, "epoch_bytes", lambda manifest: 60 * GIB)
    verdict(store, "disk head-room", sick, "warn", "next build", "prune", store=built)


def test_file_system(sick, built, tmp_path):
    lines = f"rootfs / ext4 rw 0 0\nserver:/x {built.parent} nfs4 rw 0 0\nx {built}er xfs rw 0 0\n"
    sick.put({"/proc/self/mounts": lines})
    verdict(store, "file system", sick, "warn", "nfs4", store=built)
    verdict(store, "file system", sick, "ok", "ext4", store=Path("/elsewhere"))
    sick.put({"/proc/self/mounts": "a / tmpfs rw 0 0"})
    verdict(store, "file system", sick, "ok", "tmpfs", store=tmp_path)
    (tmp_path / "live" / "log").mkdir(parents=True)
    (tmp_path / "live" / "log" / "data.mdb").touch()
    verdict(store, "file system", sick, "warn", "SIGBUS", store=tmp_path)
    verdict(store, "file system", sick.put({"/proc/self/mounts": "a / fuse.sshfs rw 0 0"}), "warn", store=tmp_path)


def test_epoch_readers(sick, built):
    inode = next((built / "epochs").rglob("manifest.json")).stat().st_ino
    lock = f"1: FLOCK  ADVISORY  READ 55 fe:00:{inode} 0 EOF\n2: POSIX  ADVISORY  WRITE 9 fe:00:7 0 EOF\n"
    verdict(store, "epoch readers", sick.put({"/proc/locks": lock}), "ok", "active: 1 processes", store=built)
    current = (built / "CURRENT").read_text()
    (built / "CURRENT").write_text("000009\n")
    verdict(store, "epoch readers", sick, "note", "epoch 1: 1", "HUP", store=built)
    (built / "CURRENT").write_text(current)


READER = """
import lmdb, sys, time
environment = lmdb.open(sys.argv[1])
transaction = environment.begin()
transaction.get(b"key")
print(flush=True)
time.sleep(60)
"""


def test_live_readers_and_dead_ones(built, tmp_path):
    verdict(store, "LMDB readers", Machine(), "ok", "no live environment", store=built)
    (tmp_path / "live").mkdir()
    with lmdb.open(str(tmp_path / "live" / "log"), max_readers=126) as environment:
        with environment.begin(write=True) as transaction:
            transaction.put(b"key", b"value")
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(tmp_path / "live" / "log")], stdout=subprocess.PIPE
        )
        try:
            reader.stdout.readline()
            for _ in range(3):
                with environment.begin(write=True) as transaction:
                    transaction.put(b"key", b"value")
            before = (tmp_path / "live" / "log" / "lock.mdb").read_bytes()
            verdict(store, "LMDB readers", Machine(), "ok", "1 of 126", "3 behind", store=tmp_path)
        finally:
            reader.send_signal(signal.SIGKILL)
            reader.wait()
            reader.stdout.close()
        verdict(store, "LMDB readers", Machine(), "warn", str(reader.pid), "reader_check", store=tmp_path)
        assert (tmp_path / "live" / "log" / "lock.mdb").read_bytes() == before, "the doctor changes nothing"
        assert environment.reader_check() == 1


def lock_file(path, slots, readers, newest=5000):
    """``readers``: (transaction, pid)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = bytearray(128 + 64 * slots)
    struct.pack_into("<II40xQI", raw, 0, 0xBEEFC0DE, 1, newest, len(readers))
    for at, (transaction, pid) in enumerate(readers):
        struct.pack_into("<QI4xQ", raw, 128 + 64 * at, transaction, pid, 1)
    path.write_bytes(raw)


def test_reader_tables_made_by_hand(sick, tmp_path):
    path = tmp_path / "live" / "log" / "lock.mdb"
    sick.process(5, "reader")
    lock_file(path, 20, [(4999, 5)] * 10)
    verdict(store, "LMDB readers", sick, "warn", "max_readers", store=tmp_path)
    lock_file(path, 126, [(10, 5), ((1 << 64) - 1, 5)])
    verdict(store, "LMDB readers", sick, "warn", "4990 behind", store=tmp_path)
    path.write_bytes(b"\0" * 8192)
    verdict(store, "LMDB readers", sick, "note", "not the lock file", store=tmp_path)
    path.write_bytes(b"short")
    verdict(store, "LMDB readers", sick, "note", "5 bytes", store=tmp_path)


def test_stray_lock_files(sick, built, tmp_path):
    assert not examined(store, "stray lock files", sick, store=built)
    lock_file(tmp_path / "epochs" / "000001" / "records.lmdb" / "lock.mdb", 126, [])
    verdict(store, "stray lock files", sick, "note", "lock=False", store=tmp_path)


# A running node.


def info_of(*states, epoch=3, **changes):
    workers = [{"seat": at, "pid": at + 1, "state": state, "epoch": epoch} for at, state in enumerate(states)]
    queue = {"requests": 0, "bytes": 0, "waiting": 0}
    info = {"pid": 50, "supervisor_pid": 49, "life": 1, "draining": False, "queue": queue, "counters": {}}
    return info | {"workers": workers} | changes


def judged(machine, info, **about):
    found = []
    with contextlib.suppress(Unseen):  # the broker that INFO names is none of this machine
        found.extend(node.judge_info(Case(machine, 2, 10, endpoint="ipc:///x", **about), info))
    return {each.name: each for each in found}


def test_info_verdicts(sick, built):
    well = judged(sick, info_of("ready", "ready", "standby"))
    assert {each.state for each in well.values()} == {"ok"} and len(well) == 4
    assert judged(sick, info_of("ready", "starting", life=2))["workers"].state == "warn"
    assert judged(sick, info_of("ready", life=2))["node"].state == "note"
    assert judged(sick, info_of("ready", draining=True))["node"].state == "warn"
    assert judged(sick, info_of("starting", "vacant"))["workers"].state == "bad"
    assert judged(sick, info_of("ready", counters={"redispatched": 2}))["deaths"].state == "note"
    assert judged(sick, info_of("ready", counters={"poison": 1}))["deaths"].state == "warn"
    behind = judged(sick, info_of("ready"), store=built)["node epoch"]
    assert behind.state == "warn" and "kill -HUP 49" in behind.mend
    two = info_of("ready", "ready")
    two["workers"][0]["epoch"] = 2
    assert judged(sick, two)["node epoch"].state == "note"


def test_descriptors_of_the_broker(sick):
    sick.process(50, "mixline-broker", **{str(fd): "/dev/null" for fd in range(90)})
    sick.put({"/proc/50/limits": f"{LIMITS}{'Max open files':<26}{100:<21}{100:<21}files\n"})
    crowded = judged(sick, info_of("ready"))["node files"]
    assert crowded.state == "warn" and "90 descriptors of 100" in crowded.found
    sick.put({"/proc/50/limits": f"{LIMITS}{'Max open files':<26}{1000:<21}{1000:<21}files\n"})
    assert judged(sick, info_of("ready"))["node files"].state == "ok"


def test_a_running_node_is_asked(built, tmp_path):
    with running(tmp_path, workers=1, store=built) as served:
        options = ["doctor", "--sample", "0", "--store", str(built), "--endpoint", served.endpoint, "--json"]
        done = CliRunner().invoke(command, options)
        found = {each["name"]: each for each in json.loads(done.stdout)["findings"]}
        assert found["node"]["state"] == "ok" and found["workers"]["found"] == "1 ready, 1 standby"
        assert found["deaths"]["state"] == "ok" and found["node epoch"]["found"] == "serves epoch 1"
        assert found["node files"]["state"] == "ok"
        assert "active: 2 processes" in found["epoch readers"]["found"]
        info = served.info()
        fds = {name: len(os.listdir(f"/proc/{info[name]}/fd")) for name in ("pid", "supervisor_pid")}  # noqa: PTH208
        assert max(fds.values()) <= limits.files_needed(1, 1), fds
