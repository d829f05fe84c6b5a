"""The broker on real sockets: every message gets one reply, refusals are typed, order and expiry are as promised."""

import os
import time

import msgspec
import pytest
import zmq
from node_process import running, wait_until

from mixline.ipc.wire import Kind, ReplyHeader, RequestHeader, Status
from mixline.node import limits
from mixline.node.broker_doors import DoorError, check_bind
from mixline.node.client import Client


@pytest.fixture(scope="module", params=[("ipc", ""), ("tcp", ""), ("ipc", "off")], ids=["ipc", "tcp", "plain"])
def node(request, tmp_path_factory):
    """Both transports promise the same: the loop in C, and the one on plain pyzmq."""
    bind, libzmq = request.param
    with running(tmp_path_factory.mktemp("node"), bind=bind, libzmq=libzmq) as node:
        assert node.info()["transport"] == ("plain pyzmq" if libzmq else "libzmq")
        yield node


@pytest.mark.parametrize("size", [0, 1, 384, 385, 4000, 70_000, limits.request_bytes_max])
def test_echo_of_every_size(node, size):
    body = os.urandom(size)
    reply, answer = node.ask(body, kind=Kind.ECHO)
    assert (reply.status, answer) == (Status.OK, body)


def test_largest_reply_and_one_byte_more(node):
    reply, body = node.ask(b"bulk %d" % limits.reply_bytes_max)
    assert (reply.status, len(body)) == (Status.OK, limits.reply_bytes_max)
    reply, body = node.ask(b"bulk %d" % (limits.reply_bytes_max + 1))
    assert reply.status is Status.TOO_LARGE and "error" in msgspec.msgpack.decode(body)


def test_too_large_a_request_is_told_so(node):
    assert node.ask(bytes(limits.request_bytes_max + 1))[0].status is Status.TOO_LARGE


def test_req_socket_with_its_delimiter(node):
    socket = node.connect(zmq.REQ)
    socket.send_multipart([RequestHeader(Kind.ECHO, bytes(16)).pack(), b"hello"])
    assert socket.poll(5000)
    head, body = socket.recv_multipart()
    assert (ReplyHeader.unpack(head).status, body) == (Status.OK, b"hello")
    socket.close()


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"x"],
        [bytes(128), b""],
        [b"MIXL\x02".ljust(128, b"\0"), b""],
        [RequestHeader(99, bytes(16)).pack(), b""],
        [RequestHeader(Kind.ASK, bytes(16)).pack(), b"", b"extra"],
        [RequestHeader(Kind.ASK, bytes(16)).pack()[:127], b""],
    ],
)
def test_bad_frames_get_bad_request(node, frames):
    node.socket.send_multipart(frames)
    reply, body = node.receive()
    assert reply.status is Status.BAD_REQUEST and msgspec.msgpack.decode(body)["error"]


def test_failing_engine_is_internal_and_the_worker_lives(node):
    before = node.worker_pids()
    reply, body = node.ask(b"raise")
    assert reply.status is Status.INTERNAL and "as ordered" in msgspec.msgpack.decode(body)["error"]
    assert node.worker_pids() == before


def test_timeout_comes_at_the_deadline_while_workers_are_busy(node):
    ids = {node.send(b"sleep 1", budget_ms=150) for _ in range(4)}
    replies = [node.receive()[0] for _ in ids]
    assert {reply.request_id for reply in replies} == ids
    assert all(reply.status is Status.TIMEOUT and reply.server_us >= 150_000 for reply in replies)
    assert node.ask(b"hi")[0].status is Status.OK


def test_order_is_priority_then_deadline_then_arrival(tmp_path):
    wanted = [("late", 9, 9000), ("early", 9, 8000), ("first", 0, 9500), ("last", 200, 7000), ("second", 0, 9500)]
    with running(tmp_path, workers=1) as node:
        blocker = node.send(b"sleep 0.4")
        wait_until(lambda: [each["held"] for each in node_info(node)["workers"]].count(1) == 1)
        names = {node.send(b"x", priority=urgency, budget_ms=budget): name for name, urgency, budget in wanted}
        replies = [node.receive()[0] for _ in range(6)]
    assert replies[0].request_id == blocker and all(reply.status is Status.OK for reply in replies)
    assert [names[reply.request_id] for reply in replies[1:]] == ["first", "second", "early", "late", "last"]


def node_info(node):
    """INFO through a socket of its own, while asks are out on the node's."""
    with Client(node.endpoint) as client:
        return client.info(5000)


def test_urgent_overtakes_while_all_workers_are_busy(node):
    blockers = {node.send(b"sleep 0.3") for _ in range(node.workers)}
    time.sleep(0.05)
    wanted = {}
    for name, priority, budget_ms in [("late", 9, 5000), ("early", 9, 4000), ("first", 0, 5000)]:
        wanted[node.send(b"sleep 0.1", priority=priority, budget_ms=budget_ms)] = name
    order = []
    while len(order) < 3 or blockers:
        reply = node.receive()[0]
        assert reply.status is Status.OK
        if reply.request_id in blockers:
            blockers.remove(reply.request_id)
        else:
            order.append(wanted[reply.request_id])
    assert set(order[:2]) == {"first", "early"} and order[2] == "late"


def test_info_and_memory_all_returned(node):
    info = node.info()
    assert info["pid"] and len(info["workers"]) == node.workers + 1
    assert info["slots_taken"] == info["queue"]["requests"] == 0


def test_full_queue_is_overloaded_with_retry_after(node):
    ids = {node.send(b"sleep 0.5", budget_ms=1500) for _ in range(limits.queue_max + 64)}
    seen = [node.receive()[0] for _ in ids]
    assert {reply.request_id for reply in seen} == ids
    refused = [reply for reply in seen if reply.status is Status.OVERLOADED]
    assert refused and all(reply.retry_after_us >= limits.retry_after_us_min for reply in refused)
    assert node.ask(b"hi")[0].status is Status.OK


@pytest.mark.parametrize(
    "endpoint", ["tcp://0.0.0.0:1", "tcp://*:1", "tcp://10.0.0.1:1", "udp://127.0.0.1:1", "ipc://", ""]
)
def test_open_doors_are_refused(endpoint):
    with pytest.raises(DoorError) as caught:
        check_bind(endpoint)
    assert caught.value.exit_code == 78


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:1", "tcp://[::1]:1", "tcp://localhost:1", "ipc:///tmp/x"])
def test_local_doors_are_fine(endpoint):
    check_bind(endpoint)
