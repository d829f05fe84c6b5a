"""``/metrics`` of a real node by a real GET: what it counts, and that no counter falls when processes are replaced."""

import mmap
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import msgspec
import pytest
from film_store import build_store, films, write_config
from node_process import alive, running, wait_until
from prometheus_client.parser import text_string_to_metric_families

from mixline.ipc.meters import Meters
from mixline.ipc.wire import Kind
from mixline.node import Client, limits
from mixline.node.directory import SEARCH_COUNTS
from mixline.node.histogram import Histogram
from mixline.node.metrics import Carry
from mixline.node.metrics_door import MetricsError, metrics_address
from mixline.node.readings import Key, RowReading
from mixline.node.serve_options import ServeOptions


def scrape(url):
    """{(name, labels): value} and {name: type}."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = {}
    for family in families:
        assert family.documentation, family.name
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in samples, key
            samples[key] = sample.value
    return samples, {family.name: family.type for family in families}


def value(samples, name, **labels):
    return samples[name, tuple(sorted(labels.items()))]


def counters(samples):
    """What must never fall."""
    return {key: many for key, many in samples.items() if key[0].endswith(("_total", "_bucket", "_count", "_sum"))}


def assert_none_fell(before, after):
    after = counters(after)
    fallen = {key: (many, after.get(key)) for key, many in counters(before).items() if after.get(key, -1) < many}
    assert fallen == {}


READS = """
import lmdb, sys
held = lmdb.open(sys.argv[1], readonly=True, max_dbs=2, map_size=1 << 30).begin()
print("reads", flush=True)
sys.stdin.read(1)
"""


def test_the_writer_is_counted_and_an_old_reader_of_its_log_told(tmp_path):
    store, config = build_store(tmp_path), write_config(tmp_path)
    config.write_text('metrics = "127.0.0.1:0"\n')
    with running(tmp_path, store=store, workers=1, serve=["--config", config]) as node, Client(node.endpoint) as client:

        def now(name):
            return value(scrape(node.told["metrics"])[0], f"mixline_{name}")

        assert now("writer_operations_total") == 0
        item = films()[0]["id"]
        client.apply([{"op": "events", "users": [1, 2, 3], "items": [item] * 3}])
        command = [sys.executable, "-c", READS, str(store / "live" / "log")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdout.readline() == "reads\n"
            client.record(1, item)
            client.record(2, item)
            wait_until(lambda: now("log_oldest_reader_lag") == 2)
            assert now("writer_operations_total") == 5 and now("writer_batches_total") == 3
            assert 1 <= now("writer_commits_total") <= 3
            wait_until(lambda: now("log_oldest_reader_seconds") > 0)
            reader.kill()
        wait_until(lambda: now("log_oldest_reader_lag") == 0)


def test_a_served_surface_is_counted(tmp_path, film_store):
    config = write_config(tmp_path)
    config.write_text('metrics = "127.0.0.1:0"\n')
    with running(tmp_path, store=film_store, serve=["--config", config]) as node:
        url = node.told["metrics"]
        assert url.startswith("http://127.0.0.1:")
        with Client(node.endpoint) as client:
            for user in range(10):
                client.ask("homefeed", user=user, deadline_ms=5000)
        at = {"surface": "homefeed"}
        wait_until(lambda: value(scrape(url)[0], "mixline_requests_total", status="OK", **at) == 10)
        wait_until(lambda: value(scrape(url)[0], "mixline_workers_active") == 2)  # gauges are set ten times a second
        samples, types = scrape(url)
        assert types["mixline_requests"] == types["mixline_component_taken"] == "counter"
        assert types["mixline_queue_depth"] == "gauge" and types["mixline_request_seconds"] == "histogram"
        assert value(samples, "mixline_request_seconds_count", **at) == 10
        assert value(samples, "mixline_work_seconds_count", **at) == 10
        found = {
            name: value(samples, f"mixline_search_{name}_total", component="taste", **at) for name in SEARCH_COUNTS
        }
        assert found["queries"] == 10 and found["certified"] <= found["scanned"] <= 10
        assert found["wanted"] <= found["kept"] or not found["scanned"]
        assert 0 < value(samples, "mixline_request_seconds_sum", **at) < 50
        buckets = [many for (name, labels), many in samples.items() if name == "mixline_request_seconds_bucket"
                   and ("surface", "homefeed") in labels]  # fmt: skip
        assert buckets == sorted(buckets) and len(buckets) == 22 and buckets[-1] == 10
        popular = {**at, "stage": "source", "component": "popular"}
        assert value(samples, "mixline_component_runs_total", state="ok", **popular) == 10
        assert value(samples, "mixline_component_taken_total", **popular) > 0
        assert value(samples, "mixline_workers_active") == 2 and value(samples, "mixline_workers", state="ready") == 3
        assert value(samples, "mixline_epoch") == 1 and value(samples, "mixline_crash_loop_open") == 0
        guide = (Path(__file__).parents[2] / "docs" / "node.md").read_text()
        told = [name for name in types if not name.startswith(("mixline_broker_", "mixline_worker_"))]
        assert [name for name in told if name not in guide] == []
        # A reload replaces every worker; with other surfaces their rows begin anew.
        (tmp_path / "surfaces" / "more.toml").write_text('name = "more"\n[[source]]\nkind = "popular"\n')
        config.write_text('metrics = "127.0.0.1:0"\nsurfaces = "surfaces"\n')
        node.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reload over" in node.log(), 60)
        with Client(node.endpoint) as client:
            client.ask("homefeed", user=1, deadline_ms=5000)
            client.ask("more", deadline_ms=5000)
        wait_until(lambda: value(scrape(url)[0], "mixline_work_seconds_count", surface="more") == 1)
        later = scrape(url)[0]
        assert_none_fell(samples, later)
        assert value(later, "mixline_component_runs_total", state="ok", **popular) == 11
        # A new broker has to learn the surfaces again.
        os.kill(node.info()["pid"], signal.SIGKILL)
        node.socket.close()
        node.socket = node.connect()
        node.wait_settled()
        with Client(node.endpoint) as client:
            client.ask("homefeed", user=2, deadline_ms=5000)
        wait_until(lambda: value(scrape(url)[0], "mixline_requests_total", status="OK", **at) == 12)
        last = scrape(url)[0]
        assert_none_fell(later, last)
        assert value(last, "mixline_request_seconds_count", **at) == 12
        assert node.stop() == 0


def test_no_counter_falls_when_processes_are_replaced(tmp_path):
    with running(tmp_path, metrics="127.0.0.1:0") as node:
        url = node.told["metrics"]
        for _ in range(30):
            node.ask(b"hi")
            node.ask(b"q", kind=Kind.ECHO)
        wait_until(lambda: value(scrape(url)[0], "mixline_requests_total", surface="(echo)", status="OK") == 30)
        first = scrape(url)[0]
        for victim in node.worker_pids():
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda gone=victim: not alive(gone))
            node.wait_settled()
        wait_until(lambda: value(scrape(url)[0], "mixline_broker_deaths_total") == 3)  # told of the last one, too
        node.wait_settled()
        second = scrape(url)[0]
        assert_none_fell(first, second)
        broker = node.info()["pid"]
        os.kill(broker, signal.SIGKILL)
        wait_until(lambda: not alive(broker))
        node.socket.close()
        node.socket = node.connect()
        node.wait_settled()
        node.ask(b"hi")
        third = scrape(url)[0]
        assert_none_fell(second, third)
        assert value(third, "mixline_broker_life") == 2
        with open(node.info()["meters"]["broker"], "rb") as file:
            meters = Meters(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ), limits.broker_meter_rows)
        assert meters.counts(2)[0] == 30  # the echoes of the life before: the new broker went on counting


def test_rows_that_begin_anew_are_carried():
    key, gone = Key("surface", "feed"), Key("surface", "gone")
    carry = Carry()

    def row(ok):
        return RowReading({"OK": ok}, Histogram(10 * ok, {10: ok}) if ok else Histogram())

    carry.take({key: row(5), gone: row(2)})
    carry.take({})  # the directory was being written
    assert carry.total == {key: row(5), gone: row(2)}
    carry.take({key: row(6), gone: row(2)})
    carry.take({key: row(1)})
    assert carry.total == {key: row(7), gone: row(2)}
    carry.take({key: row(3), gone: row(1)})
    assert carry.total == {key: row(9), gone: row(3)}


@pytest.mark.parametrize("address", ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464", "example.org:80"])
def test_only_loopback(address):
    with pytest.raises(MetricsError, match="only a loopback address") as refused:
        metrics_address(address)
    assert refused.value.exit_code == 78


@pytest.mark.parametrize("address", ["9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", ":9464", "127.0.0.1:70000"])
def test_what_is_no_address(address):
    with pytest.raises(MetricsError, match="write HOST:PORT"):
        metrics_address(address)


def test_addresses():
    assert metrics_address("127.0.0.1:0") == ("127.0.0.1", 0)
    assert metrics_address("[::1]:9464") == ("::1", 9464)
    assert metrics_address("localhost:1") == ("localhost", 1)


def start(tmp_path, metrics, **environ):
    options = ServeOptions(
        str(tmp_path), [f"ipc://{tmp_path}/n"], 1, engine="strange_engines:StrangeEngine", metrics=metrics
    )
    command = [sys.executable, "-m", "mixline.node.supervisor", msgspec.json.encode(options).decode()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environ})


def test_a_start_that_cannot_serve_metrics_says_why(tmp_path):
    refused = start(tmp_path, "0.0.0.0:9464")
    assert refused.returncode == 78 and "only a loopback address" in refused.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = start(tmp_path, f"127.0.0.1:{taken.getsockname()[1]}")
    assert busy.returncode == 69 and "another process listen" in busy.stderr
    (tmp_path / "prometheus_client.py").write_text('raise ImportError("not here")\n')
    lacking = start(tmp_path, "127.0.0.1:0", PYTHONPATH=str(tmp_path))
    assert lacking.returncode == 78 and "pip install 'mixline[metrics]'" in lacking.stderr
    for ended in (refused, busy, lacking):
        assert "Traceback" not in ended.stderr and len(ended.stderr.splitlines()) == 1
