"""``mixline bench quality``: how good served pages are, beside published figures of the same splits.

ml100k: 75 % of every user's ratings to learn from, drawn as the published comparison draws them. A ranker is learnt on
a split of that part, then a store of all of it is served over ZeroMQ through ``homefeed`` with the ranker in it.
Gowalla: the LightGCN split, through ``homefeed`` with a space of a closed-form graph filter.
"""

from __future__ import annotations

import gzip
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from mixline.node.inprocess import Node
from mixline.node.request import Id
from mixline.storage.store import Store
from mixline.tools.batch import node_for, pages_of
from mixline.tools.bench import report
from mixline.tools.bench_gowalla import data_folder
from mixline.tools.linear_filters import ease, graph_filter
from mixline.tools.people import truths
from mixline.tools.quality import gains, mean_of
from mixline.tools.ranker import learn, rows_of
from mixline.tools.serving import COMMAND

PUBLISHED_ML = {"SAR": 0.3825, "NCF": 0.3961, "LightGCN": 0.4198, "BPR": 0.4420, "BiVAE": 0.4751}
PUBLISHED_GOWALLA = {"MF-BPR": (0.1627, 0.1378), "LightGCN": (0.1824, 0.1547), "GF-CF": (0.1849, 0.1518)}
SPEC_ML = """
[items]
path = "items.parquet"
id = "item"
columns = { year = "f32", genres = "tags" }
[users]
path = "users.parquet"
id = "user"
columns = { age = "f32" }
[events]
path = "events.parquet"
user = "user"
item = "item"
time = "time"
weight = "rating"
half_life_days = 10000
[spaces.ease]
items = "ease_items.npy"
users = "ease_users.npy"
[spaces.taste]
learn = "als"
dim = 48
regularization = 5.0
alpha = 10.0
seed = 7
"""
PAGE_ML = """
name = "{name}"
deadline_ms = 10000
limit = {limit}
[[source]]
name = "ease"
kind = "nearest"
space = "ease"
limit = 150
[[source]]
name = "taste"
kind = "nearest"
space = "taste"
limit = 100
[[source]]
name = "together"
kind = "item_to_item"
query = "recent"
limit = 60
[[source]]
name = "walk"
kind = "walk"
query = "recent"
limit = 60
[[source]]
name = "popular"
kind = "popular"
limit = 60
[[filter]]
kind = "seen"
[[hydrator]]
kind = "columns"
columns = ["year", "popularity"]
[[hydrator]]
kind = "user"
columns = ["age"]
[[hydrator]]
kind = "recent"
recent = {{ items = 200, half_life = "36500d" }}
[hydrator.columns]
gap = {{ of = "gap", column = "year" }}
genre = {{ of = "share", column = "genres" }}
items = {{ of = "items" }}
[[scorer]]
name = "by_ease"
kind = "dot"
space = "ease"
[[scorer]]
name = "by_taste"
kind = "dot"
space = "taste"
{scorer}
[[selector]]
kind = "topk"
by = "{by}"
limit = {limit}
"""
FOREST = '[[scorer]]\nname = "forest"\nkind = "forest"\nmodel = "ranker.txt"\noutput = "raw"\n'
FEATURES = (
    "by_ease", "by_taste", "ease.score", "taste.score", "together.score", "walk.score", "popular.score", "popularity",
    "year", "user.age", "recent.gap", "recent.genre", "recent.items",
)  # fmt: skip
CANDIDATES, TOP = 200, 10
NO_GENRES = ("item", "title", "releaseDate", "videoReleaseDate", "imdbURL")
SPEC_GOWALLA = """
[items]
path = "items.parquet"
id = "item"
[users]
path = "users.parquet"
id = "user"
[events]
path = "events.parquet"
user = "user"
item = "item"
neighbours_max = 0
[spaces.filter]
items = "filter_items.npy"
users = "filter_users.npy"
index = "exact"
"""
PAGE_GOWALLA = """
name = "homefeed"
limit = 20
deadline_ms = 10000
[[source]]
name = "filter"
kind = "nearest"
limit = 20
[[filter]]
kind = "seen"
[[selector]]
kind = "topk"
by = "filter.score"
"""


def read_ml100k(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Ratings (user, item, rating, ts), and items and users by their numbers."""
    with np.load(folder / "u_data.npz", allow_pickle=False) as data:
        ratings = {name: data[name] for name in data.files}
    tables = {}
    for name in ("u_item", "u_user"):
        with gzip.open(folder / f"{name}.tsv.gz", "rt", encoding="utf-8") as file:
            head, *lines = [line.rstrip("\n").split("\t") for line in file]
        tables[name] = [dict(zip(head, line, strict=False)) for line in lines]
    return ratings, tables


def stratified(user: np.ndarray, seed: int, share: float) -> np.ndarray:
    """Which rows are to learn from: of every user the first ``share`` of their rows, shuffled by ``seed``, as pandas'
    ``sample(frac=1, random_state=seed)`` shuffles a frame of them."""
    learns = np.zeros(len(user), dtype=bool)
    for one in np.unique(user):
        places = np.flatnonzero(user == one)
        drawn = places[np.random.RandomState(seed).permutation(len(places))]
        learns[drawn[: round(share * len(drawn))]] = True
    return learns


def write_ml100k(folder: Path, ratings: dict[str, np.ndarray], learns: np.ndarray, tables: dict[str, Any]) -> Path:
    """A store of the rows to learn from."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    items, people = tables["u_item"], tables["u_user"]
    flags = [name for name in items[0] if name not in NO_GENRES]
    genres = [[name for name in flags if one.get(name) == "1"] for one in items]
    years = [float(one["releaseDate"][-4:]) if one["releaseDate"][-4:].isdecimal() else None for one in items]
    films, users = [int(one["item"]) for one in items], [int(one["user"]) for one in people]
    numbers = {"item": films, "year": pa.array(years, pa.float32()), "genres": genres}
    pq.write_table(pa.table(numbers), folder / "items.parquet")
    ages = {"user": users, "age": [float(one["age"]) for one in people]}
    pq.write_table(pa.table(ages), folder / "users.parquet")
    events = {"user": ratings["user"], "item": ratings["item"], "time": ratings["ts"], "rating": ratings["rating"]}
    some = {name: values[learns] for name, values in events.items()}
    some["rating"] = some["rating"].astype(np.float32)
    pq.write_table(pa.table(some), folder / "events.parquet")
    acted = np.zeros((len(people), len(items)), dtype=np.float32)
    acted[np.searchsorted(users, some["user"]), np.searchsorted(films, some["item"])] = 1  # both files ascend
    vectors, matrix = ease(acted, 500.0 * float(learns.mean()) / 0.75)
    np.save(folder / "ease_users.npy", vectors)
    np.save(folder / "ease_items.npy", matrix)
    (folder / "spec.toml").write_text(SPEC_ML)
    subprocess.run(
        [*COMMAND, "build", str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"], check=True
    )
    return folder / "store"


def write_surface(folder: Path, name: str, text: str) -> Path:
    """NODE.toml with one surface."""
    (folder / "surfaces").mkdir(exist_ok=True)
    (folder / "surfaces" / f"{name}.toml").write_text(text)
    (folder / "node.toml").write_text('surfaces = "surfaces"\n')
    return folder / "node.toml"


def chosen_by(user: np.ndarray, item: np.ndarray, store: Path) -> tuple[list[Id], list[np.ndarray]]:
    """Users and the item rows that each chose."""
    with Store(store).open() as epoch:
        users, chosen, _ = truths(epoch, user.tolist(), item.tolist())
    return users, chosen


def ml100k(folder: Path) -> dict[str, Any]:
    """nDCG@10 of ``homefeed`` with a learnt ranker, and without."""
    ratings, tables = read_ml100k(data_folder() / "ml100k")
    learns = stratified(ratings["user"], 42, 0.75)
    inner = learns.copy()
    inner[learns] = stratified(ratings["user"][learns], 1, 0.75)
    small = write_ml100k(folder / "inner", ratings, inner, tables)
    candidates = PAGE_ML.format(name="candidates", limit=CANDIDATES, scorer="", by="by_ease")
    held = learns & ~inner
    with Node.open(small, write_surface(folder / "inner", "candidates", candidates)) as node:
        rows = rows_of(node, "candidates", *chosen_by(ratings["user"][held], ratings["item"][held], small), FEATURES)
    store = write_ml100k(folder / "whole", ratings, learns, tables)
    surfaces = folder / "whole" / "surfaces"
    surfaces.mkdir()
    worth = learn(rows, FEATURES, surfaces / "ranker.txt")
    found: dict[str, Any] = {}
    users, wanted = chosen_by(ratings["user"][~learns], ratings["item"][~learns], store)
    for name, scorer, by in (("linear", "", "by_ease"), ("homefeed", FOREST, "forest")):
        page = PAGE_ML.format(name=name, limit=TOP, scorer=scorer, by=by)
        config = write_surface(folder / "whole", name, page)
        found[name] = served(store, config, name, users, wanted, TOP)
    told = {f"ml100k {name} {key}": value for name, one in found.items() for key, value in one.items()}
    best = {name: round(share, 3) for name, share in list(worth.items())[:5]}
    return {**told, "ml100k ranker's features": best, "ml100k published nDCG@10": PUBLISHED_ML}


def served(
    store: Path, config: Path, surface: str, users: list[Id], wanted: list[np.ndarray], k: int
) -> dict[str, float]:
    """Measures at ``k`` of a surface through a node of its own."""
    with Store(store).open() as epoch, node_for(store, config, None, 2) as client:
        asked = pages_of(client, surface, users, surface, limit=k)
        pages = [epoch.items.rows_of(page.ids) for _, page in asked]
    return {name: round(mean_of(one).value, 4) for name, one in gains(pages, wanted, k).items()}


def gowalla_filter(folder: Path, dim: int, ideal: int, weight: float) -> dict[str, Any]:
    """Recall@20 and NDCG@20 of ``homefeed`` with the graph filter's vectors."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import scipy.sparse as sparse

    with np.load(data_folder() / "gowalla" / "gowalla.npz", allow_pickle=False) as data:
        split = {name: data[name] for name in data.files}
    shape = tuple(int(size) for size in split["train_shape"])
    ones = np.ones(len(split["train_indices"]), dtype=np.float32)
    users, items = graph_filter(
        sparse.csr_matrix((ones, split["train_indices"], split["train_indptr"]), shape=shape), dim, ideal, weight
    )
    np.save(folder / "filter_users.npy", users)
    np.save(folder / "filter_items.npy", items)
    owner = np.repeat(np.arange(shape[0]), np.diff(split["train_indptr"]))
    events = {"user": owner, "item": split["train_indices"].astype(np.int64)}
    pq.write_table(pa.table(events), folder / "events.parquet")
    for name, key, count in (("users", "user", shape[0]), ("items", "item", shape[1])):
        pq.write_table(pa.table({key: np.arange(count)}), folder / f"{name}.parquet")
    (folder / "spec.toml").write_text(SPEC_GOWALLA)
    subprocess.run(
        [*COMMAND, "build", str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"], check=True
    )
    config = write_surface(folder, "homefeed", PAGE_GOWALLA)
    ends = split["test_indptr"]
    wanted = [split["test_indices"][start:stop] for start, stop in pairwise(ends.tolist())]
    found = served(folder / "store", config, "homefeed", [*range(shape[0])], wanted, 20)
    return {f"gowalla {name}@20": found[name] for name in ("recall", "ndcg")} | {"gowalla published": PUBLISHED_GOWALLA}


@click.command()
@click.option("--only", type=click.Choice(["ml100k", "gowalla"]), help="Left out: both.")
@click.option("--dim", default=512, show_default=True, help="Gowalla: singular vectors of the linear filter.")
@click.option("--ideal", default=256, show_default=True, help="Gowalla: those of the ideal low-pass filter.")
@click.option("--weight", default=0.3, show_default=True, help="Gowalla: of the ideal filter.")
@click.option("--json", "as_json", is_flag=True)
def quality(only: str | None, dim: int, ideal: int, weight: float, as_json: bool) -> None:
    """Served pages beside published figures: ml100k with a learnt ranker, Gowalla with a graph filter."""
    figures: dict[str, Any] = {}
    for name, part in (("ml100k", ml100k), ("gowalla", lambda at: gowalla_filter(at, dim, ideal, weight))):
        if only not in (None, name):
            continue
        if not (data_folder() / name).is_dir():
            raise click.UsageError(f"{data_folder() / name} is absent: set MIXLINE_DATA to the folder that holds it")
        with tempfile.TemporaryDirectory() as folder:
            figures |= part(Path(folder))
    if as_json:
        click.echo(msgspec.json.encode(figures).decode())
        return
    report(figures, False)
