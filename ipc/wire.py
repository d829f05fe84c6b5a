"""The frames on the socket: two fixed headers of 128 bytes, little-endian, and the codes inside them.

The broker reads nothing but the request header, so everything it needs to admit, order and expire a request stands
there; the MessagePack body is the worker's. ``docs/protocol.md`` says the same for other languages.
"""

from __future__ import annotations

import struct
from enum import IntEnum, StrEnum
from typing import NamedTuple

from mixline.ipc.errors import WireError

MAGIC = b"MIXL"
VERSION = 1
HEADER_BYTES = 128
REQUEST_ID_BYTES = 16
TENANT_BYTES = 16
SURFACE_BYTES = 32
PRIORITY_DEFAULT = 128
REPLY_BIT = 0x80

_REQUEST = struct.Struct("<4sBBBB16sQ16s32s48x")
_REPLY = struct.Struct("<4sBBBB16sQQQQIHH64x")
assert _REQUEST.size == _REPLY.size == HEADER_BYTES


class Kind(IntEnum):
    """What a request wants. A reply carries the same code with :data:`REPLY_BIT` set."""

    ASK = 1
    ECHO = 2
    INFO = 3
    APPLY = 4


class Status(StrEnum):
    """How a request ended. The wire carries :attr:`code`, the position in this list: append, never reorder."""

    OK = "OK"
    DEGRADED = "DEGRADED"
    BAD_REQUEST = "BAD_REQUEST"
    NOT_FOUND = "NOT_FOUND"
    TOO_LARGE = "TOO_LARGE"
    OVERLOADED = "OVERLOADED"
    TIMEOUT = "TIMEOUT"
    WORKER_LOST = "WORKER_LOST"
    POISON = "POISON"
    NOT_READY = "NOT_READY"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    UNAUTHORIZED = "UNAUTHORIZED"
    INTERNAL = "INTERNAL"

    @property
    def code(self) -> int:
        """The number on the wire."""
        return _CODES[self]

    @property
    def answered(self) -> bool:
        """Whether the body is an answer and not ``{"error": text}``."""
        return self in (Status.OK, Status.DEGRADED)

    @staticmethod
    def of(code: int) -> Status:
        """The status behind a wire code; WireError for a code that this version does not know."""
        try:
            return _STATUSES[code]
        except IndexError:
            raise WireError(f"reply header: status {code} is not one of 0..{len(_STATUSES) - 1}") from None


_STATUSES = tuple(Status)
_CODES = {status: code for code, status in enumerate(_STATUSES)}
STATUS_COUNT = len(_STATUSES)


class RequestHeader(NamedTuple):
    """The first frame of a request. ``budget_us`` is relative, so no clock is shared; 0 means the default."""

    kind: int
    request_id: bytes
    budget_us: int = 0
    surface: str = ""
    tenant: str = ""
    priority: int = PRIORITY_DEFAULT
    flags: int = 0

    def pack(self) -> bytes:
        """The 128 bytes; WireError for a field that does not fit."""
        if len(self.request_id) != REQUEST_ID_BYTES:
            raise WireError(f"request id: {len(self.request_id)} bytes, must be {REQUEST_ID_BYTES}")
        tenant = _ascii("tenant", self.tenant, TENANT_BYTES)
        surface = _ascii("surface", self.surface, SURFACE_BYTES)
        try:
            return _REQUEST.pack(
                MAGIC, VERSION, self.kind, self.flags, self.priority, self.request_id, self.budget_us, tenant, surface
            )
        except struct.error as error:
            raise WireError(f"request header: {error}; see docs/protocol.md for the ranges") from None

    @classmethod
    def unpack(cls, frame: bytes | memoryview) -> RequestHeader:
        """Read a request header; WireError says what is wrong with it."""
        _check(frame)
        _, _, kind, flags, priority, request_id, budget_us, tenant, surface = _REQUEST.unpack(frame)
        return cls(kind, request_id, budget_us, _text("surface", surface), _text("tenant", tenant), priority, flags)


class ReplyHeader(NamedTuple):
    """The first frame of a reply; names the exact data and configuration that made the answer."""

    kind: int
    status: Status
    request_id: bytes
    epoch: int = 0
    live_seq: int = 0
    config_generation: int = 0
    server_us: int = 0
    retry_after_us: int = 0
    seat: int = 0
    attempt: int = 0
    flags: int = 0

    def pack(self) -> bytes:
        """The 128 bytes; ``kind`` is the request's, the reply bit is set here."""
        try:
            return _REPLY.pack(
                MAGIC,
                VERSION,
                self.kind | REPLY_BIT,
                self.flags,
                _CODES[self.status],
                self.request_id,
                self.epoch,
                self.live_seq,
                self.config_generation,
                self.server_us,
                self.retry_after_us,
                self.seat,
                self.attempt,
            )
        except struct.error as error:
            raise WireError(f"reply header: {error}") from None

    @classmethod
    def unpack(cls, frame: bytes | memoryview) -> ReplyHeader:
        """Read a reply header; WireError says what is wrong with it."""
        _check(frame)
        _, _, kind, flags, code, request_id, *rest = _REPLY.unpack(frame)
        if not kind & REPLY_BIT:
            raise WireError(f"reply header: kind {kind} has no reply bit {REPLY_BIT:#x}")
        epoch, live_seq, generation, server_us, retry_after_us, seat, attempt = rest
        return cls(
            kind & ~REPLY_BIT,
            Status.of(code),
            request_id,
            epoch,
            live_seq,
            generation,
            server_us,
            retry_after_us,
            seat,
            attempt,
            flags,
        )


def _check(frame: bytes | memoryview) -> None:
    if len(frame) != HEADER_BYTES:
        raise WireError(f"header frame: {len(frame)} bytes, must be {HEADER_BYTES}")
    if bytes(frame[:4]) != MAGIC:
        raise WireError(f"header frame: magic {bytes(frame[:4])!r}, must be {MAGIC!r}")
    if frame[4] != VERSION:
        raise WireError(f"header frame: version {frame[4]}, this node speaks {VERSION}")


def _ascii(field: str, text: str, size: int) -> bytes:
    try:
        raw = text.encode("ascii")
    except UnicodeEncodeError:
        raise WireError(f"{field} {text!r}: must be ASCII") from None
    if len(raw) > size or b"\0" in raw:
        raise WireError(f"{field} {text!r}: at most {size} bytes of ASCII without NUL")
    return raw


def _text(field: str, raw: bytes) -> str:
    text, _, rest = raw.partition(b"\0")
    if rest.strip(b"\0"):
        raise WireError(f"{field} {raw!r}: bytes after the first NUL must be NUL")
    try:
        return text.decode("ascii")
    except UnicodeDecodeError:
        raise WireError(f"{field} {raw!r}: must be ASCII padded with NUL") from None
