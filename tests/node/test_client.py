"""The blocking client against real nodes: threads, a broker's death, deadlines, refusals before sending."""

import os
import signal
import threading
import time

import pytest
from node_process import running

from mixline.ipc.wire import Kind, Status
from mixline.node import limits
from mixline.node.client import Client
from mixline.node.client_calls import Call
from mixline.node.errors import BadRequest, NodeError, RequestTimeout, TooLarge


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with running(tmp_path_factory.mktemp("node"), bind="tcp") as node:
        yield node


@pytest.fixture
def client(node):
    with Client(node.endpoint) as client:
        yield client


def test_echo_and_info(node, client):
    assert client.echo(b"hello") == b"hello"
    assert client.info()["supervisor_pid"] == node.process.pid


def test_threads_share_a_client(client):
    wrong = []

    def work(name):
        for number in range(100):
            body = f"{name} {number}".encode()
            if client.echo(body, deadline_ms=10_000) != body:
                wrong.append(body)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_pipelined_calls_all_end(client):
    calls = [Call(Kind.ASK, b"x %d" % number, "s", 10_000) for number in range(500)]
    client._run(calls)
    assert [call.outcome[1].split()[1:] for call in calls] == [[b"x", b"%d" % n] for n in range(500)]


def test_calls_under_one_request_id_each_get_their_own_answer(client):
    calls = [Call(Kind.ASK, b"x %d" % number, "s", 10_000, request_id=bytes(16)) for number in range(20)]
    client._run(calls)
    assert [call.outcome[1].split()[1:] for call in calls] == [[b"x", b"%d" % n] for n in range(20)]


def test_oversized_is_refused_before_sending(client):
    with pytest.raises(TooLarge):
        client.echo(bytes(limits.request_bytes_max + 1))


def test_typed_errors(client):
    call = Call(Kind.ASK, b"raise", "s", 5000)
    client._run([call])
    assert isinstance(call.outcome, NodeError) and call.outcome.status is Status.INTERNAL
    call = Call(Kind.ASK, b"sleep 1", "s", 100)
    client._run([call])
    assert call.outcome.status is Status.TIMEOUT


def test_nobody_there_ends_by_the_deadline(tmp_path):
    with Client(f"ipc://{tmp_path}/nobody") as client, pytest.raises(RequestTimeout):
        client.echo(b"", deadline_ms=50)


def test_broker_restart_is_survived(node, client):
    broker = client.info()["pid"]
    calls = [Call(Kind.ASK, b"sleep 0.05", "s", 15_000) for _ in range(20)]
    killer = threading.Thread(target=lambda: (time.sleep(0.2), os.kill(broker, signal.SIGKILL)))
    killer.start()
    client._run(calls)
    killer.join()
    assert all(not isinstance(call.outcome, NodeError) for call in calls)
    assert client.info()["pid"] != broker


@pytest.mark.parametrize("endpoint", ["bogus", "tcp://127.0.0.1", "tpc://127.0.0.1:5571"])
def test_an_endpoint_that_is_none_is_refused_and_closes(endpoint):
    with pytest.raises(BadRequest, match="endpoint"), Client(endpoint) as client:
        client.echo(b"x", deadline_ms=100)
