"""Time: what a reading of the clock costs, and how much of it others take from us."""

from __future__ import annotations

from collections.abc import Iterator

from mixline.tools.doctor_finding import Case, Check, Finding, State
from mixline.tools.doctor_machine import Machine, Unseen

SOURCE = "/sys/devices/system/clocksource/clocksource0"
CHEAP = ("tsc", "arch_sys_counter", "riscv_clocksource", "timebase")
PARAVIRTUAL = ("kvm-clock", "hyperv_clocksource_tsc_page", "hyperv_clocksource_msr", "xen")
CLOCK_COST_NS_MAX = 400  # from Python, where a call alone takes some 50
STEAL_MAX = 0.01
CPU_PRESSURE_MAX = 20.0  # per cent of the last minute in which some task waited for a core
USER_HZ_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


def clock_source(case: Case) -> Iterator[Finding]:
    source = case.machine.text(f"{SOURCE}/current_clocksource")
    others = case.machine.text_or(f"{SOURCE}/available_clocksource", source).split()
    if source in CHEAP:
        yield Finding("clock source", "ok", source)
        return
    costs = "every reading may be a system call of about a microsecond, and a request takes dozens"
    mend = (
        f"echo tsc > {SOURCE}/current_clocksource"
        if "tsc" in others
        else "boot with tsc=reliable if the host's TSC is stable"
    )
    state: State = "note" if source in PARAVIRTUAL else "warn"
    yield Finding("clock source", state, f"{source} (available: {', '.join(others)})", costs, mend)


def clock_cost(case: Case) -> Iterator[Finding]:
    cost_ns = case.machine.clock_cost_ns()
    found = f"{cost_ns:.0f} ns per reading, from Python"
    if cost_ns > CLOCK_COST_NS_MAX:
        costs = "readings do not stay in user space: each stage's time stamp is a system call"
        yield Finding("clock cost", "warn", found, costs, f"cat {SOURCE}/available_clocksource, and take tsc")
    else:
        yield Finding("clock cost", "ok", found)


def cpu_times(machine: Machine) -> dict[str, int]:
    """Ticks of all cores by kind since boot; raises Unseen."""
    for line in machine.text("/proc/stat").splitlines():
        if line.startswith("cpu "):
            return dict(zip(USER_HZ_FIELDS, map(int, line.split()[1:]), strict=False))
    raise Unseen("/proc/stat: has no line cpu")


def steal_share(before: dict[str, int], after: dict[str, int]) -> float:
    """Share of wanted CPU time (busy and stolen) that the host gave to others."""
    spent = {kind: after[kind] - before.get(kind, 0) for kind in after}
    wanted = sum(spent.values()) - spent["idle"] - spent["iowait"]
    return spent["steal"] / wanted if wanted > 0 else 0.0


def steal(case: Case) -> Iterator[Finding]:
    before = cpu_times(case.machine)
    case.machine.pause(case.sample_s)
    after = cpu_times(case.machine)
    now, ever = steal_share(before, after), steal_share({}, after)
    found = f"{now:.1%} of the CPU time wanted in {case.sample_s:g} s, {ever:.1%} since boot"
    if max(now, ever) > STEAL_MAX:
        costs = "a core stops for milliseconds at any place, spins included; no setting in here helps"
        yield Finding("steal time", "warn", found, costs, "vmstat 1, then ask for dedicated cores or another host")
    else:
        yield Finding("steal time", "ok", found)


def cpu_pressure(case: Case) -> Iterator[Finding]:
    share = case.machine.pressure("cpu")
    found = f"some task waited for a core in {share} % of the last minute"
    if share > CPU_PRESSURE_MAX:
        costs = "requests wait for the scheduler behind others; figures measured now are theirs too"
        yield Finding("CPU pressure", "warn", found, costs, "ps axo pcpu,pid,comm --sort=-pcpu | head")
    else:
        yield Finding("CPU pressure", "ok", found)


CHECKS: tuple[tuple[str, Check], ...] = (
    ("clock source", clock_source),
    ("clock cost", clock_cost),
    ("steal time", steal),
    ("CPU pressure", cpu_pressure),
)
