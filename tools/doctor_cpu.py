"""Processor: cores that we really have, how fast they run, and which instructions the kernels of ours take."""

from __future__ import annotations

from collections.abc import Iterator

from mixline.kernels import codes, isa, scan
from mixline.tools.doctor_finding import Case, Check, Finding, State
from mixline.tools.doctor_machine import Unseen

CPUS = "/sys/devices/system/cpu"
INT8_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni", "asimddp", "i8mm")
SELF_DRIVEN = ("intel_pstate", "amd-pstate-epp")  # whose "powersave" means that the processor chooses


def flags_of(case: Case) -> set[str]:
    """Feature names of the first core (x86: flags, ARM: Features); raises Unseen."""
    for line in case.machine.text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return set(value.split())
    raise Unseen("/proc/cpuinfo: names no features")


def widest(flags: set[str]) -> str:
    """The instruction set that kernels/isa.h takes when nothing is forced."""
    if not {"avx512f", "avx512vl", "avx512dq"} <= flags:
        return "avx2" if "avx2" in flags else "neon" if "asimddp" in flags else "portable"
    if not {"avx512bw", "avx512_vnni"} <= flags:
        return "avx512"
    return "amx" if {"amx_tile", "amx_int8"} <= flags else "vnni"


def instruction_path(case: Case) -> Iterator[Finding]:
    forced = case.machine.environ.get(isa.ISA_VARIABLE, "")
    yield judge_path(isa.in_use(), flags_of(case), forced, f"codes by {codes.path()}, float32 rows by {scan.path()}")


def judge_path(taken: str, flags: set[str], forced: str, paths: str) -> Finding:
    """``forced``: the value of the environment variable, "" when unset; ``paths``: what the kernels made of it."""
    best = widest(flags)
    found = f"{taken} of {best}: {paths}" + (f"; forced by {isa.ISA_VARIABLE}={forced}" if forced else "")
    if isa.NAMES.index(taken) < isa.NAMES.index(best):
        costs = "scans take longer, those of codes several times; answers have the same bytes"
        mend = f"unset {isa.ISA_VARIABLE}" if forced else "run Linux 5.16 or newer, which permits AMX tiles"
        return Finding("instruction path", "warn" if forced else "note", found, costs, mend)
    if taken == "portable":
        costs = "scans run four floats at a time, and codes without byte products; answers have the same bytes"
        mend = "choose a machine, or a CPU model of the VM, with AVX2 or ARM's dot products"
        return Finding("instruction path", "note", found, costs, mend)
    return Finding("instruction path", "ok", found)


def int8_instructions(case: Case) -> Iterator[Finding]:
    has = [flag for flag in INT8_FLAGS if flag in flags_of(case)]
    if has:
        yield Finding("int8 instructions", "ok", ", ".join(has))
        return
    costs = "products of codes cost several plain instructions each, which bounds scans in batches"
    yield Finding(
        "int8 instructions", "note", "neither AMX nor VNNI", costs, "choose a CPU, or VM model, with VNNI or AMX"
    )


def quota_cores(case: Case) -> tuple[float, str] | None:
    """The tightest CPU quota above us in cores, and the file that says so."""
    tightest: tuple[float, str] | None = None
    for folder in case.machine.cgroup_folders("cpu"):
        quota, _, period = case.machine.text_or(f"{folder}/cpu.max", "").partition(" ")
        where = f"{folder}/cpu.max"
        if not quota:
            where = f"{folder}/cpu.cfs_quota_us"
            quota = case.machine.text_or(where, "")
            period = case.machine.text_or(f"{folder}/cpu.cfs_period_us", "")
        if quota.isdecimal() and period.isdecimal() and int(period):
            cores = int(quota) / int(period)
            if tightest is None or cores < tightest[0]:
                tightest = (cores, where)
    return tightest


def cpu_quota(case: Case) -> Iterator[Finding]:
    cores, quota = case.machine.cores(), quota_cores(case)
    costs = "when the quota is spent every process stops for the rest of the 100 ms period: p99 + up to 100 ms"
    if quota is not None and quota[0] < cores:
        found = f"{quota[0]:g} cores by {quota[1]}, but {cores} to be seen"
        if quota[0] < case.workers + 1:
            mend = "raise CPUQuota= / --cpus, or give whole cores (AllowedCPUs= / --cpuset-cpus) and --workers to match"
            yield Finding("CPU quota", "warn", found, costs, mend)
            return
        yield Finding("CPU quota", "note", found, costs, "give whole cores: AllowedCPUs= / --cpuset-cpus")
        return
    throttled = throttles(case)
    found = f"no quota below the {cores} cores that we may use"
    if throttled:
        yield Finding("CPU quota", "warn", f"{found}; throttled {throttled} times", costs, "raise CPUQuota= / --cpus")
    elif cores < case.workers + 1:
        costs = "broker and workers share cores: p99 grows by a scheduler's slice under load"
        mend = f"mixline serve --workers {max(1, cores - 1)}"
        yield Finding("CPU quota", "note", f"{found}, for {case.workers} workers and a broker", costs, mend)
    else:
        yield Finding("CPU quota", "ok", found)


def throttles(case: Case) -> int:
    """Periods in which our own control group was stopped."""
    for folder in case.machine.cgroup_folders("cpu"):
        try:
            return case.machine.table(f"{folder}/cpu.stat").get("nr_throttled", 0)
        except Unseen:
            continue
    return 0


def governor(case: Case) -> Iterator[Finding]:
    found: dict[str, int] = {}
    driver = ""
    for name in case.machine.names(CPUS):
        chosen = case.machine.text_or(f"{CPUS}/{name}/cpufreq/scaling_governor", "")
        driver = driver or case.machine.text_or(f"{CPUS}/{name}/cpufreq/scaling_driver", "")
        if chosen:
            found[chosen] = found.get(chosen, 0) + 1
    if not found:
        raise Unseen(f"{CPUS}: no cpufreq here; in a virtual machine the host decides")
    told = ", ".join(f"{count} {name}" for name, count in sorted(found.items())) + f" ({driver or 'unknown driver'})"
    if set(found) == {"performance"}:
        yield Finding("CPU governor", "ok", told)
        return
    costs = "cores slow down when idle and take milliseconds to speed up: requests after a pause are slower"
    state: State = "note" if driver in SELF_DRIVEN else "warn"
    yield Finding("CPU governor", state, told, costs, "cpupower frequency-set -g performance")


CHECKS: tuple[tuple[str, Check], ...] = (
    ("instruction path", instruction_path),
    ("int8 instructions", int8_instructions),
    ("CPU quota", cpu_quota),
    ("CPU governor", governor),
)
