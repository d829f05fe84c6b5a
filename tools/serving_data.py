"""The data of ``mixline bench serving``: made once, for the node by ``mixline build`` and for the peers as matrices.

20,000 vectors are random, in no way like each other; any other number lies in clusters like embeddings, of which an
index can make use. The reference is float64 NumPy over the same numbers; an answer that does not agree with it is not
timed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixline.tools.bench_store import cache_folder
from mixline.tools.retrieval_data import clustered

ITEMS, USERS, DIM, FEATURES = 20_000, 1000, 64, 16
CANDIDATES, PAGE = 500, 50
TOLERANCE = 1e-5
NAMES = [f"f{at:02d}" for at in range(FEATURES)]
SPEC = """
[items]
path = "items.parquet"
id = "id"
columns = { %s }
[users]
path = "users.csv"
id = "id"
[spaces.taste]
items = "items.npy"
users = "users.npy"
metric = "dot"
index = "%s"
"""
SURFACE = """
name = "%s"
deadline_ms = 100
limit = 50
unknown_user = "error"

[[source]]
name = "taste"
kind = "nearest"
space = "taste"
query = "user"
limit = 500
index = "%s"
recall = %g

[[hydrator]]
kind = "columns"
columns = [%s]

[[scorer]]
name = "final"
kind = "weighted"
terms = { "taste.score" = 1.0, %s }

[[selector]]
kind = "topk"
by = "final"
"""
SURFACES = {"exact": ("exact", 1.0), "approximate": ("auto", 0.99)}  # index and recall of each
RECALL_MIN = 0.99
LAYOUT = "5"  # changes when what is written below does


class Case(NamedTuple):
    """What is asked: a data set, the node's surface (a key of SURFACES), and the peers' index (flat, ivf or hnsw)."""

    folder: Path
    surface: str
    faiss: str


def serving_case(items: int, surface: str, faiss: str) -> Case:
    """A data set with the peers' index; what is not there yet is made."""
    folder = serving_data(items)
    if not (folder / f"{faiss}.faiss").exists():
        subprocess.run([sys.executable, "-m", "mixline.tools.peers.index", str(folder), faiss], check=True)
    return Case(folder, surface, faiss)


def make_store(folder: Path, items: int) -> dict[str, np.ndarray]:
    """Matrices, surfaces and store in a folder made anew; the matrices."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "surfaces").mkdir(parents=True)
    matrices = make_matrices(items)
    for name, matrix in matrices.items():
        np.save(folder / f"{name}.npy", matrix)
    write_store(folder, matrices)
    return matrices


def serving_data(items: int = ITEMS) -> Path:
    """The folder with matrices, LMDB, store and node.toml; complete or made anew."""
    folder = cache_folder() / f"serving-{items}-{LAYOUT}"
    if (folder / "complete").exists():
        return folder
    matrices = make_store(folder, items)
    from mixline.tools.peers.features import write_lmdb  # the store is not opened in this process

    write_lmdb(folder, matrices["features"])
    (folder / "complete").write_text("")
    return folder


def make_matrices(items: int) -> dict[str, np.ndarray]:
    """By name; float32 but for the ids."""
    rng = np.random.default_rng(5)
    if items == ITEMS:
        rows = rng.standard_normal((items, DIM), dtype=np.float32)
        users = rng.standard_normal((USERS, DIM), dtype=np.float32)
    else:
        _, rows, users, _ = clustered(items, DIM, USERS)
    return {
        "items": rows,
        "users": users,
        "features": rng.standard_normal((items, FEATURES), dtype=np.float32),
        "weights": rng.uniform(-0.5, 0.5, FEATURES).astype(np.float32),
        "ids": rng.permutation(10 * items)[:items].astype(np.uint64),
    }


def write_store(folder: Path, matrices: dict[str, np.ndarray]) -> None:
    """Parquet and CSV, spec and surface; ``mixline build`` does the rest."""
    import pyarrow
    from pyarrow import parquet

    columns = {"id": matrices["ids"], **dict(zip(NAMES, matrices["features"].T, strict=True))}
    parquet.write_table(pyarrow.table(columns), folder / "items.parquet")
    (folder / "users.csv").write_text("id\n" + "".join(f"{at}\n" for at in range(USERS)))
    index = "exact" if len(matrices["items"]) == ITEMS else "ivf"
    (folder / "spec.toml").write_text(SPEC % (", ".join(f'{name} = "f32"' for name in NAMES), index))
    terms = ", ".join(f"{name} = {weight!r}" for name, weight in zip(NAMES, matrices["weights"].tolist(), strict=True))
    columns_kept = ", ".join(f'"{name}"' for name in NAMES)
    for name, (way, recall) in SURFACES.items():
        text = SURFACE % (name, way, recall, columns_kept, terms)
        (folder / "surfaces" / f"{name}.toml").write_text(text)
    (folder / "node.toml").write_text('surfaces = "surfaces"\n[warm]\n')
    command = [sys.executable, "-m", "mixline.tools", "build", str(folder / "spec.toml")]
    subprocess.run([*command, "--out", str(folder / "store"), "--quiet"], check=True)


class Reference:
    """Scores in float64."""

    def __init__(self, folder: Path) -> None:
        names = ("items", "users", "features", "weights")
        loaded = {name: np.load(folder / f"{name}.npy", allow_pickle=False).astype(np.float64) for name in names}
        self.items, self.users = loaded["items"], loaded["users"]
        self.extra = loaded["features"] @ loaded["weights"]
        ids = np.load(folder / "ids.npy", allow_pickle=False)
        self.row_of = {int(one): row for row, one in enumerate(ids)}

    def fault(self, user: int, ids: np.ndarray, scores: np.ndarray) -> str:
        """Why a page is not the right one; empty when it is, up to ties within the tolerance."""
        total, right, tied = self._right(user)
        slack = slack_of(right)
        if why := self._damage(user, ids):
            return why
        mine = total[[self.row_of[one] for one in ids.tolist()]]
        if tied:
            return ""  # which candidate is the last of the 500 is a tie
        if (np.abs(mine - right) > slack).any():
            return f"user {user}: other items than the float64 reference"
        return self._wrong_scores(user, mine, scores)

    def found(self, user: int, ids: np.ndarray, scores: np.ndarray) -> tuple[str, float]:
        """Why a page of approximate candidates is none, or an empty text; and the recall that it shows.

        Only 50 of the 500 candidates are sent. Of the true 500, those that score above the page's last item would be on
        the page had the index found them: the share of them that is there estimates the recall of the 500.
        """
        total, right, _ = self._right(user)
        if why := self._damage(user, ids):
            return why, 0.0
        mine = total[[self.row_of[one] for one in ids.tolist()]]
        if (np.diff(mine) > slack_of(mine[1:])).any():
            return f"user {user}: the page is not in order", 0.0
        return self._wrong_scores(user, mine, scores), self._overlap(mine, right)

    def _right(self, user: int) -> tuple[np.ndarray, np.ndarray, bool]:
        """Every item's score, those of the right page, and whether the last candidate is tied."""
        similarity = self.items @ self.users[user]
        order = np.argpartition(-similarity, CANDIDATES)
        order = order[: CANDIDATES + 1]
        order = order[np.argsort(-similarity[order])]
        edge = similarity[order[CANDIDATES - 1]] - similarity[order[CANDIDATES]]
        total = similarity + self.extra
        right = np.sort(total[order[:CANDIDATES]])[::-1][:PAGE]
        return total, right, bool(edge < TOLERANCE * abs(similarity[order[CANDIDATES]]))

    @staticmethod
    def _overlap(mine: np.ndarray, right: np.ndarray) -> float:
        """The share of the right scores above the last of a page that are on it, within the tolerance."""
        above = right[right >= mine[-1] - slack_of(mine[-1:])]
        same = np.abs(mine[:, None] - above[None, :]) <= slack_of(above)[None, :]
        return float(same.any(axis=0).mean()) if len(above) else 0.0

    def _damage(self, user: int, ids: np.ndarray) -> str:
        if len(ids) != PAGE or len(set(ids.tolist())) != PAGE or any(one not in self.row_of for one in ids.tolist()):
            return f"user {user}: {len(ids)} items, {len(set(ids.tolist()))} of them different"
        return ""

    def _wrong_scores(self, user: int, mine: np.ndarray, scores: np.ndarray) -> str:
        if (np.abs(scores - mine) > slack_of(mine)).any():
            return f"user {user}: scores off by up to {np.abs(scores - mine).max():.2g}"
        return ""


def slack_of(scores: np.ndarray) -> np.ndarray:
    """By how much a score may differ from the reference's."""
    slack: np.ndarray = TOLERANCE * np.maximum(1.0, np.abs(scores))
    return slack


def recall_of(shares: list[float]) -> tuple[float, float]:
    """The mean share, and three standard errors of it: so much a sample may be off by chance."""
    return float(np.mean(shares)), 3.0 * float(np.std(shares, ddof=1)) / len(shares) ** 0.5
