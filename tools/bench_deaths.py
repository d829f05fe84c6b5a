"""``mixline bench deaths``: kill -9 a random worker every few seconds at half capacity, and account for every request.

Each request must end in exactly one correct reply or typed error by its deadline. The rate is half of what the node was
first measured to do; latency counts from the intended send time. ECHO stands for work, so the way is what is judged.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

import click
import msgspec
import zmq

from mixline.ipc.wire import Kind, ReplyHeader, RequestHeader, Status
from mixline.node.client import Client

PAYLOAD_BYTES = 1024


def capacity(socket: zmq.Socket, seconds: float) -> float:
    """Echoes per second with 64 in flight."""
    frames = [RequestHeader(Kind.ECHO, bytes(16), 10_000_000).pack(), bytes(PAYLOAD_BYTES)]
    for _ in range(64):
        socket.send_multipart(frames)
    start_s, count = time.monotonic(), 0
    while time.monotonic() < start_s + seconds:
        socket.recv_multipart()
        socket.send_multipart(frames)
        count += 1
    rate = count / (time.monotonic() - start_s)
    for _ in range(64):
        socket.recv_multipart()
    return rate


class Account:
    """Every request: sent, and how it ended."""

    def __init__(self) -> None:
        self.open: dict[bytes, tuple[float, bytes]] = {}
        self.statuses: dict[str, int] = {}
        self.wrong = self.doubled = self.late = self.sent = 0
        self.latencies_us: list[float] = []

    def close(self, frames: list[bytes], deadline_s: float) -> None:
        """Check one reply against what was asked."""
        header = ReplyHeader.unpack(frames[0])
        entry = self.open.pop(header.request_id, None)
        if entry is None:
            self.doubled += 1
            return
        took_s = time.monotonic() - entry[0]
        self.latencies_us.append(took_s * 1e6)
        self.late += took_s > deadline_s + 0.25
        self.statuses[header.status] = self.statuses.get(header.status, 0) + 1
        self.wrong += header.status is Status.OK and frames[1] != entry[1]


def run(socket: zmq.Socket, client: Client, rate: float, seconds: float, every_s: float, seed: int) -> dict:
    """Open loop at ``rate`` with a kill every ``every_s``; returns the account."""
    rng, account, kills, deadline_s = random.Random(seed), Account(), 0, 1.0
    start_s = next_s = time.monotonic()
    kill_s = start_s + every_s
    while time.monotonic() < start_s + seconds or (account.open and time.monotonic() < start_s + seconds + 3):
        now_s = time.monotonic()
        while next_s <= now_s and next_s < start_s + seconds:
            request_id = os.urandom(16)
            body = request_id + rng.randbytes(PAYLOAD_BYTES - 16)
            header = RequestHeader(Kind.ECHO, request_id, int(deadline_s * 1e6))
            socket.send_multipart([header.pack(), body])
            account.open[request_id] = (next_s, body)
            account.sent += 1
            next_s += 1 / rate
        while socket.poll(0):
            account.close(socket.recv_multipart(), deadline_s)
        if now_s >= kill_s and now_s < start_s + seconds:
            kill_s += every_s
            busy = [each["pid"] for each in client.info()["workers"] if each["state"] == "ready"]
            os.kill(rng.choice(busy), signal.SIGKILL)
            kills += 1
        socket.poll(max(0, min(1, int((next_s - time.monotonic()) * 1000))))
    ordered = sorted(account.latencies_us)
    errors = sum(count for status, count in account.statuses.items() if status != Status.OK) + len(account.open)
    return {
        "rate": round(rate),
        "sent": account.sent,
        "kills": kills,
        "statuses": account.statuses,
        "without_reply": len(account.open),
        "wrong": account.wrong,
        "doubled": account.doubled,
        "late": account.late,
        "error_ratio": errors / max(1, account.sent),
        "p50_us": round(ordered[len(ordered) // 2]),
        "p99_us": round(ordered[int(len(ordered) * 0.99)]),
        "p999_us": round(ordered[int(len(ordered) * 0.999)]),
    }


def open_capacity(socket: zmq.Socket, client: Client, closed: float) -> float:
    """The highest of some open-loop rates with no error and p99 within 50 ms; a closed loop flatters."""
    for share in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2):
        calm = run(socket, client, closed * share, 2.0, 1e9, 0)
        if not calm["error_ratio"] and calm["p99_us"] < 50_000:
            return closed * share
    return closed * 0.1


@click.command()
@click.option("--endpoint", required=True, help="A running node.")
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--every", "every_s", default=5.0, show_default=True, help="Seconds between kills.")
@click.option("--seed", default=1, show_default=True)
def deaths(endpoint: str, seconds: float, every_s: float, seed: int) -> None:
    """Kill workers of a running node under load; exit code 1 when a request was lost, doubled, wrong or late."""
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(endpoint)
    with Client(endpoint) as client:
        closed = capacity(socket, 2.0)
        full = open_capacity(socket, client, closed)
        calm = {"closed_loop": round(closed), "capacity": round(full)}
        result = {**calm, **run(socket, client, full / 2, seconds, every_s, seed)}
    socket.close()
    context.term()
    click.echo(json.dumps(msgspec.to_builtins(result)))
    bad = result["without_reply"] + result["wrong"] + result["doubled"] + result["late"]
    sys.exit(1 if bad or result["error_ratio"] > 0.001 else 0)


if __name__ == "__main__":
    deaths()
