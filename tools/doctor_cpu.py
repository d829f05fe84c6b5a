"""Processor: cores that we really have, how fast they run, and which instructions the kernels of ours take."""

from __future__ import annotations

from collections.abc import Iterator

from mixline.kernels.scan import SIMD_VARIABLE, instruction_set
from mixline.tools.doctor_finding import Case, Check, Finding, State
from mixline.tools.doctor_machine import Unseen

CPUS = "/sys/devices/system/cpu"
INT8_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni", "asimddp", "i8mm")
SELF_DRIVEN = ("intel_pstate", "amd-pstate-epp")  # whose "powersave" means that the processor chooses
PATHS = ("avx512", "avx2", "portable")


def flags_of(case: Case) -> set[str]:
    """Feature names of the first core (x86: flags, ARM: Features); raises Unseen."""
    for line in case.machine.text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return set(value.split())
    raise Unseen("/proc/cpuinfo: names no features")


def widest(flags: set[str]) -> str:
    """The path that kernels/simd.h takes when nothing is forced."""
    if {"avx512f", "avx512vl", "avx512dq"} <= flags:
        return "avx512"
    return "avx2" if "avx2" in flags else "portable"


def instruction_path(case: Case) -> Iterator[Finding]:
    yield judge_path(instruction_set(), flags_of(case), case.machine.environ.get(SIMD_VARIABLE, ""))


def judge_path(taken: str, flags: set[str], forced: str) -> Finding:
    """``forced``: the value of the environment variable, "" when unset."""
    best = widest(flags)
    found = f"{taken} of {best}" + (f", forced by {SIMD_VARIABLE}={forced}" if forced else "")
    if PATHS.index(taken) > PATHS.index(best):
        costs = "scans of cached vectors are slower (portable: 1.2 times AVX2 at 64 dimensions); same bits"
        return Finding("instruction path", "warn", found, costs, f"unset {SIMD_VARIABLE}")
    if taken == "portable" and "asimd" not in flags:
        costs = "scans run four floats at a time; answers have the same bits"
        return Finding(
            "instruction path", "note", found, costs, "choose a machine, or a CPU model of the VM, with AVX2"
        )
    return Finding("instruction path", "ok", found)


def int8_instructions(case: Case) -> Iterator[Finding]:
    has = [flag for flag in INT8_FLAGS if flag in flags_of(case)]
    if has:
        yield Finding("int8 instructions", "ok", ", ".join(has))
        return
    costs = "int8 dot products cost several plain instructions each; float32 scans do not use them"
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
