"""Whoever walks the page tables of a node, and so stops it for as long as a mapped store is large.

Pinterest saw one request in a million take a hundred times longer because cAdvisor walked the page tables of a mapped
index to count referenced memory. Such a walk holds locks of the address space, and clearing the referenced bits makes
the processor set them again, page by page. So we look for the programs known to do it, for files that are open this
moment, and for the kernel's own scanners.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mixline.tools.doctor_finding import Case, Check, Finding, State
from mixline.tools.doctor_machine import Unseen

WALK_COSTS = "each walk holds a lock of the worker's address space: rare requests take up to a hundred times longer"
WALKED = re.compile(r"^/proc/(\d+|self)/(task/\d+/)?(smaps|smaps_rollup|clear_refs|pagemap|numa_maps)$")
DAMON = "/sys/kernel/mm/damon/admin/kdamonds"
IDLE_BITMAP = "/sys/kernel/mm/page_idle/bitmap"
INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel

# Program -> what it does, and how to have it stop.
PROGRAMS = {
    "smem": ("reads smaps of every process", "stop it while the node serves"),
    "smemstat": ("reads smaps of every process", "stop it while the node serves"),
    "ps_mem": ("reads smaps of every process", "stop it while the node serves"),
    "process-exporte": ("reads smaps of what it watches unless told not to", "process-exporter -gather-smaps=false"),
    "numad": ("reads numa_maps and moves pages between nodes", "systemctl disable --now numad"),
    "wss.pl": ("clears referenced bits and reads smaps", "stop it"),
    "page-types": ("reads pagemap", "stop it"),
    "damo": ("drives DAMON, which samples and clears access bits", "damo stop"),
}


def cadvisor_says(arguments: list[str]) -> tuple[bool | None, str]:
    """Whether cAdvisor's command line has it count referenced memory, None where the version's default decides."""
    options = {}
    for at, argument in enumerate(arguments):
        if argument.startswith("-"):
            name, equals, value = argument.lstrip("-").partition("=")
            options[name] = value if equals else "".join(arguments[at + 1 : at + 2])
    for option, walks in (("enable_metrics", True), ("disable_metrics", False)):
        if option in options:
            listed = "referenced_memory" in options[option].split(",")
            return listed == walks, f"{option}={options[option]}"
    return None, "its default, which is off in new versions only"


def judge(pid: int, name: str, arguments: list[str]) -> Finding | None:
    """A finding when this process is known to walk page tables."""
    if name == "cadvisor":
        walks, why = cadvisor_says(arguments)
        mend = "start cAdvisor with referenced_memory among --disable_metrics, not among --enable_metrics"
        if walks is False:
            return Finding("page-table scanners", "ok", f"cadvisor ({pid}) leaves referenced memory alone: {why}")
        return Finding("page-table scanners", "warn", f"cadvisor ({pid}): {why}", WALK_COSTS, mend)
    if name == "kubelet":
        found = f"kubelet ({pid}) has cAdvisor built in, upstream without referenced memory"
        mend = f"watch it while it collects: ls -l /proc/{pid}/fd | grep -e smaps -e clear_refs"
        return Finding("page-table scanners", "note", found, f"if it counts referenced memory: {WALK_COSTS}", mend)
    if name in PROGRAMS:
        does, mend = PROGRAMS[name]
        return Finding("page-table scanners", "warn", f"{name} ({pid}) {does}", WALK_COSTS, mend)
    return None


def opened(case: Case, pid: int) -> list[str]:
    """Files by which this process walks page tables, open this moment."""
    found = []
    for fd in case.machine.names(f"/proc/{pid}/fd"):
        try:
            target = case.machine.link(f"/proc/{pid}/fd/{fd}")
        except Unseen:
            continue  # closed meanwhile, or not ours to see
        if WALKED.match(target) or target == IDLE_BITMAP:
            found.append(target)
    return found


def scanners(case: Case) -> Iterator[Finding]:
    pids, seen, unseen = case.machine.pids(), 0, 0
    if not pids:
        raise Unseen("/proc: no process to be seen")
    for pid in pids:
        name = case.machine.text_or(f"/proc/{pid}/comm", "")
        arguments = case.machine.text_or(f"/proc/{pid}/cmdline", "").split("\0")
        verdict = judge(pid, name, arguments)
        if verdict is not None:
            seen += verdict.state != "ok"
            yield verdict
        unseen += not case.machine.readable(f"/proc/{pid}/fd")
        for target in opened(case, pid):
            seen += 1
            found = f"{name or 'process'} ({pid}) has {target} open"
            yield Finding("page-table scanners", "warn", found, WALK_COSTS, f"stop it: kill {pid}")
    if seen:
        return
    found = f"none among {len(pids)} processes"
    if unseen:
        found += f" (open files of {unseen} not to be seen)"
    if case.machine.text_or("/proc/1/comm", "") and namespace(case) not in ("", INITIAL_PID_NAMESPACE):
        found += ", but this is a container: those of the host are not to be seen"
        costs = f"if the host has one: {WALK_COSTS}"
        yield Finding("page-table scanners", "note", found, costs, "run mixline doctor on the host too")
    else:
        yield Finding("page-table scanners", "ok", found)


def namespace(case: Case) -> str:
    """Our process namespace as the kernel names it, "" where it does not."""
    try:
        return case.machine.link("/proc/self/ns/pid")
    except Unseen:
        return ""


def idle_pages(case: Case) -> Iterator[Finding]:
    if not case.machine.path(IDLE_BITMAP).exists():
        yield Finding("idle page tracking", "ok", "not built into this kernel, or off")
        return
    costs = f"nothing while nobody writes {IDLE_BITMAP}; whoever does clears the referenced bit of every page"
    mend = "run no tool that uses it (wss, idlemap, kstaled) beside a node"
    yield Finding("idle page tracking", "note", "available", costs, mend)


def damon(case: Case) -> Iterator[Finding]:
    names = {pid: case.machine.text_or(f"/proc/{pid}/comm", "") for pid in case.machine.pids()}
    threads = [name for name in names.values() if name.startswith("kdamond")]
    if not threads:
        yield Finding("DAMON", "ok", "no kdamond runs")
        return
    actions = sorted(set(damon_actions(case)))
    found = f"{', '.join(threads)} runs" + (f", and does: {', '.join(actions)}" if actions else "")
    costs = "access bits of sampled pages are cleared and set again"
    if "pageout" in actions:
        costs += "; pages of the store not touched for a while are evicted: warm before timing"
    mend = f"echo off > {DAMON}/0/state"
    yield Finding("DAMON", "warn", found, costs, mend)


def damon_actions(case: Case) -> Iterator[str]:
    """What DAMON's schemes do with the regions they choose; none where it was not set up through sysfs."""
    for kdamond in case.machine.names(DAMON):
        for context in case.machine.names(f"{DAMON}/{kdamond}/contexts"):
            schemes = f"{DAMON}/{kdamond}/contexts/{context}/schemes"
            for scheme in case.machine.names(schemes):
                action = case.machine.text_or(f"{schemes}/{scheme}/action", "")
                if action:
                    yield action


def same_pages(case: Case) -> Iterator[Finding]:
    running = case.machine.number("/sys/kernel/mm/ksm/run")
    shared = case.machine.number_or("/sys/kernel/mm/ksm/pages_shared", 0)
    if running != 1:
        yield Finding("same-page merging", "ok", f"ksm/run={running}")
        return
    costs = (
        "ksmd takes CPU and compares pages of processes that asked for it (a node does not); merged ones fault on write"
    )
    state: State = "warn" if shared else "note"
    found = f"ksm/run=1, {shared} pages shared"
    yield Finding("same-page merging", state, found, costs, "echo 0 > /sys/kernel/mm/ksm/run")


def numa_balancing(case: Case) -> Iterator[Finding]:
    mode = case.machine.number_or("/proc/sys/kernel/numa_balancing", 0)
    nodes = [name for name in case.machine.names("/sys/devices/system/node") if re.fullmatch(r"node\d+", name)]
    found = f"kernel.numa_balancing={mode}, {max(1, len(nodes))} NUMA nodes"
    if mode and len(nodes) > 1:
        costs = "the kernel unmaps pages again and again to see who touches them: a fault per page, within requests"
        mend = (
            "sysctl kernel.numa_balancing=0; keep a node's processes on one NUMA node: numactl -N 0 -m 0 mixline serve"
        )
        yield Finding("NUMA balancing", "warn", found, costs, mend)
    else:
        yield Finding("NUMA balancing", "ok", found)


CHECKS: tuple[tuple[str, Check], ...] = (
    ("page-table scanners", scanners),
    ("idle page tracking", idle_pages),
    ("DAMON", damon),
    ("same-page merging", same_pages),
    ("NUMA balancing", numa_balancing),
)
