"""A small store of made-up films, built by the real builder, and surfaces written as a user would write them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from mixline.node.inprocess import Node
from mixline.tools.build import build

ITEMS, USERS, DIM, EVENTS = 300, 40, 24, 1500
GENRES = ("Drama", "Comedy", "Horror", "War")
STUDIOS = ("north", "south", "west")
SPEC = """
[items]
path = "items.jsonl"
id = "id"
columns = { title = "text", year = "f32", price = "i64", studio = "category", genres = "tags", colour = "bool" }
creator = "studio"
[users]
path = "users.csv"
id = "id"
[events]
path = "events.csv"
user = "user"
item = "item"
time = "time"
[spaces.taste]
items = "items.npy"
users = "users.npy"
metric = "dot"
[spaces.look]
items = "items.npy"
metric = "cosine"
rotate = true
"""

NEAR = """
limit = 400
deadline_ms = 10000
[[source]]
name = "taste"
kind = "nearest"
space = "taste"
query = "{query}"
limit = 400
{filters}
[[selector]]
kind = "topk"
by = "taste.score"
"""
SEEN = '[[filter]]\nkind = "seen"\n'
BLOCKED = '[[filter]]\nkind = "blocked"\n'


def near(query: str = "user", *filters: str) -> str:
    """A surface of all items by the space of taste, less what the filters drop."""
    return NEAR.format(query=query, filters="".join(filters))


def vector(*places: int) -> np.ndarray:
    """A vector to which nothing is nearer than an item that has it."""
    found = np.zeros(DIM, dtype=np.float32)
    found[list(places)] = 10.0
    return found


def films() -> list[dict]:
    """The items as JSON objects; some values are missing."""
    return [dict(film) for film in drawn()]


@cache
def drawn() -> list[dict]:
    """The same, drawn once."""
    rng = np.random.default_rng(5)
    return [
        {
            "id": 1000 + 7 * at,
            "title": f"film {at}",
            "year": None if at % 17 == 0 else float(rng.integers(1930, 2020)),
            "price": None if at % 13 == 0 else int(rng.integers(1, 50)),
            "studio": None if at % 11 == 0 else STUDIOS[int(rng.integers(3))],
            "genres": [g for g in GENRES if rng.random() < 0.4],
            "colour": bool(rng.integers(2)),
        }
        for at in range(ITEMS)
    ]


def write_inputs(folder: Path) -> None:
    """All input files and the spec."""
    rng = np.random.default_rng(9)
    found = films()
    (folder / "items.jsonl").write_text("".join(json.dumps(film) + "\n" for film in found))
    (folder / "users.csv").write_text("id\n" + "".join(f"{at}\n" for at in range(USERS)))
    lines = [
        f"{rng.integers(USERS - 1)},{found[int(ITEMS * rng.random() ** 2)]['id']},{1_700_000_000 + 60 * at}"
        for at in range(EVENTS)
    ]
    (folder / "events.csv").write_text("user,item,time\n" + "\n".join(lines) + "\n")
    np.save(folder / "items.npy", rng.standard_normal((ITEMS, DIM)).astype(np.float32))
    np.save(folder / "users.npy", rng.standard_normal((USERS, DIM)).astype(np.float32))
    (folder / "spec.toml").write_text(SPEC)


def build_store(folder: Path) -> Path:
    """The store; fails the test with the builder's own words."""
    write_inputs(folder)
    store = folder / "store"
    done = CliRunner().invoke(build, [str(folder / "spec.toml"), "--out", str(store), "--quiet"])
    assert done.exit_code == 0, done.output or done.exception
    return store


def node_with(store: Path, folder: Path, **surfaces: str) -> Node:
    """An in-process node with these surface files besides the shipped ones."""
    return Node.open(store, write_config(folder, **surfaces))


def write_config(folder: Path, **surfaces: str) -> Path:
    """NODE.toml with a folder of surfaces."""
    (folder / "surfaces").mkdir(parents=True, exist_ok=True)
    for name, text in surfaces.items():
        (folder / "surfaces" / f"{name}.toml").write_text(f'name = "{name}"\n{text}')
    (folder / "node.toml").write_text('surfaces = "surfaces"\n')
    return folder / "node.toml"
