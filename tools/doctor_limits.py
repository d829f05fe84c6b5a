"""Limits of the process: descriptors, locked memory, core files, and whether the kernel lets a node share memory."""

from __future__ import annotations

from collections.abc import Iterator

from mixline.node import limits
from mixline.tools.doctor_finding import Case, Check, Finding, size
from mixline.tools.doctor_machine import MIB, Unseen

# Descriptors of a process beside those that grow: counted on a running node, rounded up.
BASE_FILES = 32
SEAT_FILES = 6  # seat, arena twice, bell, pidfd, and one being replaced
UNLIMITED = 1 << 63
FILES_ADVISED = 65536  # as the unit of `mixline systemd install` has it


def process_limits(case: Case, pid: str = "self") -> dict[str, tuple[int, int]]:
    """``Max open files`` and the like -> (soft, hard); raises Unseen."""
    found = {}
    for line in case.machine.text(f"/proc/{pid}/limits").splitlines()[1:]:
        name, values = line[:26].strip(), line[26:].split()
        soft, hard = (UNLIMITED if value == "unlimited" else int(value) for value in values[:2])
        found[name] = (soft, hard)
    return found


def limit(case: Case, name: str) -> tuple[int, int]:
    found = process_limits(case)
    if name not in found:
        raise Unseen(f"/proc/self/limits: has no {name}")
    return found[name]


def shown(value: int) -> str:
    return "unlimited" if value == UNLIMITED else str(value)


def files_needed(workers: int, clients: int) -> int:
    """Descriptors of the broker, the process that needs the most: its seats, the standby's too, and one per client."""
    return BASE_FILES + SEAT_FILES * (workers + 1) + clients


def open_files(case: Case) -> Iterator[Finding]:
    soft, hard = limit(case, "Max open files")
    bare, needed = files_needed(case.workers, 0), files_needed(case.workers, case.clients)
    found = f"soft {shown(soft)}, hard {shown(hard)}; {case.workers} workers and {case.clients} clients need {needed}"
    if hard >= needed:
        mend = f"ulimit -n {min(hard, max(FILES_ADVISED, needed))}"
    else:
        mend = f"LimitNOFILE={max(FILES_ADVISED, needed)} in the unit (mixline systemd install writes it)"
    if soft < bare:
        yield Finding(
            "open files", "bad", found, "the node does not start: its processes cannot open their memory", mend
        )
    elif soft < needed:
        costs = f"from client {soft - bare + 1} on, connections are refused while the broker runs out of descriptors"
        yield Finding("open files", "warn", found, costs, mend)
    else:
        yield Finding("open files", "ok", found)


def locked_memory(case: Case) -> Iterator[Finding]:
    soft, hard = limit(case, "Max locked memory")
    found = f"soft {shown(soft)}, hard {shown(hard)} bytes"
    if soft == UNLIMITED:
        yield Finding("locked memory", "ok", found)
        return
    costs = "nothing for a node, which locks no page; mixline warm --lock cannot hold a store in memory"
    yield Finding("locked memory", "note", found, costs, "LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited")


def core_files(case: Case) -> Iterator[Finding]:
    soft, _ = limit(case, "Max core file size")
    pattern = case.machine.text_or("/proc/sys/kernel/core_pattern", "core")
    found = f"soft {shown(soft)}, pattern {pattern}"
    written = size(limits.slot_bytes + limits.arena_bytes)
    costs = (
        f"a crashed worker is gone only when its memory is written (its heap and up to {written} of requests and "
        "replies); its request waits for that, and users' data lies on the disk"
    )
    if pattern.startswith("|"):  # core(5): a handler is started whatever the limit says
        mend = "sysctl kernel.core_pattern=core, with LimitCORE=0 in the unit"
        yield Finding("core files", "warn", found + " (a handler ignores the limit)", costs, mend)
    elif soft:
        yield Finding("core files", "warn", found, costs, "ulimit -c 0, or LimitCORE=0 in the unit")
    else:
        yield Finding("core files", "ok", found)


def memory_files(case: Case) -> Iterator[Finding]:
    refused = case.machine.memory_file()
    noexec = case.machine.number_or("/proc/sys/vm/memfd_noexec", 0)
    if refused:
        costs = "no node runs here: requests and replies lie in sealed memory files"
        mend = "sysctl vm.memfd_noexec=1" if noexec == 2 else "allow memfd_create in the seccomp profile; Linux >= 5.4"
        yield Finding("memory files", "bad", f"{refused}; vm.memfd_noexec={noexec}", costs, mend)
    else:
        yield Finding("memory files", "ok", f"memfd_create, seals and read-only maps work; vm.memfd_noexec={noexec}")


def shared_folder(case: Case) -> Iterator[Finding]:
    path = case.machine.path("/dev/shm")
    if not path.is_dir():
        raise Unseen("/dev/shm: not there (a node needs none)")
    space = case.machine.space(path)
    found = f"{size(space.free)} free of {size(space.total)}"
    if space.free >= 64 * MIB:
        yield Finding("/dev/shm", "ok", found)
        return
    costs = "nothing for a node, whose memory files lie elsewhere; libraries of a component of yours may need it"
    yield Finding("/dev/shm", "note", found, costs, "mount -o remount,size=1G /dev/shm, or --shm-size of the container")


CHECKS: tuple[tuple[str, Check], ...] = (
    ("open files", open_files),
    ("locked memory", locked_memory),
    ("core files", core_files),
    ("memory files", memory_files),
    ("/dev/shm", shared_folder),
)
