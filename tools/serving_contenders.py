"""The contenders of ``mixline bench serving``: two worker processes each, all reached over loopback TCP.

Each is a context that starts everything the contender needs and leaves nothing behind.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
import numpy as np

from mixline.ipc.wire import Kind, RequestHeader
from mixline.node import Client
from mixline.node.page import Answer
from mixline.node.request import prepare
from mixline.tools.processes import Crew, family
from mixline.tools.proxy_build import build_proxy
from mixline.tools.serving import serving
from mixline.tools.serving_data import PAGE, USERS, Case
from mixline.tools.volley import Transport
from mixline.tools.volley_http import HttpTransport
from mixline.tools.volley_zmq import ZmqTransport

WORKERS = 2
CONNECTIONS = 32
DEADLINE_MS = 100.0
READY_S = 60.0
PYTHON = (sys.executable, "-m")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
NEEDED = ("faiss", "fastapi", "uvicorn", "httptools", "orjson", "redis", "hiredis", "mosec")
Decode = Callable[[bytes], tuple[np.ndarray, np.ndarray]]


class Running(NamedTuple):
    """A contender that answers: how to reach it, what its answers mean, and its processes."""

    transport: Transport
    good: int  # the status of an answer
    decode: Decode
    pids: Callable[[], Sequence[int]]


def check_needs() -> None:
    """UsageError that names every package and program that is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise click.UsageError(f"the peers need {', '.join(missing)}: pip install 'mixline[bench]'")
    if shutil.which("redis-server") is None:
        raise click.UsageError("a peer needs redis-server: apt-get update && apt-get install -y redis-server")


def free_port() -> int:
    """A TCP port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(crew: Crew, port: int) -> None:
    """Until something listens; ClickException with its last words when it ended instead."""
    give_up = time.monotonic() + READY_S
    while time.monotonic() < give_up:
        crew.check()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise click.ClickException(f"{', '.join(crew.leaders.values())}: nothing listens after {READY_S:g} s")


def from_columns(body: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Binary columns in a MessagePack map."""
    columns = msgspec.msgpack.decode(body)
    return np.frombuffer(columns["ids"], "<u8"), np.frombuffer(columns["scores"], "<f4")


def from_page(body: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The node's answer."""
    answer = msgspec.msgpack.decode(body, type=Answer)
    assert isinstance(answer.ids, bytes)
    return np.frombuffer(answer.ids, "<u8"), np.frombuffer(answer.scores, "<f4")


def from_json(body: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Two lists."""
    page = msgspec.json.decode(body)
    return np.array(page["ids"], np.uint64), np.array(page["scores"], np.float32)


def http_get(user: int) -> bytes:
    """A request as a thrifty client writes it."""
    return f"GET /recommend?user={user} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def http_post(user: int) -> bytes:
    """mosec takes the body of a POST."""
    body = str(user)
    return f"POST /inference HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def peer_environment(case: Case) -> dict[str, str]:
    """Which data and index a peer's process opens, with one thread."""
    return {**ONE_THREAD, "MIXLINE_PEER_DATA": str(case.folder), "MIXLINE_PEER_INDEX": case.faiss}


@contextmanager
def mixline_node(folder: Path, case: Case) -> Iterator[Running]:
    """``mixline serve`` with the surface file."""
    data = case.folder
    bind = f"tcp://127.0.0.1:{free_port()}"
    with (
        serving(data / "store", folder, WORKERS, data / "node.toml", bind) as (endpoint, _),
        Client(endpoint) as client,
    ):
        root = client.info(5000)["supervisor_pid"]
        asks = [
            prepare(case.surface, user=user, limit=PAGE, deadline_ms=DEADLINE_MS, request_id=0) for user in range(USERS)
        ]
        transport = ZmqTransport(endpoint, [(header.pack(), body) for header, body in asks])
        try:
            yield Running(transport, 0, from_page, lambda: family([root]))
        finally:
            transport.close()


@contextmanager
def fastapi(folder: Path, case: Case, features: str) -> Iterator[Running]:
    """Two uvicorn processes on ports of their own, among which the client deals its connections out evenly."""
    environment = peer_environment(case)
    with Crew(folder) as crew:
        arguments = [features]
        if features == "redis":
            arguments.append(start_redis(crew, folder, case.folder))
        ports = [free_port() for _ in range(WORKERS)]
        for at, port in enumerate(ports):
            command = [*PYTHON, "mixline.tools.peers.fastapi_app", str(port), *arguments]
            crew.start(f"uvicorn-{at}", command, environment)
        for port in ports:
            wait_for(crew, port)
        with over_http([f"127.0.0.1:{port}" for port in ports], [http_get(user) for user in range(USERS)]) as transport:
            yield Running(transport, 200, from_json, lambda: crew.pids)
        crew.check()


def start_redis(crew: Crew, folder: Path, data: Path) -> str:
    """A server without persistence on a Unix socket, filled; its socket."""
    from mixline.tools.peers.features import fill_redis

    path = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    crew.start("redis", ["redis-server", *options])
    give_up = time.monotonic() + READY_S
    while not path.exists() and time.monotonic() < give_up:
        crew.check()
        time.sleep(0.05)
    fill_redis(str(path), np.load(data / "features.npy", allow_pickle=False))
    return str(path)


@contextmanager
def mosec(folder: Path, case: Case, batch: int) -> Iterator[Running]:
    """Its Rust front and two Python workers."""
    port = free_port()
    environment = {**peer_environment(case), "MIXLINE_PEER_BATCH": str(batch)}
    with Crew(folder) as crew:
        command = [*PYTHON, "mixline.tools.peers.mosec_server", "--address", "127.0.0.1", "--port", str(port)]
        crew.start("mosec", [*command, "--log-level", "warning", "--path", str(folder / "mosec")], environment)
        wait_for(crew, port)
        with over_http([f"127.0.0.1:{port}"], [http_post(user) for user in range(USERS)]) as transport:
            yield Running(transport, 200, from_json, lambda: crew.pids)
        crew.check()


@contextmanager
def over_http(addresses: Sequence[str], requests: Sequence[bytes]) -> Iterator[HttpTransport]:
    """Connections for the time of the block."""
    transport = HttpTransport(addresses, requests, CONNECTIONS)
    try:
        yield transport
    finally:
        transport.close()


@contextmanager
def zmq_proxy(folder: Path, case: Case) -> Iterator[Running]:
    """zmq_proxy in C, and two blocking pyzmq workers that take turns."""
    proxy = build_proxy()
    port = free_port()
    front, back = f"tcp://127.0.0.1:{port}", f"ipc://{folder}/back"
    with Crew(folder) as crew:
        crew.start("proxy", [proxy.path, "proxy", front, back])
        for at in range(WORKERS):
            command = [*PYTHON, "mixline.tools.peers.lmdb_worker", back]
            crew.start(f"worker-{at}", command, peer_environment(case))
        wait_for(crew, port)
        header = RequestHeader(Kind.ASK, bytes(16), budget_us=100_000).pack()
        transport = ZmqTransport(front, [(header, str(user).encode()) for user in range(USERS)])
        try:
            yield Running(transport, 0, from_columns, lambda: crew.pids)
        finally:
            transport.close()
        crew.check()


CONTENDERS: dict[str, Callable[[Path, Case], AbstractContextManager[Running]]] = {
    "mixline": mixline_node,
    "fastapi_redis": lambda folder, case: fastapi(folder, case, "redis"),
    "fastapi_mapped": lambda folder, case: fastapi(folder, case, "mapped"),
    "mosec_lmdb": lambda folder, case: mosec(folder, case, 1),
    "mosec_lmdb_batched": lambda folder, case: mosec(folder, case, 8),
    "zmq_proxy_lmdb": zmq_proxy,
}
