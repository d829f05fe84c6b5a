"""``mixline bench resilience zmtp``: a million damaged greetings and frames, raw; afterwards all is as before.

A connection says hello, perhaps damaged, then frames of one shape with some bytes flipped. Most flips hit what frames
carry and the connection lives on; a flip in a frame's own head ends what libzmq will read, so what follows is not sent
and only what can have been looked at is counted. A batch is made by NumPy at once and sent in one go.
"""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from mixline.ipc.wire import Kind, RequestHeader
from mixline.tools.resilience_account import counts, crossed, failed
from mixline.tools.resilience_trial import Trial, trial, trial_options
from mixline.tools.resilience_verdict import Bar, conclude
from mixline.tools.resilience_wire import HELLO, connect, message, shake_hands

ROWS = 400  # messages of one connection
FLIPS_MAX = 4
HEAD_SHARE = 1 / 300  # of messages, whose framing is hit
HELLO_SHARE = 0.3  # of connections, whose greeting is hit
RATE, CHECK_S = 100.0, 2.0
DRAIN_S = 10.0
SETTLED_S = 70.0  # the longest budget, and a little


def shapes(node: Trial) -> list[tuple[bytes, list[int]]]:
    """Messages to damage, each with the places of its frames' heads."""
    header, body = node.mix.asks[0]
    ask, name = header.pack(), b"fuzz"
    echo = RequestHeader(Kind.ECHO, bytes(16), 100_000).pack()
    info = RequestHeader(Kind.INFO, bytes(16), 100_000).pack()
    found = []
    for frames in (
        [ask, body],
        [b"", ask, body],
        [echo, bytes(40)],
        [echo, bytes(400)],
        [info, b""],
        [ask],
        [ask, body, body],
        [name, name],
        [b""],
    ):
        heads: list[int] = []
        at = 0
        for each in frames:
            size = 9 if len(each) > 255 else 2
            heads += range(at, at + size)
            at += size + len(each)
        found.append((message(*frames), heads))
    return found


def damaged(shape: bytes, heads: list[int], rows: int, rng: np.random.Generator) -> tuple[bytes, int]:
    """``rows`` copies with flips, cut after the first whose framing was hit; and how many messages that is."""
    table = np.tile(np.frombuffer(shape, np.uint8), (rows, 1))
    content = np.setdiff1d(np.arange(len(shape)), heads)
    if len(content):
        for _ in range(FLIPS_MAX):
            hit = rng.random(rows) < 0.7
            table[hit, rng.choice(content, int(hit.sum()))] = rng.integers(0, 256, int(hit.sum()), np.uint8)
    broken = np.flatnonzero(rng.random(rows) < HEAD_SHARE)
    if not len(broken):
        return table.tobytes(), rows
    last = int(broken[0])
    at = int(rng.choice(heads))
    table[last, at] ^= rng.integers(1, 256, dtype=np.uint8)
    return table[: last + 1].tobytes(), last + 1


class Words(NamedTuple):
    """What one connection says, after a proper greeting or instead of it, and how many greetings and messages it is."""

    proper: bool
    data: bytes
    many: int


def conversation(node_shapes: list[tuple[bytes, list[int]]], rng: np.random.Generator) -> Words:
    """Drawn for one connection."""
    if rng.random() < HELLO_SHARE:
        hello = np.frombuffer(HELLO, np.uint8).copy()
        for _ in range(rng.integers(1, FLIPS_MAX)):
            hello[rng.integers(0, len(hello))] = rng.integers(0, 256, dtype=np.uint8)
        return Words(False, hello[: int(rng.integers(1, len(hello) + 1))].tobytes(), 1)
    shape, heads = node_shapes[int(rng.integers(len(node_shapes)))]
    data, many = damaged(shape, heads, ROWS, rng)
    return Words(True, data, many)


def say(endpoint: str, words: Words) -> None:
    """Send all of it, stop sending, and read until the node hangs up too: only then has it seen everything."""
    with (
        connect(endpoint) as stream,
        contextlib.suppress(OSError),
    ):  # hung up on, which is the right answer to most of this
        if words.proper and not shake_hands(stream):
            return
        stream.sendall(words.data)
        stream.shutdown(socket.SHUT_WR)
        stream.settimeout(DRAIN_S)
        while stream.recv(1 << 16):
            pass


def attack(node: Trial, count: int, rng: np.random.Generator) -> tuple[int, int, float]:
    """At least ``count`` greetings and frames: how many, over how many connections, in what time."""
    known, sent, connections, started_s = shapes(node), 0, 0, time.monotonic()
    while sent < count:
        words = conversation(known, rng)
        say(node.endpoint, words)
        sent, connections = sent + words.many, connections + 1
    return sent, connections, time.monotonic() - started_s


def pids_of(node: Trial) -> list[int]:
    """Broker and workers."""
    info = node.info()
    return [info["pid"], *(each["pid"] for each in info["workers"])]


@click.command()
@click.option("--count", default=1_000_000, show_default=True, type=click.IntRange(1), help="Greetings and frames.")
@trial_options
def zmtp(count: int, store: Path | None, workers: int, capacity: float | None, seed: int, as_json: bool) -> None:
    """Send damaged ZMTP, half over ipc and half over tcp; the node does not mind."""
    rng = np.random.default_rng(seed)
    result: dict[str, Any] = {}
    bars: list[Bar] = []
    total = 0
    for door, bind in (("ipc", None), ("tcp", "tcp://127.0.0.1:0")):
        with trial(store, workers, bind=bind) as node:
            node.wait_whole()
            before = pids_of(node)
            sent, connections, took_s = attack(node, (count + 1) // 2, rng)
            # Nobody tells the broker that a client has gone: what it had let in is worked off, or expires.
            settled_s = node.wait_for(lambda: not node.info()["queue"]["waiting"], SETTLED_S, "nothing waits any more")
            same = pids_of(node) == before
            flight = node.fly((capacity or RATE * 2) / 2, CHECK_S)
            counters = node.info()["counters"]
            result |= node.facts(seed, capacity or 0.0, 0.0)
        total += sent
        result[door] = {
            "sent": sent,
            "connections": connections,
            "seconds": round(took_s, 1),
            "settled_s": round(settled_s, 2),
            "served_after": counts(flight.status),
            "counters": {
                name: counters[name] for name in ("requests", "bad_frames", "unroutable", "peer_full", "deaths")
            },
        }
        bars += [
            Bar(f"{door}: another broker or worker than before", int(not same), 0),
            Bar(f"{door}: asks that failed afterwards", int(failed(flight).sum()), 0),
            Bar(f"{door}: wrong, crossed or doubled replies", flight.wrong + crossed(flight), 0),
        ]
    conclude("zmtp", result, [Bar("greetings and frames sent", total, count, at_most=False), *bars], as_json)
