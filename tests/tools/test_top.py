"""``mixline top`` on a real node: what it counts, what it says when it cannot look, and a node that comes and goes."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from mixline.ipc.counters import WORKER_COUNTERS
from mixline.ipc.meters import bucket_of
from mixline.node.histogram import Histogram
from mixline.node.readings import Key, MeterReader, RowReading, SeatReading, Snapshot
from mixline.tools.top_picture import BROKER_RATES, BROKER_TOTALS, busiest, draw_picture
from mixline.tools.top_source import NotReadable, open_reader
from mixline.tools.top_view import draw, node_line, text_lines, write_number, write_uptime

NODE_TESTS = str(Path(__file__).parent.parent / "node")
INFO = {"endpoints": ["ipc://x"], "transport": "libzmq", "supervisor_pid": 7, "life": 1}


@pytest.fixture
def node_tests(monkeypatch):
    """The helpers that start real nodes live with the tests of the node."""
    monkeypatch.syspath_prepend(NODE_TESTS)
    import node_process

    return node_process


def top(endpoint, *arguments):
    command = [sys.executable, "-m", "mixline.tools", "top", "--endpoint", endpoint, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def times(*values):
    buckets = {}
    for value in values:
        buckets[bucket_of(value)] = buckets.get(bucket_of(value), 0) + 1
    return Histogram(sum(values), buckets)


def snapshot(at_s, requests, ok=0, late=0, values=(), runs=0, failed=0):
    """One surface, one component, two seats."""
    rows = {
        Key("latency", "feed"): RowReading({"OK": ok, "OVERLOADED": 0, "TIMEOUT": late, "INTERNAL": 0}, times(*values)),
        Key("queue", "feed"): RowReading({}, times(*values)),
    }
    counts = {"ok": runs, "degraded": 0, "failed": failed, "disabled": 0, "taken": 10 * runs, "left": 0}
    work = {Key("component", "feed", "source", "taste"): RowReading(counts, times(*values))}
    asked = dict.fromkeys(("asks", "echoes", "errors", "busy_ns"), 0)
    return Snapshot(
        at_ns=int(at_s * 1e9),
        life=1,
        beat_ns=int(at_s * 1e9),
        counters={**dict.fromkeys((*BROKER_RATES, *BROKER_TOTALS), 0), "requests": requests},
        gauges={"queued": 1, "queued_bytes": 2048, "open": 2, "active": 1, "epoch": 4},
        rows=rows,
        seats=[SeatReading(0, "ready", 4, asked, work), SeatReading(1, "ready", 4, asked, {})],
    )


def test_the_picture_is_what_happened_between():
    before = snapshot(10, 100, ok=50, values=[500])
    after = snapshot(12, 140, ok=80, late=10, values=[500, 1000, 1000, 1000], runs=3, failed=1)
    picture = draw_picture(before, after, INFO, 3700.0)
    assert picture["seconds"] == 2 and picture["broker"]["requests_per_s"] == 20
    assert picture["node"]["workers"] == {"ready": 1, "standby": 1}
    (feed,) = picture["surfaces"]
    assert (feed["per_s"], feed["answered_per_s"], feed["timeouts_per_s"], feed["errors_per_s"]) == (20, 15, 5, 0)
    assert 0.9 < feed["p50_ms"] < 1.1 and 0.9 < feed["p999_ms"] < 1.1
    (taste,) = picture["components"]
    assert taste["runs_per_s"] == 2 and taste["not_ok"] == 0.25 and taste["taken"] == 7.5
    assert msgspec.json.decode(msgspec.json.encode(picture)) == picture
    lines = text_lines(picture)
    assert lines[0].startswith("node\tepoch 4  life 1") and "up 1h01m" in lines[0]
    assert [line.split("\t")[1] for line in lines if line.startswith("surface")] == ["surface", "feed"]
    assert "25.0%" in next(line for line in lines if line.startswith("component\tfeed"))


def writer(state="ready", **counters):
    return SeatReading(2, state, 4, {**dict.fromkeys(WORKER_COUNTERS, 0), **counters}, {})


def test_the_writer_is_shown_once_there_is_one():
    before, after = snapshot(1, 5), snapshot(3, 5)
    picture = draw_picture(before, after._replace(writer=writer("vacant")), INFO, 1.0)
    assert picture["writer"] is None and not [line for line in text_lines(picture) if line.startswith("writer")]
    counted = {"operations": 500, "batches": 40, "commits": 20, "busy_ns": 10**9, "reader_age_s": 75, "reader_lag": 9}
    after = after._replace(writer=writer(**counted))
    picture = draw_picture(before._replace(writer=writer(operations=100)), after, INFO, 1.0)
    assert picture["writer"]["operations_per_s"] == 200 and picture["node"]["workers"] == {"ready": 1, "standby": 1}
    (line,) = [line for line in text_lines(picture) if line.startswith("writer")]
    assert "200 operations  20.0 batches  10.0 commits  0 errors" in line and "1m15s, 9 commits behind" in line
    assert draw_picture(before, after, INFO, 1.0)["writer"]["operations_per_s"] == 250  # it came meanwhile
    draw(picture, "ipc://x", 40)


def test_nothing_happened():
    picture = draw_picture(snapshot(1, 5), snapshot(1, 5), INFO, 1.0)
    assert picture["surfaces"][0]["p99_ms"] is None and picture["components"][0]["not_ok"] is None
    assert "nan" not in "\n".join(text_lines(picture)).lower()


def test_a_silent_broker_is_said():
    late = snapshot(20, 5)._replace(beat_ns=10**9)
    assert "SILENT FOR 19s" in node_line(draw_picture(snapshot(1, 5), late, INFO, 1.0))


def test_drawing_fits_the_screen():
    from rich.console import Console

    picture = draw_picture(snapshot(1, 0), snapshot(2, 9, ok=9, values=[70] * 9, runs=9), INFO, 1.0)
    picture["components"] = [{**picture["components"][0], "component": f"c{at}", "cores": at} for at in range(90)]
    for height in (24, 40):
        console = Console(width=120, height=height, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
        console.print(draw(picture, "ipc://x", height))
        text = console.export_text()
        assert len(text.splitlines()) <= height and "c89" in text and "components that take less" in text
        console.file.close()


def test_the_busiest_keep_their_order():
    rows = [{"cores": cores, "at": at} for at, cores in enumerate([0.1, 0.9, 0.0, 0.5])]
    assert [row["at"] for row in busiest(rows, 2)[0]] == [1, 3] and busiest(rows, 2)[1] == 2
    assert busiest(rows, 9) == (rows, 0)


def test_numbers_are_short():
    said = [write_number(value, "rate") for value in (None, 0, 0.1234, 12.34, 1234.5)]
    assert said == ["-", "0", "0.12", "12.3", "1,234"]
    assert [write_number(share, "share") for share in (0, 0.00001, 0.5)] == ["0", "<.1%", "50.0%"]
    assert [write_uptime(s) for s in (5, 65, 3700, 90_000)] == ["5s", "1m05s", "1h01m", "1d01h"]


@pytest.mark.parametrize(
    ("error", "said", "code"),
    [
        (PermissionError("no"), "another user", 77),
        (FileNotFoundError("no"), "another machine", 69),
        (KeyError("meters"), "older version", 69),
    ],
)
def test_what_cannot_be_read_says_why(monkeypatch, error, said, code):
    def refuse(paths):
        raise error

    monkeypatch.setattr(MeterReader, "open", refuse)
    with pytest.raises(NotReadable, match=said) as refused:
        open_reader({"supervisor_pid": os.getpid(), "meters": {}})
    assert refused.value.exit_code == code


def test_a_foreign_pid_is_no_node():
    with pytest.raises(NotReadable, match="another machine"):
        open_reader({"supervisor_pid": 4194305, "meters": {"board": "/proc/4194305/fd/3", "broker": "x", "seats": []}})
    with pytest.raises(NotReadable, match="no segment of a node"):
        open_reader({"supervisor_pid": 1, "meters": {"board": f"/proc/{os.getpid()}/fd/0", "broker": "x", "seats": []}})


def test_nobody_answers(tmp_path):
    done = top(f"ipc://{tmp_path}/none", "--once")
    assert done.returncode == 75 and "no node answers at ipc://" in done.stderr and "Traceback" not in done.stderr


def test_once_on_a_real_node(node_tests, tmp_path):
    with node_tests.running(tmp_path) as node:
        command = [sys.executable, "-m", "mixline.tools", "top", "--endpoint", node.endpoint, "--once", "--json"]
        watching = subprocess.Popen([*command, "--seconds", "4"], stdout=subprocess.PIPE, text=True)
        while watching.poll() is None:
            node.ask(b"sleep 0.002")
        picture = json.loads(watching.communicate()[0])
        assert watching.returncode == 0
        other = next(each for each in picture["surfaces"] if each["surface"] == "(other)")
        assert other["answered_per_s"] > 1 and other["p50_ms"] > 1.5 and other["errors_per_s"] == 0
        assert picture["node"]["workers"] == {"ready": 2, "standby": 1} and picture["node"]["transport"] == "libzmq"
        assert sum(each["asks_per_s"] for each in picture["workers"]) > 1
        plain = top(node.endpoint, "--once", "--seconds", "0.2").stdout
        assert plain.startswith("node\tepoch 1") and "\x1b" not in plain


def test_live_on_a_terminal_outlives_a_restart(node_tests, tmp_path):
    """In a terminal of its own: it draws, says that the node has gone, and finds the next one."""
    master, slave = pty.openpty()
    with node_tests.running(tmp_path) as node:
        environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
        command = [sys.executable, "-m", "mixline.tools", "top", "--endpoint", node.endpoint, "--seconds", "0.2"]
        watching = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environ)
        os.close(slave)
        try:
            wait_for(master, "mixline top")
            wait_for(master, "since the start")
            assert node.stop() == 0
            wait_for(master, "the node is gone")
            with node_tests.running(tmp_path):
                wait_for(master, "since the start")
            watching.send_signal(signal.SIGINT)
            wait_for(master, None)
            assert watching.wait(20) == 0
        finally:
            watching.kill()
            watching.wait()
            os.close(master)


def wait_for(terminal, word, timeout_s=30):
    """Read until ``word`` was drawn; None reads to the end."""
    seen, end = "", time.monotonic() + timeout_s
    while word is None or word not in seen:
        assert time.monotonic() < end, seen[-2000:]
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # the other side is closed
                part = b""
            if not part:
                assert word is None, seen[-2000:]
                return
            seen += part.decode(errors="replace")
