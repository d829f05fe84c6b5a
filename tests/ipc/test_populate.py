"""Files brought into the page cache, by the advice and by reading; and how much memory may be filled."""

import mmap
import os

import pytest

from mixline.ipc import _os, warming
from mixline.ipc.residency import HUGE_BYTES, huge_share, mapped_huge, resident_bytes
from mixline.ipc.room import available_bytes
from mixline.ipc.warming import forget, hold, populate
from mixline.tools.bench_pages import in_small_pages

PAGE = mmap.PAGESIZE


@pytest.fixture
def cold(disk):
    """A file on the disk, none of it in memory."""
    path = disk / "file"
    path.write_bytes(os.urandom(40 * PAGE + 17))
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    forget(path)
    if resident_bytes(path):
        pytest.skip("this file system keeps pages that it is asked to drop (tmpfs)")
    return path


class OldKernel:
    """Knows neither kind of advice."""

    def mx_populate(self, *_):
        return 22


@pytest.mark.parametrize("way", ["populated", "read"])
def test_all_of_a_file(cold, way, monkeypatch):
    if way == "read":
        monkeypatch.setattr(warming._os, "lib", OldKernel())
    seen = []
    assert populate(cold, 1 << 40, seen.append) == way
    monkeypatch.undo()
    assert sum(seen) == cold.stat().st_size == resident_bytes(cold)


def test_the_beginning_of_a_file(cold):
    populate(cold, 4 * PAGE, lambda _: None)
    assert resident_bytes(cold) >= 4 * PAGE


def test_huge_falls_back(cold, monkeypatch):
    calls = []

    class NoHuge:
        def mx_populate(self, fd, at, count, huge):
            calls.append(huge)
            return 22 if huge else _os_populate(fd, at, count, 0)

    _os_populate = _os.lib.mx_populate
    monkeypatch.setattr(warming._os, "lib", NoHuge())
    assert populate(cold, 1 << 40, lambda _: None, huge=True) == "populated"
    assert calls == [True, False]


def test_in_what_pages_a_file_lies(cold):
    assert huge_share(cold) == 1.0, "it has no whole one"
    path = cold.with_name("large")
    path.write_bytes(os.urandom(3 * HUGE_BYTES + 17))
    os.sync()  # what is not on the disk yet cannot be dropped
    forget(path)
    in_small_pages(path)
    assert huge_share(path) == 0.0
    forget(path)
    way = populate(path, 1 << 40, lambda _: None, huge=True)
    if not huge_share(path):
        pytest.skip("this file system has no huge pages")
    assert way == "huge" and huge_share(path) == 1.0 and resident_bytes(path) == path.stat().st_size


def test_where_nothing_is_mapped_nothing_is_huge():
    assert mapped_huge(1) == 0


def test_steps(cold, monkeypatch):
    monkeypatch.setattr(warming, "STEP_BYTES", 16 * PAGE)
    seen = []
    populate(cold, 1 << 40, seen.append)
    assert seen == [16 * PAGE, 16 * PAGE, 8 * PAGE + 17]


def test_an_empty_and_a_missing_file(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert populate(tmp_path / "empty", 100, lambda _: None) == "populated"
    hold(tmp_path / "empty")
    with pytest.raises(FileNotFoundError):
        populate(tmp_path / "none", 100, lambda _: None)


@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="the address sanitizer locks no pages")
def test_held_pages_stay(cold):
    child = os.fork()
    if child == 0:
        try:
            hold(cold)
            forget(cold)
            os._exit(0 if resident_bytes(cold) == cold.stat().st_size else 1)
        except OSError:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def machine(folder, groups, limits):
    """A root with 1000 kB available, control groups as /proc/self/cgroup has them, and (folder, file, content)."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/meminfo").write_text("MemTotal: 2000 kB\nMemAvailable: 1000 kB\n")
    (folder / "proc/self/cgroup").write_text(groups)
    for where, name, content in limits:
        (folder / "sys/fs/cgroup" / where).mkdir(parents=True, exist_ok=True)
        (folder / "sys/fs/cgroup" / where / name).write_text(content)
    return folder


def test_room_is_the_machines_or_the_tightest_groups(tmp_path):
    assert available_bytes(machine(tmp_path / "free", "0::/a\n", [])) == 1000 * 1024
    files = [
        ("a/b", "memory.max", "max\n"),
        ("a", "memory.max", "500000\n"),
        ("a", "memory.current", "450000\n"),
        ("a", "memory.stat", "inactive_file 100000\nactive_file 50000\nanon 300000\n"),
    ]
    assert available_bytes(machine(tmp_path / "two", "0::/a/b\n", files)) == 200_000
    files = [
        ("memory/a", "memory.limit_in_bytes", "400000\n"),
        ("memory/a", "memory.usage_in_bytes", "500000\n"),
        ("memory/a", "memory.stat", "total_inactive_file 0\ntotal_active_file 0\n"),
    ]
    assert available_bytes(machine(tmp_path / "one", "5:cpu:/a\n4:memory:/a\n", files)) == 0
    assert available_bytes() > 0
