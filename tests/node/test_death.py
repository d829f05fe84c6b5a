"""Workers, broker and supervisor are killed in every known way; no request is lost, doubled or left without an end."""

import os
import random
import signal
import time

import pytest
from node_process import alive, running, wait_until

from mixline.ipc.wire import Kind, Status
from mixline.node.client import Client


@pytest.fixture
def node(tmp_path):
    with running(tmp_path) as node:
        yield node


def test_killed_worker_costs_no_request(node):
    first, second = int(node.ask(b"a")[1].split()[0]), node.send(b"sleep 0.4")
    time.sleep(0.1)
    busy = [each["pid"] for each in node.info()["workers"] if each["held"]]
    assert len(busy) == 1 and first in node.pids
    os.kill(busy[0], signal.SIGKILL)
    reply, body = node.receive()
    assert (reply.request_id, reply.status, reply.attempt) == (second, Status.OK, 2)
    assert int(body.split()[0]) != busy[0]
    node.wait_settled()


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("SIGSEGV", Status.POISON),
        ("SIGABRT", Status.POISON),
        ("SIGBUS", Status.POISON),
        ("SIGKILL", Status.WORKER_LOST),
    ],
)
def test_request_that_kills_twice_ends_typed(node, name, status):
    reply, _ = node.ask(f"die {name}".encode())
    assert (reply.status, reply.attempt) == (status, 2)
    assert node.ask(b"hi")[0].status is Status.OK
    node.wait_settled()
    counters = node.info()["counters"]
    assert counters["redispatched"] == 1 and counters["poison"] + counters["worker_lost"] == 1


def test_stopped_worker_is_killed_and_its_request_moves(node):
    request_id = node.send(b"sleep 0.3", budget_ms=15_000)
    time.sleep(0.1)
    (stopped,) = [each["pid"] for each in node.info()["workers"] if each["held"]]
    os.kill(stopped, signal.SIGSTOP)
    reply, _ = node.receive()
    assert (reply.request_id, reply.status, reply.attempt) == (request_id, Status.OK, 2)
    wait_until(lambda: not alive(stopped))


def test_hanging_request_times_out_and_the_worker_is_replaced(node):
    before = set(node.worker_pids())
    assert node.ask(b"hang", budget_ms=200)[0].status is Status.TIMEOUT
    wait_until(lambda: set(node.worker_pids()) - before)
    assert node.ask(b"hi")[0].status is Status.OK


def test_broker_restart_keeps_workers_and_endpoint(node):
    info = node.info()
    workers = {each["pid"] for each in info["workers"]}
    node.send(b"sleep 0.5")  # a worker is reading its slot while the broker dies
    time.sleep(0.1)
    os.kill(info["pid"], signal.SIGKILL)
    wait_until(lambda: not alive(info["pid"]))
    node.socket.close()
    node.socket = node.connect()
    later = node.info()
    assert later["life"] == info["life"] + 1, node.log()
    wait_until(lambda: node.ask(b"hi")[0].status is Status.OK)
    node.wait_settled()
    assert {each["pid"] for each in node.info()["workers"]} == workers
    assert node.info()["slots_taken"] == 0


def test_nobody_outlives_a_killed_supervisor(node):
    node.info()
    node.process.kill()
    node.process.wait()
    wait_until(lambda: not any(alive(pid) for pid in node.pids))


def test_sigterm_finishes_what_runs_and_refuses_what_comes(node):
    slow = node.send(b"sleep 0.6")
    time.sleep(0.1)
    node.process.send_signal(signal.SIGTERM)
    wait_until(lambda: node.info()["draining"])
    late = node.send(b"hi")
    replies = {reply.request_id: reply.status for reply, _ in (node.receive(), node.receive())}
    assert replies == {slow: Status.OK, late: Status.SHUTTING_DOWN}
    assert node.process.wait(20) == 0
    assert not any(alive(pid) for pid in node.pids)


def test_sighup_replaces_workers_without_a_failed_request(node):
    before = set(node.worker_pids())
    (node.folder / "epoch").write_text("2")
    node.process.send_signal(signal.SIGHUP)
    epochs = []
    wait_until(lambda: (epochs.append(_ok(node)) or not before & set(node.worker_pids())) and epochs[-1] == 2, 40)
    assert epochs[0] == 1 and node.process.poll() is None


def _ok(node):
    reply, _ = node.ask(b"sleep 0.01")
    assert reply.status is Status.OK
    return reply.epoch


def test_bad_reload_is_refused_and_serving_goes_on(node):
    before = node.worker_pids()
    (node.folder / "epoch").write_text("not a number")
    node.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reload refused" in node.log())
    assert node.ask(b"hi")[0].status is Status.OK and node.worker_pids() == before


def test_random_kills_under_load_lose_and_double_nothing(node):
    rng, pending, seen, killed = random.Random(5), {}, set(), []
    next_kill = time.monotonic() + 0.5
    with Client(node.endpoint) as watcher:
        while len(killed) < 5 or pending:
            if len(killed) < 5 and len(pending) < 8:
                body = b"sleep 0.002" if rng.random() < 0.5 else b"x" * rng.randrange(3000)
                pending[node.send(body, budget_ms=8000)] = body
                continue
            reply, answer = node.receive()
            assert reply.request_id not in seen
            body = pending.pop(reply.request_id)
            seen.add(reply.request_id)
            assert reply.status is Status.OK and answer.split(b" ", 1)[1] == body
            if next_kill < time.monotonic() and len(killed) < 5:
                next_kill = time.monotonic() + 0.6
                workers = watcher.info(5000)["workers"]  # who serves now, successors of the killed among them
                node.pids |= {each["pid"] for each in workers} - {0}
                victim = rng.choice([each["pid"] for each in workers if each["state"] == "ready"])
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)
    assert len(seen) > 100 and len(killed) == len(set(killed)) == 5
    node.wait_settled()
    assert not set(killed) & set(node.worker_pids())
    wait_until(lambda: node.info()["slots_taken"] == 0)
    assert node.ask(b"q", kind=Kind.ECHO)[1] == b"q"
