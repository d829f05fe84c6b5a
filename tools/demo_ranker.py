"""The demo's feed: its surface file, and the ranker in it, learnt from the demo's own events.

What every user rated last is held back; a store of the rest brings candidates with their features, and LightGBM learns
to put first what was held back. Then the feed is served from a store of everything, with the model beside the file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mixline.node.inprocess import Node
from mixline.storage.store import Store
from mixline.tools.ranker import learn, rows_of

HELD, LEARNERS = 0.2, 300  # the share of a user's events that is held back; users to learn from
SOURCES = """
[[source]]
name = "taste"
kind = "nearest"
query = "user"
limit = 200
[[source]]
name = "session"
kind = "nearest"
query = "recent"
limit = 100
[[source]]
name = "similar"
kind = "item_to_item"
query = "recent"
limit = 100
[[source]]
name = "walk"
kind = "walk"
query = "recent"
steps = 20000
limit = 100
[[source]]
name = "popular"
kind = "popular"
limit = 100
"""
EXPLORE = """
[[source]]
name = "explore"
kind = "exploration"
limit = 1
events = 5
"""
FEATURES = """
[[hydrator]]
kind = "columns"
columns = ["year", "popularity"]
[[hydrator]]
kind = "recent"
recent = { items = 50 }
[hydrator.columns]
gap = { of = "gap", column = "year" }
genre = { of = "share", column = "genres" }
[[hydrator]]
kind = "similarity"
[[scorer]]
name = "liking"
kind = "dot"
"""
NAMES = (
    "liking", "taste.score", "session.score", "similar.score", "walk.score", "popular.score", "popularity", "year",
    "recent.gap", "recent.genre", "similarity.last", "similarity.most", "similarity.mean",
)  # fmt: skip
CANDIDATES = f"""
name = "candidates"
limit = 300
{SOURCES}
{FEATURES}
[[filter]]
kind = "seen"
[[selector]]
kind = "topk"
by = "liking"
"""
HOMEFEED = f"""# Six sources, a learnt ranker, no more than three films of a genre in ten places, a varied slate, horror
# apart, and one film that few know. What was shown is recorded, and stays away for an hour.
name = "homefeed"
deadline_ms = 100
limit = 25
paging = true
{SOURCES}
{EXPLORE}
{FEATURES}
[[filter]]
kind = "seen"
[[filter]]
kind = "served"
window = "1h"
[[filter]]
kind = "blocked"
[[scorer]]
name = "rank"
kind = "forest"
model = "ranker.txt"
output = "raw"
best = {{ count = 300, by = "liking" }}
[[selector]]
kind = "topk"
by = "rank"
limit = 600
[[selector]]
kind = "ssd"
by = "rank"
pool = 150
limit = 100
gamma = 0.2
also = ["explore"]
[[selector]]
kind = "category_cap"
column = "genres"
max = 3
window = 10
limit = 200
[[selector]]
kind = "spacing"
where = '"Horror" in genres'
gap = 5
limit = 200
[[selector]]
kind = "weave"
slots = {{ 6 = "explore" }}
[[side_effect]]
kind = "served"
[[side_effect]]
kind = "journal"
"""


def hold_back(folder: Path) -> dict[int, list[int]]:
    """Write earlier.parquet, what is left of ratings.parquet without the last events of every user; returns what these
    users rated last."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "ratings.parquet")
    user, time = table["user"].to_numpy(), table["time"].to_numpy()
    order = np.lexsort((time, user))
    users, first, counts = np.unique(user[order], return_index=True, return_counts=True)
    nth = np.arange(len(order)) - np.repeat(first, counts)
    late = nth >= np.repeat(np.ceil(counts * (1 - HELD)), counts)
    pq.write_table(table.take(order[~late]), folder / "earlier.parquet")
    movie = table["movie"].to_numpy()[order]
    return {
        one: movie[late & (user[order] == one)].tolist() for one in users[:: max(1, len(users) // LEARNERS)].tolist()
    }


def learn_ranker(folder: Path, store: Path, held: dict[int, list[int]]) -> dict[str, float]:
    """Learn from a store of the earlier events; leaves NODE.toml with the feed and its model in ``folder``. Returns how
    much each feature was worth."""
    surfaces = folder / "surfaces"
    surfaces.mkdir()
    (folder / "NODE.toml").write_text('surfaces = "surfaces"\n')
    (surfaces / "candidates.toml").write_text(CANDIDATES)
    with Store(store).open() as epoch:
        chosen = [epoch.items.rows_of(items) for items in held.values()]
    with Node.open(store, folder / "NODE.toml") as node:
        rows = rows_of(node, "candidates", [*held], chosen, NAMES)
    (surfaces / "candidates.toml").unlink()
    worth = learn(rows, NAMES, surfaces / "ranker.txt")
    (surfaces / "homefeed.toml").write_text(HOMEFEED)
    return worth
