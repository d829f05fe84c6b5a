"""``/metrics`` over HTTP, on loopback only: a thread of the supervisor that reads shared memory when it is asked.

What it serves names surfaces and load but no user; still, like the node's own doors, it is for this machine, and
whoever wants it elsewhere puts a proxy in front that knows its clients.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mixline.node.readings import MeterReader
from mixline.node.supervisor_breaker import Breaker

if TYPE_CHECKING:
    from mixline.node.metrics import NodeCollector

EX_UNAVAILABLE = 69
EX_CONFIG = 78


class MetricsError(Exception):
    """The door cannot or may not be opened; ``exit_code`` is what the process ends with."""

    def __init__(self, text: str, exit_code: int = EX_CONFIG) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class MetricsDoor:
    """An open door: where it is, and what stands behind it."""

    def __init__(self, url: str, collector: NodeCollector) -> None:
        self.url = url
        self.collector = collector

    def look(self) -> None:
        """Read all counts now: a process is about to be replaced whose successor may begin them anew."""
        self.collector.look()


def metrics_address(text: str) -> tuple[str, int]:
    """(host, port) of ``HOST:PORT``; MetricsError unless it is a port on loopback. Port 0 takes any that is free."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise MetricsError(f"metrics = {text!r}: write HOST:PORT, such as 127.0.0.1:9464")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise MetricsError(
            f"metrics = {text!r}: only a loopback address may be bound, since whoever connects is answered; put "
            "a proxy that knows its clients in front"
        )
    return host, int(port)


@contextmanager
def open_metrics(address: str, reader: MeterReader, breaker: Breaker) -> Iterator[MetricsDoor]:
    """Serve until the block ends."""
    host, port = metrics_address(address)
    try:
        from prometheus_client import CollectorRegistry, start_http_server

        from mixline.node.metrics import NodeCollector
    except ImportError as error:
        text = f"metrics = {address!r}: needs the package prometheus-client ({error}): pip install 'mixline[metrics]'"
        raise MetricsError(text) from None
    collector = NodeCollector(reader, breaker)
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        text = f"metrics = {address!r}: {error.strerror}; does another process listen there?"
        raise MetricsError(text, EX_UNAVAILABLE) from None
    bound = f"[{host}]" if ":" in host else host
    try:
        yield MetricsDoor(f"http://{bound}:{server.server_port}/metrics", collector)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
