"""``mixline bench broker``: what the way through the broker costs, beside what one would write instead.

ECHO, so that nothing but the way is measured; 64 in flight over ``ipc://``, in a closed loop, by the same compiled
client for all. The C peer is two processes on libzmq's own ``zmq_proxy``: less cannot be done while there is a broker.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from mixline.ipc.wire import Kind, RequestHeader
from mixline.node import Client
from mixline.tools.bench import report
from mixline.tools.bench_store import sized_store
from mixline.tools.flight import Flight
from mixline.tools.processes import Crew, Neighbours, Usage, family, usages
from mixline.tools.proxy_build import Proxy, build_proxy
from mixline.tools.serving import serving
from mixline.tools.volley import Volley
from mixline.tools.volley_zmq import ZmqTransport

STORE_MB = 16
WARM_S = 0.5


class Contender(NamedTuple):
    """Where it listens and which processes it is; those without a name of ours go by their own."""

    endpoint: str
    roots: dict[int, str]


class Round(NamedTuple):
    """One turn of one contender."""

    pace: float
    p50_us: float
    p99_us: float
    cpu_us: dict[str, float]  # per request, by process
    client_cpu_us: float
    cores_of_others: float
    bottleneck: str


@contextmanager
def mixline_node(folder: Path, _proxy: Proxy) -> Iterator[Contender]:
    """The product with one worker."""
    folder.mkdir()
    with serving(sized_store(STORE_MB), folder, 1) as (endpoint, _), Client(endpoint) as client:
        yield Contender(endpoint, {client.info()["supervisor_pid"]: "supervisor"})


@contextmanager
def c_proxy(folder: Path, proxy: Proxy) -> Iterator[Contender]:
    """zmq_proxy and a C worker."""
    folder.mkdir()
    front, back = f"ipc://{folder}/front", f"ipc://{folder}/back"
    with Crew(folder) as crew:
        crew.start("proxy", [proxy.path, "proxy", front, back])
        crew.start("worker", [proxy.path, "worker", back])
        yield Contender(front, crew.leaders)
        crew.check()


@contextmanager
def asyncio_broker(folder: Path, loop: str) -> Iterator[Contender]:
    """zmq.asyncio between the client and a blocking pyzmq worker."""
    folder.mkdir()
    front, back, python = f"ipc://{folder}/front", f"ipc://{folder}/back", [sys.executable, "-m"]
    with Crew(folder) as crew:
        crew.start("broker", [*python, "mixline.tools.peers.asyncio_broker", front, back, loop])
        crew.start("worker", [*python, "mixline.tools.peers.echo_worker", back])
        yield Contender(front, crew.leaders)
        crew.check()


CONTENDERS = {
    "mixline": mixline_node,
    "c_proxy": c_proxy,
    "asyncio": lambda folder, _proxy: asyncio_broker(folder, "asyncio"),
    "uvloop": lambda folder, _proxy: asyncio_broker(folder, "uvloop"),
}


def echo_request(body_bytes: int) -> tuple[bytes, bytes]:
    """The two frames; the budget is long, since what queues in a closed loop is not late."""
    header = RequestHeader(Kind.ECHO, bytes(16), budget_us=30_000_000).pack()
    return header, np.random.default_rng(1).bytes(body_bytes)


def check_echo(name: str, flight: Flight, body: bytes) -> None:
    """ClickException unless every reply came once, with the very bytes that were sent."""
    whole = flight.counts == {0: flight.sent} and not flight.doubled + flight.strangers + flight.malformed
    if not whole or flight.wrong or any(each != body for each in flight.bodies.values()):
        raise click.ClickException(
            f"{name}: {flight.sent} sent, statuses {flight.counts}, {flight.doubled} doubled, "
            f"{flight.strangers} of unknown id, {flight.malformed} malformed, {flight.wrong} wrong"
        )


def measure(name: str, contender: Contender, body_bytes: int, in_flight: int, seconds: float) -> Round:
    """One turn: a warm-up, then the closed loop with everyone's CPU around it."""
    request = echo_request(body_bytes)
    transport = ZmqTransport(contender.endpoint, [request])
    try:
        volley = Volley(transport, expect=[[request[1]]])
        which = np.zeros(1, np.uint32)
        check_echo(name, volley.closed(which, in_flight, WARM_S, 20.0), request[1])
        neighbours = Neighbours(family(contender.roots))
        flight = volley.closed(which, in_flight, seconds, 20.0, keep_every=1000)
        after = usages(family(contender.roots))
        others = neighbours.cores(after)
    finally:
        transport.close()
    check_echo(name, flight, request[1])
    p50, p99 = np.percentile(flight.latency_us(0), [50, 99])
    return Round(
        flight.pace,
        float(p50),
        float(p99),
        cpu_by_process(contender.roots, neighbours.before, after, flight.sent),
        flight.process_cpu_ns / 1000 / flight.sent,
        others,
        flight.bottleneck,
    )


def cpu_by_process(
    names: dict[int, str], before: dict[int, Usage], after: dict[int, Usage], count: int
) -> dict[str, float]:
    """CPU microseconds per request, by the name of the process."""
    spent: dict[str, float] = {}
    for pid, now in after.items():
        name = names.get(pid) or now.name.removeprefix("mixline-")
        spent[name] = spent.get(name, 0.0) + (now.cpu_us - (before[pid].cpu_us if pid in before else 0.0)) / count
    return {name: round(value, 2) for name, value in spent.items() if value >= 0.05}


def figures_of(rounds: list[Round]) -> dict[str, Any]:
    """The turn with the median pace, and the paces of all."""
    middle = sorted(rounds, key=lambda each: each.pace)[len(rounds) // 2]
    return {
        "requests_per_s": round(statistics.median(each.pace for each in rounds)),
        "rounds": [round(each.pace) for each in rounds],
        "p50_us": round(middle.p50_us),
        "p99_us": round(middle.p99_us),
        "cpu_us": middle.cpu_us,
        "client_cpu_us": round(middle.client_cpu_us, 2),
        "cores_of_others": middle.cores_of_others,
        "bottleneck": middle.bottleneck,
    }


@click.command()
@click.option("--seconds", default=4.0, show_default=True, help="Each turn of each contender.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 99), help="Turns; medians are reported.")
@click.option("--in-flight", default=64, show_default=True, type=click.IntRange(1, 4096))
@click.option("--bytes", "body_bytes", default=1024, show_default=True, type=click.IntRange(0, 1 << 20))
@click.option("--json", "as_json", is_flag=True)
def broker(seconds: float, rounds: int, in_flight: int, body_bytes: int, as_json: bool) -> None:
    """ECHO through the node, a C proxy with a C worker, and asyncio brokers, in turn, by one client."""
    proxy = build_proxy()
    with tempfile.TemporaryDirectory(prefix="mixline-bench-") as name:
        base = Path(name)
        seen: dict[str, list[Round]] = {each: [] for each in CONTENDERS}
        for turn in range(rounds):
            for each, start in CONTENDERS.items():
                with start(base / f"{each}-{turn}", proxy) as contender:
                    seen[each].append(measure(each, contender, body_bytes, in_flight, seconds))
    results = {each: figures_of(turns) for each, turns in seen.items()}
    pace = {each: figures["requests_per_s"] for each, figures in results.items()}
    report(
        {
            "libzmq_of_c_proxy": f"{proxy.version}, {proxy.library}",
            "in_flight": in_flight,
            "body_bytes": body_bytes,
            **results,
            "ratio_to_c_proxy": round(pace["mixline"] / pace["c_proxy"], 3),
            "ratio_to_asyncio": round(pace["mixline"] / pace["asyncio"], 2),
            "ratio_to_uvloop": round(pace["mixline"] / pace["uvloop"], 2),
        },
        as_json,
    )
