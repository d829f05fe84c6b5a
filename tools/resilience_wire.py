"""ZMTP 3 by hand, over a plain socket: for clients that libzmq would not let us be, rude or damaged ones.

Only what a DEALER says: a greeting with the NULL mechanism, READY, frames (rfc.zeromq.org/spec/23). Greeting and READY
may leave in one go; libzmq hangs up on a frame that comes before it has said READY itself.
"""

from __future__ import annotations

import socket
import struct
from urllib.parse import urlsplit

MORE, LONG, COMMAND = 1, 2, 4
GREETING = b"\xff" + bytes(7) + b"\x01\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
TIMEOUT_S = 5.0

assert len(GREETING) == 64


def metadata(name: bytes, value: bytes) -> bytes:
    """One property of READY."""
    return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value


def frame(body: bytes, flags: int = 0) -> bytes:
    """One frame; long ones say so."""
    if len(body) > 255:
        return bytes([flags | LONG]) + struct.pack(">Q", len(body)) + body
    return bytes([flags, len(body)]) + body


READY = frame(b"\x05READY" + metadata(b"Socket-Type", b"DEALER") + metadata(b"Identity", b""), COMMAND)
HELLO = GREETING + READY


def message(*frames: bytes) -> bytes:
    """A whole message."""
    return b"".join(frame(each, MORE if at + 1 < len(frames) else 0) for at, each in enumerate(frames))


def connect(endpoint: str) -> socket.socket:
    """A stream to an ipc:// or tcp:// endpoint."""
    if endpoint.startswith("ipc://"):
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.settimeout(TIMEOUT_S)
        stream.connect(endpoint.removeprefix("ipc://"))
        return stream
    place = urlsplit(endpoint)
    stream = socket.create_connection((place.hostname, place.port), TIMEOUT_S)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def shake_hands(stream: socket.socket) -> bool:
    """Say hello and wait for the other side's READY; False when it hung up."""
    stream.sendall(HELLO)
    heard = b""
    while b"\x05READY" not in heard:
        more = stream.recv(4096)
        if not more:
            return False
        heard += more
    return True
