"""One ask: its MessagePack body, and the door that turns keyword arguments into header fields and bytes.

Client, AsyncClient and the in-process Node all come through :func:`prepare`, so a request means the same everywhere.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, SupportsFloat

import msgspec
import numpy as np

from mixline.ipc.errors import WireError
from mixline.ipc.wire import PRIORITY_DEFAULT, REQUEST_ID_BYTES, Kind, RequestHeader
from mixline.node.errors import BadRequest

Id = int | str


class Ask(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The body of a request of kind ASK. ``vector`` is little-endian float32 as ``bin``, or an array of numbers;
    ``vectors`` of them lie in it, one after the other."""

    user: Id | None = None
    users: list[Id] | None = None
    item: Id | None = None
    items: list[Id] | None = None
    query: str | None = None
    vector: bytes | list[float] | None = None
    vectors: int = 1
    candidates: list[Id] | None = None
    limit: int | None = None
    cursor: str | None = None
    fields: list[str] | None = None
    params: dict[str, bool | int | float | str] | None = None
    explain: bool = False
    why: list[Id] | None = None
    live_seq: int = 0
    time: int | None = None


class Prepared(NamedTuple):
    """A request ready to send: the header without its budget's start, and the body."""

    header: RequestHeader
    body: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Ask)


def decode_ask(body: bytes | memoryview) -> Ask:
    """Read a body; :class:`BadRequest` names the key that is wrong."""
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise BadRequest(f"request body: {error}; docs/protocol.md lists keys and types") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadRequest(f"request body: not the MessagePack map of docs/protocol.md: {error}") from None


def encode_ask(ask: Ask) -> bytes:
    """The body of a request."""
    return _encoder.encode(ask)


def encode_request_id(request_id: bytes | int | str | uuid.UUID | None) -> bytes:
    """16 bytes: given, padded, a number little-endian, a string hashed (BLAKE2b), or random."""
    if request_id is None:
        return os.urandom(REQUEST_ID_BYTES)
    if isinstance(request_id, uuid.UUID):
        return request_id.bytes
    if isinstance(request_id, str):
        import hashlib  # a worker, which only decodes, does without OpenSSL: 2 MB

        return hashlib.blake2b(request_id.encode(), digest_size=REQUEST_ID_BYTES).digest()
    if isinstance(request_id, int):
        if not 0 <= request_id < 1 << 128:
            raise BadRequest(f"request_id {request_id}: must lie in 0 .. 2^128 - 1")
        return request_id.to_bytes(REQUEST_ID_BYTES, "little")
    if len(request_id) > REQUEST_ID_BYTES:
        raise BadRequest(f"request_id of {len(request_id)} bytes: at most {REQUEST_ID_BYTES}")
    return bytes(request_id).ljust(REQUEST_ID_BYTES, b"\0")


def prepare(
    surface: str,
    *,
    user: Id | None = None,
    users: Sequence[Id] | np.ndarray | None = None,
    item: Id | None = None,
    items: Sequence[Id] | np.ndarray | None = None,
    query: str | None = None,
    vector: Sequence[float] | Sequence[Sequence[float]] | np.ndarray | None = None,
    candidates: Sequence[Id] | np.ndarray | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    fields: Iterable[str] | None = None,
    params: dict[str, Any] | None = None,
    deadline_ms: float | None = None,
    priority: int = PRIORITY_DEFAULT,
    tenant: str = "",
    explain: bool = False,
    why: Sequence[Id] | np.ndarray | None = None,
    live_seq: int = 0,
    time: int | None = None,
    request_id: bytes | int | str | uuid.UUID | None = None,
) -> Prepared:
    """Check and encode one ask; :class:`BadRequest` before anything is sent.

    ``vector`` is one, or several in the rows of a matrix.
    ``why``: ids of items whose fate the page shall tell, served or not (``page.why``).
    ``live_seq``: what was acknowledged up to this number must be in the answer, else NOT_READY.
    ``time``: the second since 1970 that the answer is given for, which windows of time end with; left out, now.
    ``deadline_ms`` None takes the surface's own deadline; ``priority`` 0 is the most urgent, 255 the least.
    """
    if deadline_ms is not None and not (isinstance(deadline_ms, SupportsFloat) and 0 < float(deadline_ms) <= 60_000):
        raise BadRequest(f"deadline_ms {deadline_ms}: must lie above 0 and not above 60000")
    if isinstance(fields, str):
        raise BadRequest(f"fields {fields!r}: give a list of names")
    try:
        given = None if vector is None else _vector(vector)
        ask = Ask(
            user=_plain(user),
            users=_ids(users),
            item=_plain(item),
            items=_ids(items),
            query=query,
            vector=None if given is None else given.tobytes(),
            vectors=1 if given is None or given.ndim == 1 else len(given),
            candidates=_ids(candidates),
            limit=_plain(limit),
            cursor=cursor,
            fields=None if fields is None else list(fields),
            params=None if params is None else {name: _plain(value) for name, value in params.items()},
            explain=bool(explain),
            why=_ids(why),
            live_seq=_plain(live_seq),
            time=_plain(time),
        )
        body = _encoder.encode(ask)
        header = RequestHeader(
            Kind.ASK,
            encode_request_id(request_id),
            0 if deadline_ms is None else max(1, int(deadline_ms * 1000)),
            surface,
            tenant,
            priority,
        )
        header.pack()
    except (TypeError, ValueError, OverflowError, AttributeError, WireError) as error:
        raise BadRequest(f"{surface}: {error}") from None
    return Prepared(header, body)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _vector(vector: Sequence[float] | Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # beyond float32: an infinity, which the node refuses
        values = np.asarray(vector).astype("<f4")
    if values.ndim not in (1, 2) or not len(values):
        raise BadRequest(f"vector of shape {values.shape}: give one vector, or a matrix with one in each row")
    return values


def _ids(ids: Sequence[Id] | np.ndarray | None) -> list[Id] | None:
    if ids is None:
        return None
    if isinstance(ids, (str, bytes)):
        raise BadRequest(f"{ids!r}: give a list of ids")
    return ids.tolist() if isinstance(ids, np.ndarray) else [_plain(one) for one in ids]
