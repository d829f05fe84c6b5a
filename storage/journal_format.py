"""The journal of requests as bytes: records of columns, one request each, behind one another in files that only grow.

A record is a head of 16 bytes and a body. The body of a request has a fixed part (:data:`REQUEST`), then columns, each
from a multiple of 8 bytes on, as the schema that the record names lists them; docs/journal.md says how to read them
with NumPy alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

MAGIC = b"MXJ1"
SCHEMA, ENTRY, ERASED = 1, 2, 3
HEAD = np.dtype([("magic", "S4"), ("kind", "<u2"), ("schema", "<u2"), ("bytes", "<u4"), ("crc", "<u4")])
REQUEST = np.dtype(
    [
        ("request_id", "u1", 16),
        ("tenant", "S16"),
        ("epoch", "<u8"),
        ("live_seq", "<u8"),
        ("config_generation", "<u8"),
        ("time", "<i8"),  # seconds since 1970, that the answer was given for
        ("answered_ns", "<i8"),  # nanoseconds since 1970, when its record was written
        ("execute_us", "<u4"),
        ("groups", "<u4"),
        ("candidates", "<u4"),  # of the block
        ("kept", "<u4"),  # of them, in this record
        ("slate", "<u4"),
        ("ask_bytes", "<u4"),
        ("facts_bytes", "<u4"),
        ("ids_bytes", "<u4"),
        ("quality", "<f4"),
        ("limit", "<u4"),
        ("status", "u1"),
        ("priority", "u1"),
        ("shadow", "u1"),
        ("spare", "u1", 5),
    ]
)
RECORD_BYTES_MAX = 1 << 28
FIXED = ("slate", "group", "row", "key", "sources", "rank", "fate")  # columns of every schema, before its own
DTYPES = {
    "slate": "<i4",
    "group": "<u4",
    "row": "<u4",
    "key": "<u8",
    "sources": "<u8",
    "rank": "<u4",
    "fate": "|u1",
}
assert HEAD.itemsize == 16 and REQUEST.itemsize % 8 == 0


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """What the records of a surface have in common. ``columns`` are (name, dtype), behind the fixed ones; ``fates``
    names the filters: fate 16 + n is a drop by the nth. ``digest``: of the surface's declaration."""

    surface: str
    sources: list[str]
    fates: list[str]
    columns: list[tuple[str, str]]
    final: str = ""
    id_kind: str = "u64"
    config: str = ""
    digest: str = ""


class Facts(msgspec.Struct, omit_defaults=True):
    """Of a request what is no column: the values of its parameters, its arms, and how many candidates ended how."""

    fates: dict[str, int] = {}
    params: dict[str, Any] = {}
    assignments: dict[str, str] = {}


class Entry(NamedTuple):
    """One request. ``fixed`` is a record of :data:`REQUEST`; ``ask`` the body as it came; ``columns`` by name."""

    schema: Schema
    fixed: np.ndarray
    ask: bytes
    facts: Facts
    columns: dict[str, np.ndarray]
    ids: list[str] | None  # of string ids; else the keys are the ids

    @property
    def request_id(self) -> bytes:
        return self.fixed["request_id"].tobytes()

    @property
    def item_ids(self) -> np.ndarray | list[str]:
        """External ids of the candidates, in the order of the columns."""
        return self.columns["key"] if self.ids is None else self.ids


_schemas = msgspec.json.Decoder(Schema)
_facts = msgspec.msgpack.Decoder(Facts)
encode_facts = msgspec.msgpack.Encoder().encode


def padded(raw: bytes) -> bytes:
    """Up to a multiple of 8 bytes."""
    return raw + bytes(-len(raw) % 8)


def frame(kind: int, schema: int, body: Sequence[bytes]) -> bytes:
    """A record of a body whose parts are padded."""
    head = np.zeros((), dtype=HEAD)
    joined = b"".join(body)
    head["magic"], head["kind"], head["schema"] = MAGIC, kind, schema
    head["bytes"], head["crc"] = HEAD.itemsize + len(joined), zlib.crc32(joined)
    return head.tobytes() + joined


def encode_schema(schema: Schema) -> bytes:
    """The body of the record that later ones of its file name by its number."""
    return padded(msgspec.json.encode(schema))


def encode_entry(
    number: int,
    fixed: np.ndarray,
    ask: bytes,
    facts: Facts,
    columns: Mapping[str, np.ndarray],
    ids: list[str] | None,
) -> bytes:
    """The record of a request; ``columns`` in the order of its schema, the fixed ones first."""
    told = encode_facts(facts)
    named = b"" if ids is None else msgspec.msgpack.encode(ids)
    fixed["ask_bytes"], fixed["facts_bytes"], fixed["ids_bytes"] = len(ask), len(told), len(named)
    parts = [fixed.tobytes(), padded(ask), padded(told), *(padded(column.tobytes()) for column in columns.values())]
    return frame(ENTRY, number, [*parts, padded(named)])


def decode_schema(body: bytes) -> Schema:
    """The schema in a record."""
    return _schemas.decode(body.rstrip(b"\0"))


def decode_entry(schema: Schema, body: bytes | memoryview) -> Entry:
    """The request in a record; columns are views of ``body``. ValueError where the body is not of its schema."""
    fixed = np.frombuffer(body, dtype=REQUEST, count=1)[0]
    at = REQUEST.itemsize

    def take(count: int) -> memoryview:
        nonlocal at
        start, at = at, at + count + -count % 8
        if at > len(body):
            raise ValueError(f"a part ends at byte {at} of {len(body)}")
        return memoryview(body)[start : start + count]

    ask = bytes(take(int(fixed["ask_bytes"])))
    facts = _facts.decode(take(int(fixed["facts_bytes"])))
    columns = {}
    kept = int(fixed["kept"])
    for name, dtype in columns_of(schema):
        kind = np.dtype(dtype)
        count = int(fixed["slate"]) if name == "slate" else kept
        columns[name] = np.frombuffer(take(count * kind.itemsize), dtype=kind)
    raw = take(int(fixed["ids_bytes"]))
    ids = msgspec.msgpack.decode(raw, type=list[str]) if len(raw) else None
    return Entry(schema, fixed, ask, facts, columns, ids)


def columns_of(schema: Schema) -> Iterator[tuple[str, str]]:
    """Names and dtypes of the columns of a record, in their order."""
    yield from ((name, DTYPES[name]) for name in FIXED)
    yield from schema.columns
