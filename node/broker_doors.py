"""The broker's doors: which addresses may be bound, and a ROUTER socket set up so that no peer can hurt the others."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from urllib.parse import urlsplit

import zmq

from mixline.node import limits

EX_UNAVAILABLE = 69
EX_CONFIG = 78


class DoorError(Exception):
    """An address that may not or cannot be bound; ``exit_code`` is what the process ends with."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def check_bind(endpoint: str) -> None:
    """Refuse what is neither loopback nor a local socket: until clients hold keys, whoever connects is believed."""
    scheme, _, rest = endpoint.partition("://")
    if scheme == "ipc" and rest:
        return
    if scheme == "tcp":
        host = urlsplit(endpoint).hostname or ""
        try:
            if ipaddress.ip_address(host).is_loopback:
                return
        except ValueError:
            if host == "localhost":
                return
    raise DoorError(
        f"bind {endpoint!r}: only tcp:// on a loopback address and ipc:// paths may be bound, since clients are not "
        "authenticated; put a proxy that knows its clients in front, or use ipc://",
        EX_CONFIG,
    )


def open_router(context: zmq.Context, endpoints: list[str]) -> tuple[zmq.Socket, list[str]]:
    """Bind one ROUTER to all endpoints; returns the addresses really bound (port 0 becomes a number)."""
    router = context.socket(zmq.ROUTER)
    # A reply to a peer that left is an error we count, not a silent loss.
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    # A client that sets its own id and reconnects gets its place back; the alternative is that it waits in vain.
    router.setsockopt(zmq.ROUTER_HANDOVER, 1)
    router.setsockopt(zmq.MAXMSGSIZE, limits.frame_bytes_max)
    router.setsockopt(zmq.HANDSHAKE_IVL, limits.handshake_ms)
    router.setsockopt(zmq.SNDHWM, limits.peer_messages_out_max)
    router.setsockopt(zmq.RCVHWM, limits.peer_messages_in_max)
    router.setsockopt(zmq.LINGER, 1000)
    bound = []
    for endpoint in endpoints:
        check_bind(endpoint)
        if endpoint.startswith("ipc://"):
            refuse_shared_path(endpoint.removeprefix("ipc://"))
        try:
            router.bind(endpoint)
        except zmq.ZMQError as error:
            router.close(linger=0)
            raise DoorError(f"bind {endpoint!r}: {error}; is another node running?", EX_UNAVAILABLE) from None
        bound.append(router.getsockopt_string(zmq.LAST_ENDPOINT))
    return router, bound


def refuse_shared_path(path: str) -> None:
    """libzmq unlinks an existing socket file, even of a node that runs; so knock first."""
    if not path.startswith("@") and Path(path).exists():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
            try:
                knock.connect(path)
            except OSError:
                return
        raise DoorError(f"bind 'ipc://{path}': another process listens there", EX_UNAVAILABLE)


def first_port(endpoints: list[str]) -> int:
    """The port of the first TCP endpoint that is bound, 0 where there is none."""
    ports = (urlsplit(endpoint).port for endpoint in endpoints if endpoint.startswith("tcp://"))
    return next((port for port in ports if port), 0)
