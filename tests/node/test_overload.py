"""At the door and on the way: shedding, credit, hedges, quarantine, lent replies, over real processes."""

import os
import signal
import time
from pathlib import Path

import msgspec
import pytest
from node_process import alive, running, wait_until

from mixline.ipc.wire import Kind, Status
from mixline.node import limits
from mixline.node.client import Client


@pytest.fixture(params=["", "off"], ids=["libzmq", "plain"])
def node(request, tmp_path):
    with running(tmp_path, libzmq=request.param) as node:
        yield node


def info(node):
    with Client(node.endpoint) as client:
        return client.info(5000)


def resident(node):
    """Bytes of the broker's memory, what it maps of the workers' arenas included."""
    return int(Path(f"/proc/{info(node)['pid']}/statm").read_text().split()[1]) * 4096


def counters(node):
    return info(node)["counters"]


def test_what_cannot_finish_in_time_is_refused_at_once(node):
    for _ in range(30):
        assert node.ask(b"sleep 0.05")[0].status is Status.OK  # so that the broker knows what one costs
    ids = [node.send(b"sleep 0.05", budget_ms=400) for _ in range(200)]
    replies = {reply.request_id: reply for reply, _ in (node.receive() for _ in ids)}
    statuses = [replies[each].status for each in ids]
    assert statuses.count(Status.OVERLOADED) > 100 and statuses.count(Status.TIMEOUT) <= 4
    refused = [reply for reply in replies.values() if reply.status is Status.OVERLOADED]
    assert all(reply.retry_after_us >= limits.retry_after_us_min and reply.attempt == 0 for reply in refused)
    assert counters(node)["shed"] == len(refused)
    assert node.ask(b"hi")[0].status is Status.OK


def test_urgent_requests_pass_a_queue_of_others(node):
    for _ in range(30):
        node.ask(b"sleep 0.02")
    others = {node.send(b"sleep 0.02", budget_ms=10_000, priority=200) for _ in range(60)}
    urgent = node.send(b"sleep 0.02", budget_ms=400, priority=0)
    order = [node.receive()[0] for _ in range(61)]
    place = next(at for at, reply in enumerate(order) if reply.request_id == urgent)
    assert order[place].status is Status.OK and place < 20
    assert {reply.request_id for reply in order} == others | {urgent}


def test_one_connection_has_so_much_credit(node):
    ids = {node.send(b"sleep 0.2", budget_ms=60_000, priority=255) for _ in range(limits.peer_open_max + 50)}
    with Client(node.endpoint) as other:
        assert other.echo(b"still served", deadline_ms=20_000) == b"still served"
    early = [node.receive()[0] for _ in range(50)]
    assert {reply.status for reply in early} <= {Status.OVERLOADED, Status.OK}
    assert counters(node)["peer_credit"] >= 40
    assert {reply.request_id for reply in early} <= ids


def test_a_request_on_a_stopped_worker_is_answered_by_another(node):
    for _ in range(limits.hedge_samples_min + 50):
        assert node.ask(b"sleep 0.002")[0].status is Status.OK
    busy = node.send(b"sleep 0.3", budget_ms=10_000)
    wait_until(lambda: any(each["held"] for each in info(node)["workers"]))
    stopped = next(each["pid"] for each in info(node)["workers"] if each["held"])
    os.kill(stopped, signal.SIGSTOP)
    reply, _ = node.receive()
    assert (reply.request_id, reply.status) == (busy, Status.OK)  # the hedge's, or the first's if that was spared
    wait_until(lambda: not alive(stopped))
    assert counters(node)["hedged"] >= 1
    wait_until(lambda: info(node)["slots_taken"] == 0)


def test_poison_is_refused_at_the_door_the_second_time(node):
    assert node.ask(b"die SIGSEGV")[0].status is Status.POISON
    reply, body = node.ask(b"die SIGSEGV")
    assert (reply.status, reply.attempt) == (Status.POISON, 0) and "killed" in msgspec.msgpack.decode(body)["error"]
    seen = counters(node)
    assert (seen["quarantined"], seen["crashes"]) == (1, 2)
    assert node.ask(b"hi")[0].status is Status.OK


def test_large_replies_are_lent_and_all_come_back(node):
    lends = info(node)["transport"] == "libzmq"
    for _ in range(60):
        reply, body = node.ask(b"bulk 300000")
        assert (reply.status, len(body)) == (Status.OK, 300_000)
    assert (counters(node)["lent"] > 0) == lends
    wait_until(lambda: info(node)["lent"] == 0)
    assert node.ask(b"bulk %d" % limits.reply_bytes_max)[0].status is Status.OK


def test_who_reads_nothing_costs_a_bounded_amount_and_nobody_else(tmp_path):
    with running(tmp_path) as node:
        read_nothing(node)


def read_nothing(node):
    deaf = node.connect(rcvhwm=1)
    before = resident(node)
    head = node.socket
    node.socket = deaf
    for _ in range(400):
        node.send(b"bulk 1000000", budget_ms=20_000)
    node.socket = head
    for _ in range(20):
        assert node.ask(b"hi", budget_ms=20_000)[0].status is Status.OK
    wait_until(lambda: info(node)["queue"]["waiting"] == 0)
    assert resident(node) - before < 3 * limits.peer_lent_bytes_max + (64 << 20)
    deaf.close()
    wait_until(lambda: info(node)["lent"] == 0)


def test_a_worker_that_dies_leaves_its_lent_replies_alone(tmp_path):
    """The next worker in the seat must not write into blocks that libzmq still sends from."""
    with running(tmp_path, workers=1) as node:
        node.socket.close()
        node.socket = node.connect(rcvhwm=1)
        sent = [node.send(b"bulk 1000000", budget_ms=20_000) for _ in range(6)]
        time.sleep(0.5)
        for each in info(node)["workers"]:
            if each["state"] == "ready":
                os.kill(each["pid"], signal.SIGKILL)
        with Client(node.endpoint) as other:
            for _ in range(20):
                other._one(_bulk())  # writes ones into the arena of whoever serves now
        got = [node.receive_frames() for _ in sent]
        assert all(not body.strip(b"\0") for _, body in got if len(body) == 1_000_000)


def _bulk():
    from mixline.node.client_calls import Call

    return Call(Kind.ASK, b"x" * 200_000, deadline_ms=10_000)
