"""The machine as ``mixline doctor`` sees it: files below a root folder, and the few questions that no file answers.

Every look goes through here, so that a test can give a check a folder in which the machine is sick. Nothing is written
and no right is needed; what cannot be seen raises :class:`Unseen`, which the report turns into a note.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from mixline.ipc import segments
from mixline.ipc.residency import huge_share, resident_bytes

CLOCK_READS = 20_000
MIB = 1 << 20


class Unseen(Exception):
    """A file or an answer that this machine does not give, or not to us."""


class Space(NamedTuple):
    """A file system's bytes, and its free inodes (None where it has no such count)."""

    total: int
    free: int
    inodes_free: int | None


class Machine:
    """Reads below ``root``; the methods that ask the running kernel instead are the ones that tests replace."""

    def __init__(self, root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> None:
        self.root = root
        self.environ = environ

    def path(self, name: str) -> Path:
        """``name`` is absolute, as on the real machine."""
        return self.root / name.lstrip("/")

    def text(self, name: str) -> str:
        """Stripped contents; raises Unseen."""
        try:
            return self.path(name).read_text(errors="replace").strip()
        except OSError as error:
            raise Unseen(f"{name}: {error.strerror}") from None

    def text_or(self, name: str, default: str) -> str:
        try:
            return self.text(name)
        except Unseen:
            return default

    def number(self, name: str) -> int:
        """A file that holds one integer; raises Unseen."""
        text = self.text(name)
        try:
            return int(text)
        except ValueError:
            raise Unseen(f"{name}: holds {text[:40]!r}, not a number") from None

    def number_or(self, name: str, default: int) -> int:
        try:
            return self.number(name)
        except Unseen:
            return default

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; none where it cannot be read."""
        try:
            return sorted(path.name for path in self.path(folder).iterdir())
        except OSError:
            return []

    def readable(self, folder: str) -> bool:
        """Whether we may list a folder."""
        return os.access(self.path(folder), os.R_OK | os.X_OK)

    def link(self, name: str) -> str:
        """Where a symbolic link points; raises Unseen."""
        try:
            return str(self.path(name).readlink())
        except OSError as error:
            raise Unseen(f"{name}: {error.strerror}") from None

    def table(self, name: str) -> dict[str, int]:
        """``Key: 123 kB`` or ``key 123`` lines as numbers; kB become bytes. Raises Unseen."""
        found = {}
        for line in self.text(name).splitlines():
            key, *rest = line.replace(":", " ").split()
            if rest and rest[0].isdecimal():
                found[key] = int(rest[0]) * (1024 if rest[1:] == ["kB"] else 1)
        return found

    def pressure(self, what: str) -> float:
        """Per cent of the last minute in which some task waited for ``cpu``, ``memory`` or ``io``; raises Unseen."""
        for line in self.text(f"/proc/pressure/{what}").splitlines():
            kind, *fields = line.split()
            if kind == "some":
                return float(dict(field.split("=") for field in fields)["avg60"])
        raise Unseen(f"/proc/pressure/{what}: has no line some")

    def pids(self) -> list[int]:
        return [int(name) for name in self.names("/proc") if name.isdecimal()]

    def cgroup_folders(self, controller: str) -> Iterator[str]:
        """Folders of our control group and of those above it, own first; version 2, then version 1."""
        for line in self.text_or("/proc/self/cgroup", "").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            tops = [f"/sys/fs/cgroup/{controllers}", f"/sys/fs/cgroup/{controller}"] if controllers else []
            for top in tops or ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]:
                parts = [part for part in path.split("/") if part]
                for count in range(len(parts), -1, -1):
                    yield "/".join([top, *parts[:count]])

    # What follows asks the running kernel.

    def space(self, path: Path) -> Space:
        """Of the file system that holds ``path``; raises Unseen."""
        try:
            facts = os.statvfs(path)
        except OSError as error:
            raise Unseen(f"{path}: {error.strerror}") from None
        return Space(
            facts.f_blocks * facts.f_frsize, facts.f_bavail * facts.f_frsize, facts.f_favail if facts.f_files else None
        )

    def memory_file(self) -> str:
        """Make, seal, reopen and map a memory file as a node does; "" or what the kernel refused."""
        fds = []
        try:
            fds.append(segments.create("mixline-doctor", mmap.PAGESIZE))
            fds.append(segments.reopen_readonly(fds[0]))
            segments.map_segment(fds[1], mmap.PAGESIZE, writable=False).close()
        except OSError as error:  # SegmentError is one
            return str(error)
        finally:
            for fd in fds:
                os.close(fd)
        return ""

    def cores(self) -> int:
        """Cores that this process may run on."""
        return len(os.sched_getaffinity(0))

    def clock_cost_ns(self) -> float:
        """Nanoseconds per reading of the monotonic clock from Python: the best of five rounds."""
        read, rounds = time.monotonic_ns, []
        for _ in range(5):
            started = read()
            for _ in range(CLOCK_READS // 5):
                read()
            rounds.append((read() - started) / (CLOCK_READS // 5))
        return min(rounds)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def huge(self, path: Path) -> float:
        """The share of a file that memory holds in huge pages; raises Unseen."""
        try:
            return huge_share(path)
        except OSError as error:
            raise Unseen(f"{path}: {error.strerror}") from None

    def resident(self, path: Path) -> int | None:
        """Bytes of a file in memory, None where the kernel would not tell; raises Unseen."""
        try:
            return resident_bytes(path)
        except OSError as error:
            raise Unseen(f"{path}: {error.strerror}") from None
