"""``mixline bench resilience vanish``: clients connect, ask, and are gone without a word, ten thousand of them.

Some stop inside a greeting or a large frame, some ask for large replies that they never read. They speak ZMTP over
plain sockets, so they vanish when told and not when libzmq thinks fit. The baseline is taken after the first
twentieth, when every kind of memory has been used once; what each client leaves behind shows all the same.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
from collections import deque
from pathlib import Path

import click

from mixline.ipc.wire import Kind, RequestHeader
from mixline.tools.resilience_account import counts, crossed, failed
from mixline.tools.resilience_census import Census, census, change
from mixline.tools.resilience_trial import PATIENCE_S, Trial, trial, trial_options
from mixline.tools.resilience_verdict import Bar, conclude
from mixline.tools.resilience_wire import GREETING, HELLO, connect, message, shake_hands

WARM_SHARE = 0.05
OPEN_MAX = 200  # clients at once
ASKS_MANY, ECHO_BYTES, LARGE_BYTES = 8, 200_000, 900_000
CHANGE_MAX, BACK_S = 0.05, 20.0
CHECK_S = 2.0
RESET = struct.pack("ii", 1, 0)


def says(node: Trial, rng: random.Random) -> tuple[bool, bytes]:
    """What one client sends before it vanishes, and whether it greets properly first."""
    header, body = node.mix.asks[rng.randrange(node.first_trouble)]

    def echo(size: int) -> bytes:
        return message(RequestHeader(Kind.ECHO, rng.randbytes(16), 1_000_000).pack(), bytes(size))

    match rng.randrange(8):
        case 0:
            return False, GREETING[: rng.randrange(1, 64)]
        case 1:
            return False, HELLO
        case 2:
            return True, message(header.pack(), body)
        case 3:
            return True, message(header.pack(), body) * ASKS_MANY
        case 4:
            return True, echo(ECHO_BYTES)
        case 5:
            return True, echo(ECHO_BYTES) * 2
        case 6:
            return True, echo(LARGE_BYTES)
        case _:
            whole = message(header.pack(), body) + echo(LARGE_BYTES)
            return True, whole[: rng.randrange(len(whole))]


def hang_up(stream: socket.socket, rng: random.Random) -> None:
    """Close, over TCP half of the time with a reset."""
    if stream.family != socket.AF_UNIX and rng.random() < 0.5:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    stream.close()


def vanish_many(node: Trial, count: int, rng: random.Random) -> float:
    """``count`` clients, at most ``OPEN_MAX`` at once, none of which reads; how long they took."""
    started_s = time.monotonic()
    there: deque[socket.socket] = deque()
    for _ in range(count):
        stream = connect(node.endpoint)
        there.append(stream)
        with contextlib.suppress(TimeoutError, ConnectionError):  # a node that is busy, or hangs up, may do so
            proper, words = says(node, rng)
            if not proper or shake_hands(stream):
                stream.sendall(words)
        if len(there) > OPEN_MAX:
            hang_up(there.popleft(), rng)
    while there:
        hang_up(there.popleft(), rng)
    return time.monotonic() - started_s


def count_up(node: Trial) -> Census:
    """A census of a node that is there as a whole."""
    while True:
        info = node.info()
        found = census(node.root, info["pid"], [each["pid"] for each in info["workers"]], node.store)
        if found is not None:
            return found
        time.sleep(PATIENCE_S)


def farthest(before: Census, after: Census) -> float:
    """The largest relative change of descriptors or RSS of broker or supervisor."""
    pairs = [(getattr(before, who), getattr(after, who)) for who in ("broker", "supervisor")]
    return max(max(change(b.fds, a.fds), change(b.rss_mb, a.rss_mb)) for b, a in pairs)


@click.command()
@click.option("--count", default=10_000, show_default=True, type=click.IntRange(20), help="Clients.")
@click.option("--bind", type=click.Choice(["ipc", "tcp"]), default="ipc", show_default=True)
@trial_options
def vanish(
    count: int, bind: str, store: Path | None, workers: int, capacity: float | None, seed: int, as_json: bool
) -> None:
    """Clients vanish in the midst of everything; nothing of them stays."""
    rng = random.Random(seed)
    with trial(store, workers, bind="tcp://127.0.0.1:0" if bind == "tcp" else None) as node:
        node.wait_whole()
        vanish_many(node, int(count * WARM_SHARE), rng)
        time.sleep(BACK_S / 4)
        before = count_up(node)
        took_s = vanish_many(node, count, rng)
        ended_s = time.monotonic()
        worst = after = count_up(node)
        back_s = None
        while back_s is None and time.monotonic() - ended_s < BACK_S:
            after = count_up(node)
            if farthest(before, after) <= CHANGE_MAX:
                back_s = round(time.monotonic() - ended_s, 2)
            time.sleep(0.25)
        flight = node.fly((capacity or 100.0) / 2, CHECK_S)
        facts, info = node.facts(seed, capacity or 0.0, 0.0), node.info()
    result = {
        **facts,
        "clients": count,
        "bind": bind,
        "seconds": round(took_s, 1),
        "before": before.to_dict(),
        "at_the_end": worst.to_dict(),
        "after": after.to_dict(),
        "lent": info["lent"],
        "slots_taken": info["slots_taken"],
        "served_after": counts(flight.status),
        "counters": {name: info["counters"][name] for name in ("requests", "unroutable", "peer_full", "bad_frames")},
    }
    bars = [
        Bar("fds and RSS of broker and supervisor back within 5 % after, s", back_s, BACK_S),
        Bar("farthest from before, share", farthest(before, after), CHANGE_MAX),
        Bar("slots still taken", info["slots_taken"], 0),
        Bar("asks that failed afterwards", int(failed(flight).sum()), 0),
        Bar("wrong, crossed or doubled replies", flight.wrong + crossed(flight), 0),
    ]
    conclude("vanish", result, bars, as_json)
