"""The processes of a contender: started together, measured together, and gone together at the end.

Memory is what the kernel charges: proportional set size shares a page among those who map it, so that a mapped matrix
is not counted once per worker.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import click

STOP_S = 3.0


class Usage(NamedTuple):
    """CPU so far, and memory now, of one process."""

    name: str
    cpu_us: float
    pss_kb: int
    rss_kb: int


class Crew:
    """Starts processes, each in a session of its own; leaving the block kills every one with all its children."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.leaders: dict[int, str] = {}
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> int:
        """Start ``command``; what it prints goes to ``folder/name.log``. Returns the pid."""
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                [str(each) for each in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )
        self._running.append(process)
        self.leaders[process.pid] = name
        return process.pid

    def check(self) -> None:
        """ClickException with its last words when a process has ended."""
        for process in self._running:
            code = process.poll()
            if code is not None:
                name = self.leaders[process.pid]
                words = (self.folder / f"{name}.log").read_text(errors="replace")[-1500:]
                raise click.ClickException(f"{name} ended with {code}:\n{words}")

    @property
    def pids(self) -> list[int]:
        """Everything that was started here, with children."""
        return family(self.leaders)

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        handles = [handle for handle in map(pidfd, self.pids) if handle >= 0]
        for process in self._running:
            signal_group(process.pid, signal.SIGTERM)
        give_up = time.monotonic() + STOP_S
        for process in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, give_up - time.monotonic()))
            signal_group(process.pid, signal.SIGKILL)
            process.wait()
        for handle in handles:  # children that left the group
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)


def signal_group(leader: int, number: int) -> None:
    """To the process group of ``leader``, if any of it is left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, number)


def pidfd(pid: int) -> int:
    """A handle that means this very process for ever; -1 when it has ended."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return -1


def family(roots: Iterable[int]) -> list[int]:
    """These processes and all below them that are alive."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            stat = read(entry / "stat")
            if stat:
                fields = stat.rpartition(")")[2].split()
                if fields[0] != "Z":
                    children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], list(roots)
    while waiting:
        pid = waiting.pop()
        if read(f"/proc/{pid}/stat"):
            found.append(pid)
        waiting += children.get(pid, [])
    return found


def usage(pid: int) -> Usage | None:
    """CPU of all its threads, and memory; None when it has ended."""
    name = read(f"/proc/{pid}/comm").strip()
    rollup = read(f"/proc/{pid}/smaps_rollup")
    if not name or not rollup:
        return None
    spent_ns = 0
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except FileNotFoundError:
        return None
    for thread in threads:
        spent_ns += int((read(thread / "schedstat") or "0").split()[0])
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
    return Usage(name, spent_ns / 1000, sizes["Pss"], sizes["Rss"])


def usages(pids: Iterable[int]) -> dict[int, Usage]:
    """Of those that are alive."""
    found = {pid: usage(pid) for pid in pids}
    return {pid: each for pid, each in found.items() if each is not None}


def pss_mb(pids: Iterable[int]) -> float:
    """Proportional set size of all."""
    return sum(each.pss_kb for each in usages(pids).values()) / 1024


def rss_mb(pids: Iterable[int]) -> float:
    """Resident set size of all, cheap enough to sample; pages that several map are counted by each."""
    pages = sum(int((read(f"/proc/{pid}/statm") or "0 0").split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def machine_cpu_us() -> float:
    """CPU that everything on this machine has had so far, and what a hypervisor took; all cores together."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, read("/proc/stat").split("\n")[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) * 1e6 / os.sysconf("SC_CLK_TCK")


class Neighbours:
    """How many cores others kept busy since it was made: a figure from a machine that was not quiet should say so."""

    def __init__(self, pids: Iterable[int]) -> None:
        self.before = usages(pids)
        self.machine_us, self.own_us, self.at_s = machine_cpu_us(), time.process_time() * 1e6, time.monotonic()

    def spent_us(self, pids: Iterable[int]) -> float:
        """CPU of the contender since then."""
        return sum(
            now.cpu_us - (self.before[pid].cpu_us if pid in self.before else 0.0) for pid, now in usages(pids).items()
        )

    def cores(self, pids: Iterable[int]) -> float:
        """Neither the contender (its processes that are alive) nor this process."""
        machine_us, own_us = machine_cpu_us() - self.machine_us, time.process_time() * 1e6 - self.own_us
        others_us = machine_us - own_us - self.spent_us(pids)
        return round(max(0.0, others_us) / 1e6 / (time.monotonic() - self.at_s), 2)


def read(path: str | Path) -> str:
    """A file of /proc; empty when its process has ended."""
    try:
        return Path(path).read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
