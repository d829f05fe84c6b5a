"""A contender's processes: all gone at the end, whatever they did, and measured with their children."""

import os
import signal
import subprocess
import sys
import time

import click
import pytest

from mixline.tools.processes import Crew, Neighbours, family, pss_mb, rss_mb, usages

SLEEP = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
RUNAWAY = (
    "import subprocess, sys, time; "
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); "
    "print('up', flush=True); time.sleep(600)"
)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_up(folder, name):
    while "up" not in (folder / f"{name}.log").read_text():
        time.sleep(0.02)


def test_a_crew_is_gone_at_the_end_with_those_that_hide_or_refuse(tmp_path):
    with Crew(tmp_path) as crew:
        crew.start("sleeper", [sys.executable, "-c", SLEEP])
        crew.start("stubborn", [sys.executable, "-c", STUBBORN])
        runaway = crew.start("runaway", [sys.executable, "-c", RUNAWAY])
        wait_for_up(tmp_path, "stubborn")
        wait_for_up(tmp_path, "runaway")
        pids = crew.pids
        assert len(pids) == 4 and len(family([runaway])) == 2
        assert all(map(is_running, pids))
    while any(map(is_running, pids)):  # the orphan is reaped by init
        time.sleep(0.02)


def test_an_error_in_the_block_ends_the_crew_too(tmp_path):
    with pytest.raises(RuntimeError), Crew(tmp_path) as crew:
        pid = crew.start("sleeper", [sys.executable, "-c", SLEEP])
        raise RuntimeError
    assert not is_running(pid)


def test_who_ended_early_is_named_with_its_last_words(tmp_path):
    with Crew(tmp_path) as crew:
        pid = crew.start("short", [sys.executable, "-c", "raise SystemExit('no such thing')"])
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(click.ClickException, match=r"short ended with 1:\nno such thing"):
            crew.check()


def test_usage_of_a_process_that_works():
    work = "import sys\nprint('up', flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", work], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        neighbours = Neighbours([process.pid])
        before = usages([process.pid])[process.pid].cpu_us
        while neighbours.spent_us([process.pid]) < 200_000:
            time.sleep(0.02)
        assert usages([process.pid])[process.pid].cpu_us - before >= 200_000
        assert neighbours.cores([process.pid]) >= 0
        assert pss_mb([process.pid]) > 1 and rss_mb([process.pid]) > 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert usages([process.pid]) == {} and rss_mb([process.pid]) == 0
