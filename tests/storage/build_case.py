"""One small data set, written in any input format and built through the real builder: what the storage tests share."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from mixline.node.build_kernels import build_kernels
from mixline.storage.builder import Builder
from mixline.storage.file_source import FileSource
from mixline.storage.live_source import ARROW
from mixline.storage.manifest import Manifest
from mixline.storage.progress import Silence
from mixline.storage.spec import read_spec

GIB = 1 << 30
Table = dict[str, list]


def build(spec: Path, store: Path, *, memory_bytes: int = 4 * GIB, activate: bool = True) -> Manifest:
    return Builder(FileSource(read_spec(spec)), store, build_kernels(), memory_bytes, Silence()).build(
        activate=activate
    )


def write_table(path: Path, table: Table, kinds: dict[str, str] | None = None) -> Path:
    """Write columns as the format that the name's ending says; ``kinds`` are the specification's column kinds."""
    kinds = kinds or {}
    if path.name.endswith(".parquet"):
        arrays = {name: _arrow(values, kinds.get(name)) for name, values in table.items()}
        pa.parquet.write_table(pa.table(arrays), path, write_batch_size=32)  # small pages, also of wide rows
        return path
    rows: Sequence = list(zip(*table.values(), strict=True))
    if path.name.endswith(".jsonl"):
        # A missing value is told both ways: null in the even rows, left out in the odd ones.
        lines = [
            {name: _json(one) for name, one in zip(table, row, strict=True) if one is not None or at % 2 == 0}
            for at, row in enumerate(rows)
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return path
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if path.name.endswith(".tsv") else ",")
        writer.writerow(table)
        writer.writerows([_cell(one) for one in row] for row in rows)
    return path


def _arrow(values: list, kind: str | None) -> pa.Array:
    whole = kind is None and all(type(one) is int and one >= 0 for one in values)
    return pa.array(values, pa.uint64() if whole else ARROW.get(kind or ""))


def _json(value: object) -> object:
    from base64 import b64encode

    return b64encode(value).decode() if isinstance(value, bytes) else value


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return _json(value)


def films(strings: bool = False) -> Table:
    """Five items with every kind of column, with gaps."""
    ids: list = ["tt-0007", "ĝoja", "42", "a b", "x" * 255] if strings else [7, 1 << 63, 42, 0, (1 << 64) - 1]
    return {
        "film": ids,
        "score": [0.5, None, -2.25, 1e10, 3.0],
        "year": [1950, -5, None, (1 << 63) - 1, 1 - (1 << 63)],
        "seen": [True, False, None, True, False],
        "country": ["fr", "pl", "fr", None, 'ĉ, "q"'],
        "genres": [["drama", "war"], ["war"], None, ["comedy"], ["drama", "drama"]],
        "title": ["Rashōmon", None, "line\nbreak", 'comma, "quote"', "x|y"],
        "poster": [b"\x00\x01", b"", b"\xff" * 10, None, b"abc"],
    }


FILM_KINDS = {
    "score": "f32",
    "year": "i64",
    "seen": "bool",
    "country": "category",
    "genres": "tags",
    "title": "text",
    "poster": "bytes",
}


def write_films(folder: Path, ending: str, *, strings: bool = False, seed: int = 1, events: int = 60) -> Path:
    """Items, users, events and two matrices in ``folder`` with file names ending in ``ending``; returns the spec."""
    folder.mkdir(parents=True, exist_ok=True)
    items = films(strings)
    users: Table = {"who": ["ann", "bob", "cyd"] if strings else [300, 1, 20], "age": [30, None, 50]}
    write_table(folder / f"films{ending}", items, FILM_KINDS)
    write_table(folder / f"users{ending}", users, {"age": "i64"})
    rng = np.random.default_rng(seed)
    table: Table = {
        "who": [users["who"][at] for at in rng.integers(0, 2, events)],
        "film": [items["film"][at] for at in rng.integers(0, 5, events)],
        "at": rng.integers(1_500_000_000, 1_600_000_000, events).tolist(),
        "what": [("view", "like")[at] for at in rng.integers(0, 2, events)],
        "stars": rng.integers(1, 6, events).tolist(),
    }
    write_table(folder / f"events{ending}", table)
    np.save(folder / "items.npy", rng.standard_normal((5, 3)))
    np.save(folder / "users.npy", rng.standard_normal((3, 3)).astype(np.float16))
    spec = folder / "spec.toml"
    columns = ", ".join(f'{name} = "{kind}"' for name, kind in FILM_KINDS.items())
    spec.write_text(
        f"""
[items]
path = "films{ending}"
id = "film"
id_kind = "{"str" if strings else "u64"}"
columns = {{ {columns} }}
[users]
path = "users{ending}"
id = "who"
columns = {{ age = "i64" }}
[events]
path = "events{ending}"
user = "who"
item = "film"
time = "at"
action = "what"
weight = "stars"
half_life_days = 30
[spaces.taste]
items = "items.npy"
users = "users.npy"
metric = "cosine"
[spaces.half]
items = "items.npy"
"""
    )
    return spec
