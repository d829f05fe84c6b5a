"""The doctor on this machine, and every warning about the machine itself on ones made sick in a folder."""

import json
import subprocess
import sys

import lmdb
import msgspec
import pytest
from click.testing import CliRunner
from sick_machine import GIB, Sick, examined, verdict

from mixline.tools import doctor as command_module
from mixline.tools import doctor_clock as clock
from mixline.tools import doctor_cpu as cpu
from mixline.tools import doctor_limits as limits
from mixline.tools import doctor_memory as memory
from mixline.tools import doctor_scanners as scanners
from mixline.tools import doctor_versions as versions
from mixline.tools.cli import command
from mixline.tools.doctor_finding import Case, Finding
from mixline.tools.doctor_machine import Machine, Space

LIMITS = "Limit                     Soft Limit           Hard Limit           Units     \n"


@pytest.fixture
def sick(tmp_path):
    return Sick(tmp_path / "root")


# The whole command, really run.


def test_it_looks_at_this_machine(tmp_path):
    done = CliRunner().invoke(command, ["doctor", "--sample", "0.05", "--json"])
    said = json.loads(done.stdout)
    found = msgspec.convert(said["findings"], list[Finding])
    assert len(found) > 25 and sum(said["states"].values()) == len(found)
    assert done.exit_code == (69 if said["states"]["bad"] else 0)
    for each in found:
        assert each.state in ("ok", "note") or (each.costs and each.mend), each
        assert "make sense" not in each.found, each
    by_name = {each.name: each for each in found}
    assert by_name["memory files"].state == "ok" and by_name["numpy"].state == "ok"


def test_in_a_pipe_it_prints_five_fields_a_line():
    done = CliRunner().invoke(command, ["doctor", "--sample", "0"])
    lines = done.stdout.splitlines()
    assert {line.count("\t") for line in lines} == {4}
    assert lines[0] == "state\tcheck\tfound\tcosts\tmend"
    assert " ok, " in done.stderr and " bad" in done.stderr


def test_on_a_terminal_every_cost_and_cure_is_whole(monkeypatch, capsys):
    monkeypatch.setattr(command_module.sys.stdout, "isatty", lambda: True)
    cure = "sysctl " + "x" * 200
    files = ({"file": "spaces/taste/items.npy", "bytes": 7, "resident": 0.25},)
    command_module.show([Finding("swap", "warn", "some", "waits", cure, files), Finding("clock", "ok", "tsc")])
    out = capsys.readouterr().out
    assert cure in out and "waits" in out and "25.0%" in out and "tsc" in out


def test_an_empty_machine_only_gets_notes(tmp_path):
    """No check may fail for a file that is not there."""
    machine = Sick(tmp_path)
    found = command_module.examine(Case(machine, 4, 1000, tmp_path / "nowhere", sample_s=0))
    states = {each.name: each.state for each in found}
    for name in ("open files", "swap", "memory", "page-table scanners", "clock source", "steal time", "CPU governor"):
        assert states[name] == "note", name
    assert states["active epoch"] == "bad"
    assert not any("make sense" in each.found for each in found)


def test_files_that_look_otherwise_are_notes(sick):
    sick.put({"/proc/self/limits": "nonsense", "/proc/stat": "cpu  one two", "/proc/meminfo": "MemTotal: x"})
    sick.put({"/sys/kernel/mm/transparent_hugepage/enabled": "neither"})
    for module, name in ((limits, "open files"), (clock, "steal time"), (memory, "swap"), (memory, "huge pages")):
        verdict(module, name, sick, "note", "cannot")


def test_exit_code_is_69_when_something_is_bad(tmp_path):
    done = CliRunner().invoke(command, ["doctor", "--sample", "0", "--store", str(tmp_path)])
    assert done.exit_code == 69
    done = CliRunner().invoke(command, ["doctor", "--sample", "0", "--endpoint", f"ipc://{tmp_path}/none", "--json"])
    assert done.exit_code == 69
    (bad,) = [each for each in json.loads(done.stdout)["findings"] if each["name"] == "node"]
    assert bad["state"] == "bad" and "mixline serve" in bad["mend"]


# Limits.


def limit_file(name, soft, hard):
    return {"/proc/self/limits": f"{LIMITS}{name:<26}{soft:<21}{hard:<21}files\n"}


@pytest.mark.parametrize(
    ("soft", "hard", "state", "word"),
    [
        (65536, 65536, "ok", ""),
        ("unlimited", "unlimited", "ok", "unlimited"),
        (1024, 65536, "warn", "ulimit -n"),
        (1024, 1024, "warn", "LimitNOFILE"),
        (40, 40, "bad", "LimitNOFILE"),
    ],
)
def test_open_files(sick, soft, hard, state, word):
    verdict(limits, "open files", sick.put(limit_file("Max open files", soft, hard)), state, word)


def test_locked_memory(sick):
    verdict(limits, "locked memory", sick.put(limit_file("Max locked memory", 8192, 8192)), "note", "LimitMEMLOCK")
    sick.put(limit_file("Max locked memory", "unlimited", "unlimited"))
    verdict(limits, "locked memory", sick, "ok")


def test_core_files(sick):
    verdict(limits, "core files", sick.put(limit_file("Max core file size", 0, 0)), "ok")
    sick.put({"/proc/sys/kernel/core_pattern": "|/usr/bin/handler %p"})
    verdict(limits, "core files", sick, "warn", "handler")
    sick.put({"/proc/sys/kernel/core_pattern": "core", **limit_file("Max core file size", "unlimited", "unlimited")})
    verdict(limits, "core files", sick, "warn", "LimitCORE=0")


def test_memory_files(sick):
    sick.refused = "Permission denied"
    verdict(limits, "memory files", sick.put({"/proc/sys/vm/memfd_noexec": "2"}), "bad", "vm.memfd_noexec=1")
    verdict(limits, "memory files", sick.put({"/proc/sys/vm/memfd_noexec": "0"}), "bad", "seccomp")


def test_a_refused_memory_file_is_told(monkeypatch):
    def refuse(name, size):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("mixline.tools.doctor_machine.segments.create", refuse)
    assert "not permitted" in Machine().memory_file()


def test_shared_folder(sick):
    verdict(limits, "/dev/shm", sick, "note", "cannot look")
    sick.path("/dev/shm").mkdir(parents=True)
    verdict(limits, "/dev/shm", sick, "ok")
    sick.free = Space(64 << 20, 1 << 20, None)
    verdict(limits, "/dev/shm", sick, "note", "--shm-size")


# Memory.


def test_memory_and_its_limit_by_control_group(sick):
    verdict(memory, "memory", sick.meminfo(), "ok", "the machine")
    sick.put({"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/b/memory.max": "max"})
    sick.put({"/sys/fs/cgroup/a/memory.max": str(memory.node_bytes(4) + 1)})
    verdict(memory, "memory", sick, "warn", "/sys/fs/cgroup/a/memory.max")
    sick.put({"/proc/self/cgroup": "4:cpu,memory:/c\n", "/sys/fs/cgroup/memory/c/memory.limit_in_bytes": "1000000"})
    verdict(memory, "memory", sick, "bad", "memory.limit_in_bytes", "--workers")


def test_overcommit(sick):
    verdict(memory, "overcommit", sick.put({"/proc/sys/vm/overcommit_memory": "0"}), "ok")
    sick.put({"/proc/sys/vm/overcommit_memory": "2"})
    verdict(memory, "overcommit", sick.meminfo(CommitLimit=16 * GIB), "warn", "sysctl vm.overcommit_memory=0")
    verdict(memory, "overcommit", sick.meminfo(Committed_AS=GIB), "bad", "0 B left")


def test_swap(sick):
    verdict(memory, "swap", sick.meminfo(), "ok")
    verdict(memory, "swap", sick.meminfo(SwapTotal=GIB, SwapFree=GIB), "note")
    verdict(memory, "swap", sick.meminfo(SwapTotal=GIB, SwapFree=GIB // 2), "warn", "swapoff")


def test_zone_reclaim(sick):
    verdict(memory, "zone reclaim", sick.put({"/proc/sys/vm/zone_reclaim_mode": "1"}), "warn", "zone_reclaim_mode=0")


def test_huge_pages(sick):
    folder = "/sys/kernel/mm/transparent_hugepage"
    sick.put({f"{folder}/enabled": "always [madvise] never"})
    verdict(memory, "huge pages", sick, "ok")
    sick.put({f"{folder}/enabled": "[always] madvise never", f"{folder}/defrag": "always defer [madvise] never"})
    verdict(memory, "huge pages", sick, "note")
    verdict(memory, "huge pages", sick.put({f"{folder}/defrag": "[always] defer"}), "warn", "defer+madvise")


def test_reserved_huge_pages(sick):
    verdict(memory, "reserved huge pages", sick.meminfo(HugePages_Total=10, HugePages_Free=10), "ok", "20 MiB")
    sick.meminfo(HugePages_Total=4096, HugePages_Free=4096)
    verdict(memory, "reserved huge pages", sick, "warn", "vm.nr_hugepages=0")


def test_pressure(sick):
    def pressure(share):
        text = f"some avg10=0.00 avg60={share} avg300=0.00 total=5\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0"
        return {"/proc/pressure/memory": text, "/proc/pressure/cpu": text}

    for module, name in ((memory, "memory pressure"), (clock, "CPU pressure")):
        verdict(module, name, sick.put(pressure(0.5)), "ok")
        verdict(module, name, sick.put(pressure(55)), "warn", "ps ")
        verdict(module, name, sick.put({"/proc/pressure/cpu": "", "/proc/pressure/memory": ""}), "note")


# Page-table scanners.


def walkers(machine, *words):
    found = examined(scanners, "page-table scanners", machine)
    assert [each for each in found if all(word in each.found + each.mend for word in words)], found
    return {each.state for each in found}


def test_cadvisor_by_its_command_line(sick):
    assert walkers(sick.process(7, "cadvisor"), "cadvisor (7)", "default") == {"warn"}
    sick.process(8, "cadvisor", "--disable_metrics=tcp,referenced_memory")
    assert walkers(sick, "cadvisor (8)", "leaves referenced memory alone") == {"ok", "warn"}
    sick.process(9, "cadvisor", "-enable_metrics", "cpu,referenced_memory")
    assert walkers(sick, "cadvisor (9)", "enable_metrics") == {"ok", "warn"}
    assert scanners.cadvisor_says(["--disable_metrics=tcp"])[0] is True
    assert scanners.cadvisor_says(["--enable_metrics=cpu"])[0] is False


def test_programs_and_open_files(sick):
    assert walkers(sick.process(5, "kubelet"), "kubelet (5)") == {"note"}
    assert walkers(sick.process(6, "process-exporte"), "-gather-smaps=false") == {"note", "warn"}
    sick.process(12, "watcher", **{"3": "/proc/4711/smaps", "4": "/dev/null", "5": "/proc/4711/task/4712/clear_refs"})
    walkers(sick, "watcher (12)", "/proc/4711/smaps", "kill 12")
    walkers(sick, "watcher (12)", "clear_refs")


def test_no_scanner(sick):
    verdict(scanners, "page-table scanners", sick.process(1, "init"), "ok", "none among 1")
    sick.path("/proc/self/ns").mkdir(parents=True)
    sick.path("/proc/self/ns/pid").symlink_to("pid:[4026532222]")
    verdict(scanners, "page-table scanners", sick, "note", "container", "host")


def test_a_real_reader_of_smaps_is_caught():
    code = "import time; f = open('/proc/self/smaps'); f.readline(); print(flush=True); time.sleep(60)"
    reader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        reader.stdout.readline()
        assert "warn" in walkers(Machine(), f"({reader.pid})", "smaps", f"kill {reader.pid}")
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()


def test_the_kernels_own_scanners(sick):
    verdict(scanners, "idle page tracking", sick, "ok")
    verdict(scanners, "idle page tracking", sick.put({scanners.IDLE_BITMAP: ""}), "note")
    verdict(scanners, "DAMON", sick, "ok")
    sick.process(77, "kdamond.0")
    verdict(scanners, "DAMON", sick, "warn", "kdamond.0 runs")
    sick.put({f"{scanners.DAMON}/0/contexts/0/schemes/0/action": "pageout\n"})
    verdict(scanners, "DAMON", sick, "warn", "pageout", "evicted", "echo off")
    verdict(scanners, "same-page merging", sick.put({"/sys/kernel/mm/ksm/run": "0"}), "ok")
    verdict(scanners, "same-page merging", sick.put({"/sys/kernel/mm/ksm/run": "1"}), "note")
    verdict(scanners, "same-page merging", sick.put({"/sys/kernel/mm/ksm/pages_shared": "9"}), "warn", "ksm/run")


def test_numa_balancing(sick):
    sick.put({"/proc/sys/kernel/numa_balancing": "1", "/sys/devices/system/node/node0/cpulist": "0-3"})
    verdict(scanners, "NUMA balancing", sick, "ok")
    sick.put({"/sys/devices/system/node/node1/cpulist": "4-7"})
    verdict(scanners, "NUMA balancing", sick, "warn", "kernel.numa_balancing=0")


# Processor and time.


def test_instruction_path(sick):
    wide = {"avx512f", "avx512vl", "avx512dq", "avx2"}
    assert cpu.judge_path("avx512", wide, "", "").state == "ok"
    assert cpu.judge_path("avx2", wide, "avx2", "codes by avx2").state == "warn"
    assert "unset MIXLINE_ISA" in cpu.judge_path("portable", wide, "portable", "").mend
    tiled = wide | {"avx512bw", "avx512_vnni", "amx_tile", "amx_int8"}
    assert cpu.judge_path("vnni", tiled - {"amx_tile"}, "", "").state == "ok"
    assert cpu.judge_path("vnni", tiled, "", "").state == "note" and cpu.judge_path("amx", tiled, "", "").state == "ok"
    assert cpu.judge_path("portable", {"sse2"}, "", "").state == "note"
    assert cpu.judge_path("neon", {"asimd", "asimddp"}, "", "").state == "ok"
    assert "features" in examined(cpu, "instruction path", sick.put({"/proc/cpuinfo": "processor: 0"}))[0].found


def test_int8_instructions(sick):
    flags = {"/proc/cpuinfo": "processor : 0\nflags\t\t: fpu avx2\n"}
    verdict(cpu, "int8 instructions", sick.put(flags), "note", "VNNI")
    flags = {"/proc/cpuinfo": "processor : 0\nflags\t\t: fpu amx_int8 avx512_vnni\n"}
    verdict(cpu, "int8 instructions", sick.put(flags), "ok", "amx_int8, avx512_vnni")


def test_cpu_quota(sick):
    verdict(cpu, "CPU quota", sick, "ok")
    verdict(cpu, "CPU quota", sick, "note", "--workers 7", workers=8)
    sick.put({"/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/cpu.max": "max 100000"})
    sick.put({"/sys/fs/cgroup/a/cpu.stat": "usage_usec 5\nnr_throttled 12\n"})
    verdict(cpu, "CPU quota", sick, "warn", "throttled 12 times")
    sick.put({"/sys/fs/cgroup/cpu.max": "600000 100000"})
    verdict(cpu, "CPU quota", sick, "note", "6 cores by /sys/fs/cgroup/cpu.max")
    sick.put({"/sys/fs/cgroup/a/cpu.max": "150000 100000"})
    verdict(cpu, "CPU quota", sick, "warn", "1.5 cores", "--cpuset-cpus")


def test_cpu_quota_of_version_1(sick):
    folder = "/sys/fs/cgroup/cpu,cpuacct/job"
    sick.put({"/proc/self/cgroup": "3:cpu,cpuacct:/job\n", f"{folder}/cpu.cfs_period_us": "100000"})
    verdict(cpu, "CPU quota", sick.put({f"{folder}/cpu.cfs_quota_us": "-1"}), "ok")
    verdict(cpu, "CPU quota", sick.put({f"{folder}/cpu.cfs_quota_us": "200000"}), "warn", "2 cores")


def test_governor(sick):
    def governed(kind, driver):
        folder = "/sys/devices/system/cpu/cpu0/cpufreq"
        return sick.put({f"{folder}/scaling_governor": kind, f"{folder}/scaling_driver": driver})

    verdict(cpu, "CPU governor", sick, "note", "virtual machine")
    verdict(cpu, "CPU governor", governed("performance", "acpi-cpufreq"), "ok")
    verdict(cpu, "CPU governor", governed("powersave", "intel_pstate"), "note")
    verdict(cpu, "CPU governor", governed("ondemand", "acpi-cpufreq"), "warn", "cpupower")


def test_clock_source(sick):
    def sourced(current, available):
        names = {"current_clocksource": current, "available_clocksource": available}
        return sick.put({f"{clock.SOURCE}/{name}": text for name, text in names.items()})

    verdict(clock, "clock source", sourced("tsc", "tsc hpet"), "ok")
    verdict(clock, "clock source", sourced("kvm-clock", "kvm-clock tsc"), "note", "echo tsc")
    verdict(clock, "clock source", sourced("hpet", "hpet acpi_pm"), "warn", "tsc=reliable")


def test_clock_cost(sick):
    verdict(clock, "clock cost", sick, "ok", "60 ns")
    sick.clock_ns = 1200.0
    verdict(clock, "clock cost", sick, "warn", "1200 ns")


def test_steal_is_counted_over_the_sample(sick):
    sick.put({"/proc/stat": "cpu  1000 0 1000 9000 0 0 0 1\n"})
    verdict(clock, "steal time", sick, "ok", "0.0%")
    sick.after_pause = lambda: sick.put({"/proc/stat": "cpu  1080 0 1000 9000 0 0 0 21\n"})
    verdict(clock, "steal time", sick, "warn", "20.0%")
    sick.after_pause = lambda: None
    verdict(clock, "steal time", sick.put({"/proc/stat": "cpu  100 0 0 9000 0 0 0 100\n"}), "warn", "50.0% since boot")


# Versions.


def test_versions(sick, monkeypatch):
    verdict(versions, "kernel", sick.put({"/proc/sys/kernel/osrelease": "6.1.0-13-amd64"}), "ok")
    verdict(versions, "kernel", sick.put({"/proc/sys/kernel/osrelease": "4.18.0-553.el8"}), "bad", "5.4")
    assert versions.judge_version("numpy", "1.26.4", "2.0").state == "bad"
    assert versions.judge_version("numpy", "2.0rc1", "2.0").state == "ok"
    monkeypatch.setattr(
        versions.metadata, "requires", lambda _: ["nowhere-to-be-found>=1.0", "rich>=13; extra == 'cli'"]
    )
    verdict(versions, "packages", sick, "bad", "pip install 'nowhere-to-be-found>=1.0'")


def test_libzmq_door(sick, monkeypatch):
    assert versions.judge_door("").state == "ok"
    assert versions.judge_door("MIXLINE_LIBZMQ=off").mend == "unset MIXLINE_LIBZMQ"
    assert versions.judge_door("libzmq has no zmq_msg_recv").state == "warn"
    monkeypatch.setattr(versions, "DOOR", "mixline.ipc.no_such_door")
    verdict(versions, "libzmq C interface", sick, "warn", "cannot be imported")


def test_lmdb_engine(sick, monkeypatch):
    verdict(versions, "LMDB engine", sick, "ok", "0.9")
    monkeypatch.setattr(lmdb, "version", lambda: (1, 0, 0))
    verdict(versions, "LMDB engine", sick, "warn", "1.0.0")
