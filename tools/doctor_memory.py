"""Memory: how much a node may have, in pages of which size, and whether the kernel takes it back."""

from __future__ import annotations

from collections.abc import Iterator

from mixline.node import limits
from mixline.tools.doctor_finding import Case, Check, Finding, State, size

HUGE = "/sys/kernel/mm/transparent_hugepage"
WORKER_BYTES = 64 << 20  # heap of a worker with its libraries, beyond what all share; measured 20 MB, with room to grow
RESERVED_SHARE_MAX = 0.1
SWAP_USED_SHARE_MAX = 0.01
PRESSURE_MAX = 1.0  # per cent of the last minute in which some task waited for memory


def chosen(text: str) -> str:
    """The word in brackets of ``always [madvise] never``."""
    return text.split("[")[1].split("]")[0]


def transparent_pages(case: Case) -> Iterator[Finding]:
    enabled = chosen(case.machine.text(f"{HUGE}/enabled"))
    defrag = chosen(case.machine.text_or(f"{HUGE}/defrag", "[unknown]"))
    shared = chosen(case.machine.text_or(f"{HUGE}/shmem_enabled", "[unknown]"))
    found = f"enabled {enabled}, defrag {defrag}, shared memory {shared}"
    if enabled == "always" and defrag == "always":
        costs = "a page fault may stop to compact memory, some milliseconds within a request"
        mend = f"echo madvise > {HUGE}/enabled; echo defer+madvise > {HUGE}/defrag"
        yield Finding("huge pages", "warn", found, costs, mend)
    elif enabled == "always":
        costs = "heaps grow by 2 MiB at a time, so workers look larger than they are; khugepaged takes some CPU"
        yield Finding("huge pages", "note", found, costs, f"echo madvise > {HUGE}/enabled")
    else:
        yield Finding("huge pages", "ok", found)


def reserved_pages(case: Case) -> Iterator[Finding]:
    memory = case.machine.table("/proc/meminfo")
    total, unit = memory.get("HugePages_Total", 0), memory.get("Hugepagesize", 0)
    idle = memory.get("HugePages_Free", 0) * unit
    found = f"{size(total * unit)} reserved, {size(idle)} of it unused"
    if idle > RESERVED_SHARE_MAX * memory["MemTotal"]:
        costs = f"{size(idle)} that neither a store's pages nor a process may use: a node uses no reserved pages"
        yield Finding("reserved huge pages", "warn", found, costs, "sysctl vm.nr_hugepages=0")
    else:
        yield Finding("reserved huge pages", "ok", found)


def node_bytes(workers: int) -> int:
    """What a node needs beside the store when every block of every arena was in use once."""
    seats = workers + 1
    return limits.slot_bytes + seats * (limits.arena_bytes + limits.seat_layout.size + WORKER_BYTES)


def memory_limit(case: Case) -> tuple[int, str]:
    """Bytes that we may have, and who says so: the tightest control group above us, or the machine."""
    tightest, who = case.machine.table("/proc/meminfo")["MemTotal"], "the machine"
    for folder in case.machine.cgroup_folders("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = case.machine.text_or(f"{folder}/{name}", "max")
            if text.isdecimal() and int(text) < tightest:
                tightest, who = int(text), f"{folder}/{name}"
    return tightest, who


def enough_memory(case: Case) -> Iterator[Finding]:
    bound, who = memory_limit(case)
    needed = node_bytes(case.workers)
    found = f"{size(bound)} ({who}); a node of {case.workers} workers needs up to {size(needed)} beside its store"
    if bound < needed:
        mend = "raise the limit (MemoryMax= of the unit, --memory of the container), or start fewer --workers"
        yield Finding("memory", "bad", found, "the kernel kills workers, or the broker, under load", mend)
    elif bound < 2 * needed:
        mend = "raise the limit, or start fewer --workers"
        yield Finding("memory", "warn", found, "under load little is left for the pages of the store", mend)
    else:
        yield Finding("memory", "ok", found)


def overcommit(case: Case) -> Iterator[Finding]:
    mode = case.machine.number("/proc/sys/vm/overcommit_memory")
    found = f"vm.overcommit_memory={mode}"
    if mode != 2:
        yield Finding("overcommit", "ok", found)
        return
    memory = case.machine.table("/proc/meminfo")
    left = memory["CommitLimit"] - memory["Committed_AS"]
    found += f", {size(max(0, left))} left to promise"
    costs = "arenas count in full before they are used: starts and restarts of workers may fail for want of a promise"
    state: State = "bad" if left < node_bytes(case.workers) else "warn"
    yield Finding("overcommit", state, found, costs, "sysctl vm.overcommit_memory=0")


def swap(case: Case) -> Iterator[Finding]:
    memory = case.machine.table("/proc/meminfo")
    total, free = memory["SwapTotal"], memory["SwapFree"]
    if not total:
        yield Finding("swap", "ok", "none")
        return
    swappiness = case.machine.number_or("/proc/sys/vm/swappiness", 60)
    found = f"{size(total - free)} used of {size(total)}, vm.swappiness={swappiness}"
    costs = "arenas, slots and heaps may be written out; a request that touches such a page waits for the disk"
    state: State = "warn" if total - free > SWAP_USED_SHARE_MAX * total else "note"
    mend = "MemorySwapMax=0 in the unit, or swapoff -a"
    yield Finding("swap", state, found, costs, mend)


def zone_reclaim(case: Case) -> Iterator[Finding]:
    mode = case.machine.number_or("/proc/sys/vm/zone_reclaim_mode", 0)
    if mode:
        costs = "pages of the store are evicted although other NUMA nodes have free memory"
        yield Finding("zone reclaim", "warn", f"vm.zone_reclaim_mode={mode}", costs, "sysctl vm.zone_reclaim_mode=0")
    else:
        yield Finding("zone reclaim", "ok", "vm.zone_reclaim_mode=0")


def memory_pressure(case: Case) -> Iterator[Finding]:
    share = case.machine.pressure("memory")
    found = f"some task waited for memory in {share} % of the last minute"
    if share > PRESSURE_MAX:
        costs = "the kernel evicts and reads back pages: requests wait for the disk at random places"
        yield Finding("memory pressure", "warn", found, costs, "ps axo rss,comm --sort=-rss | head")
    else:
        yield Finding("memory pressure", "ok", found)


CHECKS: tuple[tuple[str, Check], ...] = (
    ("memory", enough_memory),
    ("memory pressure", memory_pressure),
    ("overcommit", overcommit),
    ("swap", swap),
    ("zone reclaim", zone_reclaim),
    ("huge pages", transparent_pages),
    ("reserved huge pages", reserved_pages),
)
