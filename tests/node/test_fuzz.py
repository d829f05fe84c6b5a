"""Damaged messages: each gets a typed reply, the door may close, and no process of the node is replaced."""

import contextlib
import random
import socket

import msgspec
import pytest
from node_process import running, wait_until

from mixline.ipc.wire import Kind, ReplyHeader, RequestHeader


def damaged(rng):
    """One message, mostly wrong."""
    kind = rng.choice([*Kind, 0, 99])
    head = bytearray(RequestHeader(kind, rng.randbytes(16), rng.choice([0, 1, 10**6, 2**64 - 1]), "none").pack())
    for _ in range(rng.randrange(4)):
        head[rng.randrange(128)] = rng.randrange(256)
    body = rng.choice(
        [
            b"",
            rng.randbytes(rng.randrange(600)),
            b"\xdd\xff\xff\xff\xff",  # an array of four billion
            b"\x91" * rng.randrange(1, 3000),  # deep nesting
            b"\xc6\xff\xff\xff\xff",
            msgspec.msgpack.encode({"user": [None, {"a": -1}], "limit": "many", 5: 2.5}),
        ]
    )
    frames = [bytes(head), body]
    shape = rng.randrange(8)
    if shape == 0:
        return [bytes(head)[: rng.randrange(1, 128)], body]
    if shape == 1:
        return [b"", *frames]
    if shape == 2:
        return frames + [b"more"] * rng.randrange(1, 6)
    if shape == 3:
        return [rng.randbytes(rng.randrange(1, 300))]
    return frames


def fuzz(node, cases, seed):
    rng, before = random.Random(seed), sorted(node.worker_pids())
    sent = 0
    while sent < cases:
        batch = min(50, cases - sent)
        for _ in range(batch):
            node.socket.send_multipart(damaged(rng))
        for _ in range(batch):
            head, body = node.receive_frames()
            reply = ReplyHeader.unpack(head)
            if not reply.status.answered:
                assert msgspec.msgpack.decode(body)["error"]
        sent += batch
    assert sorted(node.worker_pids()) == before
    info = node.info()
    assert info["life"] == 1
    wait_until(lambda: node.info()["slots_taken"] == 0)


def raw_bytes(node, cases, seed):
    rng = random.Random(seed)
    path = node.endpoint.removeprefix("ipc://")
    greeting = bytes.fromhex("ff00000000000000017f0300") + b"NULL".ljust(20, b"\0") + bytes(32)
    for _ in range(cases):
        with socket.socket(socket.AF_UNIX) as door:
            door.connect(path)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the door may close after any byte
                door.sendall(rng.choice([b"", greeting]) + rng.randbytes(rng.randrange(1, 200)))
                if rng.random() < 0.5:
                    door.sendall(b"\x02" + (2**62).to_bytes(8, "big"))
    assert node.ask(b"still here", kind=Kind.ECHO)[1] == b"still here"


def test_ten_thousand_damaged_messages(tmp_path):
    with running(tmp_path) as node:
        fuzz(node, 10_000, seed=3)
        raw_bytes(node, 300, seed=4)
        assert node.process.poll() is None


@pytest.mark.stress
@pytest.mark.timeout(870)
def test_a_million_damaged_messages(tmp_path, stress_seed):
    with running(tmp_path) as node:
        fuzz(node, 1_000_000, seed=f"{stress_seed} messages")
        raw_bytes(node, 10_000, seed=f"{stress_seed} bytes")
