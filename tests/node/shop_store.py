"""A small store of articles with creators, languages and times, and readers of whom something is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from mixline.tools.build import build

NOW = 1_700_000_000
MINUTE, HOUR, DAY = 60, 3600, 86_400
COUNT, DIM = 60, 8
MAKERS = ("ann", "bob", "cleo")
SPEC = """
[items]
path = "items.jsonl"
id = "id"
columns = { at = "i64", maker = "category", lang = "category", topics = "tags", words = "f32", risk = "f32" }
creator = "maker"
[users]
path = "users.jsonl"
id = "id"
columns = { follows = "tags", speaks = "tags", topics = "tags", age = "f32", words = "f32" }
[events]
path = "events.csv"
user = "user"
item = "item"
time = "time"
action = "action"
[spaces.look]
items = "items.npy"
metric = "cosine"
"""


def articles() -> list[dict]:
    """Article 100 + n came n hours before NOW; some values are missing."""
    return [
        {
            "id": 100 + at,
            "at": None if at == 7 else NOW - at * HOUR,
            "maker": MAKERS[at % 3],
            "lang": None if at % 10 == 9 else ("en", "de", "fr")[at % 2 if at % 5 else 2],
            "topics": [topic for n, topic in enumerate(("art", "bike", "code")) if at >> n & 1],
            "words": float(100 * (at % 6)),
            "risk": at / COUNT,
        }
        for at in range(COUNT)
    ]


READERS = [
    {"id": 1, "follows": ["ann", "nobody"], "speaks": ["en"], "topics": ["art"], "age": 30.0, "words": 300.0},
    {"id": 2, "follows": [], "speaks": [], "topics": [], "age": None, "words": None},
    {
        "id": 3,
        "follows": ["bob", "cleo"],
        "speaks": ["de", "fr"],
        "topics": ["bike", "code"],
        "age": 50.0,
        "words": 0.0,
    },
]
# user, item, hours before NOW, action
EVENTS = [(1, 101, 30, "view"), (1, 104, 3, "view"), (1, 104, 2, "view"), (1, 110, 1, "like"), (3, 101, 50, "view")]


def vectors() -> np.ndarray:
    """By article; 21 is nearly 20, and 22 nearly both."""
    found = np.random.default_rng(3).standard_normal((COUNT, DIM)).astype(np.float32)
    found[21] = found[20] * 2 + 0.01
    found[22] = found[20] + 0.02
    return found


def build_shop(folder: Path) -> Path:
    """The store; fails the test with the builder's own words."""
    for name, rows in (("items", articles()), ("users", READERS)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [f"{user},{item},{NOW - hours * HOUR},{action}" for user, item, hours, action in EVENTS]
    (folder / "events.csv").write_text("user,item,time,action\n" + "\n".join(lines) + "\n")
    np.save(folder / "items.npy", vectors())
    (folder / "spec.toml").write_text(SPEC)
    store = folder / "store"
    done = CliRunner().invoke(build, [str(folder / "spec.toml"), "--out", str(store), "--quiet"])
    assert done.exit_code == 0, done.output or done.exception
    return store
