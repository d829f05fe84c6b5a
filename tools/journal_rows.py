"""Rows to train on, out of a journal: one for each candidate that was kept, in row groups of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixline.node.block import DROPPED, RESERVE, SERVED, SHOWN
from mixline.storage.journal_format import SCHEMA, Entry, Schema, decode_schema
from mixline.storage.journal_reader import Journal, asked_users

ROWS = 1 << 17  # of a row group
NAMES = {SERVED: "served", RESERVE: "reserve", SHOWN: "shown"}
OWN = [
    ("request_id", pa.binary(16)),
    ("surface", pa.dictionary(pa.int32(), pa.string())),
    ("time", pa.timestamp("s")),
    ("epoch", pa.uint64()),
    ("live_seq", pa.uint64()),
    ("assignments", pa.dictionary(pa.int32(), pa.string())),
    ("fate", pa.dictionary(pa.int32(), pa.string())),
    ("position", pa.int32()),
    ("rank", pa.uint32()),
    ("sources", pa.uint64()),
]


def export(journal: Journal, out: Path, surface: str, shadow: bool) -> tuple[int, int]:
    """Write all requests; how many, and how many rows. ``position``: on the page of its user, null elsewhere."""
    features, item_kind, user_kind = kinds_in(journal, surface, shadow)
    own = [*OWN, ("user", user_kind), ("item", item_kind)]
    table = pa.schema([*own, *((name, pa.from_numpy_dtype(np.dtype(kind))) for name, kind in features.items())])
    requests = rows = 0
    with pq.ParquetWriter(out, table) as writer:
        for batch in batches(journal.entries(surface, shadow)):
            requests += len(batch)
            made = table_of(batch, features, table)
            rows += len(made)
            writer.write_table(made)
    return requests, rows


def batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    """Requests with so many candidates that a row group is worth it."""
    batch: list[Entry] = []
    count = 0
    for entry in entries:
        batch.append(entry)
        count += int(entry.fixed["kept"])
        if count >= ROWS:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def kinds_in(journal: Journal, surface: str, shadow: bool) -> tuple[dict[str, str], pa.DataType, pa.DataType]:
    """Every column of the schemas with the widest dtype that they give it; the types of ids of items and users."""
    found: dict[str, np.dtype] = {}
    kinds: set[str] = set()
    for file in journal.files():
        for record in file.records():
            if record.kind == SCHEMA:
                schema: Schema = decode_schema(bytes(record.body))
                if surface in ("", schema.surface):
                    kinds.add(schema.id_kind)
                    for name, dtype in schema.columns:
                        found[name] = np.promote_types(found.get(name, np.dtype(dtype)), dtype)
    users: set[type] = set()
    for entry in journal.entries(surface, shadow):
        users |= {type(user) for user in asked_users(entry.ask) if user is not None}
        if users:
            break
    return (
        {name: kind.str for name, kind in sorted(found.items())},
        pa.string() if "str" in kinds else pa.uint64(),
        pa.string() if str in users else pa.uint64(),
    )


def table_of(entries: list[Entry], features: dict[str, str], schema: pa.Schema) -> pa.Table:
    """One row group."""
    counts = np.array([int(entry.fixed["kept"]) for entry in entries])
    per_request: dict[str, list[Any]] = {
        "request_id": [entry.request_id for entry in entries],
        "surface": [entry.schema.surface for entry in entries],
        "time": [int(entry.fixed["time"]) for entry in entries],
        "epoch": [int(entry.fixed["epoch"]) for entry in entries],
        "live_seq": [int(entry.fixed["live_seq"]) for entry in entries],
        "assignments": [msgspec.json.encode(entry.facts.assignments).decode() for entry in entries],
    }
    places = pa.array(np.repeat(np.arange(len(entries)), counts))
    made = {name: pa.array(values, schema.field(name).type).take(places) for name, values in per_request.items()}
    made["rank"] = joined(entries, "rank")
    made["sources"] = joined(entries, "sources")
    made["fate"] = pa.array([name for entry in entries for name in fates_of(entry)]).dictionary_encode()
    positions = np.concatenate([positions_of(entry) for entry in entries])
    made["position"] = pa.array(positions, mask=positions < 0)
    users = [user for entry in entries for user in users_of(entry)]
    made["user"] = pa.array([None if user is None else plain(user, schema.field("user").type) for user in users])
    if pa.types.is_string(schema.field("item").type):
        made["item"] = pa.array([one for entry in entries for one in plain_ids(entry)])
    else:
        made["item"] = joined(entries, "key")
    for name, kind in features.items():
        made[name] = feature(entries, name, np.dtype(kind))
    return pa.table([made[field.name].cast(field.type) for field in schema], schema=schema)


def joined(entries: list[Entry], name: str) -> pa.Array:
    return pa.array(np.concatenate([entry.columns[name] for entry in entries]))


def feature(entries: list[Entry], name: str, kind: np.dtype) -> pa.Array:
    """A column that some requests may not have: null there, and where a score is NaN."""
    parts, gone = [], []
    for entry in entries:
        values, count = entry.columns.get(name), int(entry.fixed["kept"])
        parts.append(np.zeros(count, dtype=kind) if values is None else values.astype(kind, copy=False))
        gone.append(np.full(count, values is None))
    values = np.concatenate(parts)
    mask = np.concatenate(gone)
    return pa.array(values, mask=mask | np.isnan(values) if kind.kind == "f" else mask)


def fates_of(entry: Entry) -> list[str]:
    """How each candidate ended, in words."""
    names = NAMES | {DROPPED + at: f"dropped:{name}" for at, name in enumerate(entry.schema.fates)}
    return [names[fate] for fate in entry.columns["fate"].tolist()]


def positions_of(entry: Entry) -> np.ndarray:
    """The place of each candidate on its user's page, -1 where it is on none."""
    slate, group = entry.columns["slate"], entry.columns["group"]
    found = np.full(int(entry.fixed["kept"]), -1, dtype=np.int32)
    if len(slate):
        of = group[slate]
        first = np.flatnonzero(np.r_[True, of[1:] != of[:-1]])
        found[slate] = np.arange(len(slate)) - np.repeat(first, np.diff(np.r_[first, len(slate)]))
    return found


def users_of(entry: Entry) -> list[Any]:
    """The user of each candidate."""
    users = asked_users(entry.ask)
    return [users[group] for group in entry.columns["group"].tolist()]


def plain(user: Any, kind: pa.DataType) -> Any:
    return str(user) if pa.types.is_string(kind) else user


def plain_ids(entry: Entry) -> list[str]:
    ids = entry.item_ids
    return ids if isinstance(ids, list) else [str(one) for one in ids.tolist()]
