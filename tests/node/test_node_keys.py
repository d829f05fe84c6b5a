"""What NODE.toml promises, on a running node: logs for machines, slow requests with their stages, shares of tenants."""

import json
import os
import signal

from film_store import write_config
from node_process import running, wait_until

from mixline.ipc.wire import Status
from mixline.node import Client
from mixline.node.errors import NodeError

SLEEPY = """
deadline_ms = 5
[[source]]
name = "sleepy"
kind = "odd_components.SleepySource"
sleep_s = 0.03
"""


def test_json_logs_are_nothing_but_json_and_tell_of_slow_requests(tmp_path, film_store):
    config = write_config(tmp_path, sleepy=SLEEPY)
    config.write_text('surfaces = "surfaces"\nlog = "json"\n')
    with running(tmp_path, store=film_store, serve=["--config", config]) as node:
        with Client(node.endpoint) as client:
            for _ in range(3):
                try:
                    client.ask("sleepy", deadline_ms=5000)
                except NodeError:
                    continue
        os.kill(node.worker_pids()[0], signal.SIGKILL)
        node.wait_settled()
        config.write_text('surfaces = "nowhere"\nlog = "json"\n')
        node.process.send_signal(signal.SIGHUP)  # refused by a process of its own, which logs too
        wait_until(lambda: "reload refused" in node.log())
        assert node.stop() == 0
        lines = [json.loads(line) for line in node.log().splitlines()]
    assert {"mixline.supervisor", "mixline.slow", "mixline.rehearsal"} <= {line["logger"] for line in lines}
    for line in lines:
        assert {"time", "level", "process", "logger", "message"} <= set(line)
    slow = [line for line in lines if line["logger"] == "mixline.slow"]
    assert slow[0]["surface"] == "sleepy" and slow[0]["level"] == "warning" and slow[0]["worker_us"] >= 30_000
    assert slow[0]["stages_us"]["source sleepy"] >= 30_000 and len(slow[0]["request_id"]) == 32


def test_the_log_flag_overrides_the_file(tmp_path, film_store):
    config = write_config(tmp_path)
    with running(tmp_path, store=film_store, serve=["--config", config, "--log", "json"]) as node:
        os.kill(node.worker_pids()[0], signal.SIGKILL)
        node.wait_settled()
        assert node.stop() == 0
        assert all(json.loads(line)["message"] for line in node.log().splitlines()) and node.log()


def test_tenants_share_a_busy_worker_by_weight(tmp_path):
    """Both have more waiting than is served while we count, so the order of the replies is the node's choice."""
    with running(tmp_path, workers=1, tenants={"gold": 3.0, "iron": 1.0}) as node:
        for _ in range(20):  # the node learns what a request costs
            node.ask(b"sleep 0.004")
        sent = {}
        for at in range(240):
            tenant = "gold" if at % 2 else "iron"
            sent[node.send(b"sleep 0.004", budget_ms=60_000, tenant=tenant)] = tenant
        replies = [node.receive()[0] for _ in range(240)]
        assert {reply.status for reply in replies} == {Status.OK}
        first = [sent[reply.request_id] for reply in replies[20:120]]
        assert 65 <= first.count("gold") <= 85, first.count("gold")
