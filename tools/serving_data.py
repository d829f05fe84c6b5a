"""The data of ``mixline bench serving``: made once, for the node by ``mixline build`` and for the peers as matrices.

The reference is float64 NumPy over the same numbers; an answer that does not agree with it is not timed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from mixline.tools.bench_store import cache_folder

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
index = "exact"
"""
SURFACE = """
name = "typical"
deadline_ms = 100
limit = 50
unknown_user = "error"

[[source]]
name = "taste"
kind = "nearest"
space = "taste"
query = "user"
limit = 500

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
LAYOUT = "2"  # changes when what is written below does


def serving_data() -> Path:
    """The folder with matrices, LMDB, store and node.toml; complete or made anew."""
    folder = cache_folder() / f"serving-{LAYOUT}"
    if (folder / "complete").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "surfaces").mkdir(parents=True)
    rng = np.random.default_rng(5)
    matrices: dict[str, np.ndarray] = {
        "items": rng.standard_normal((ITEMS, DIM), dtype=np.float32),
        "users": rng.standard_normal((USERS, DIM), dtype=np.float32),
        "features": rng.standard_normal((ITEMS, FEATURES), dtype=np.float32),
        "weights": rng.uniform(-0.5, 0.5, FEATURES).astype(np.float32),
        "ids": rng.permutation(10 * ITEMS)[:ITEMS].astype(np.uint64),
    }
    for name, matrix in matrices.items():
        np.save(folder / f"{name}.npy", matrix)
    write_store(folder, matrices)
    from mixline.tools.peers.features import write_lmdb  # the store is not opened in this process

    write_lmdb(folder, matrices["features"])
    (folder / "complete").write_text("")
    return folder


def write_store(folder: Path, matrices: dict[str, np.ndarray]) -> None:
    """Parquet and CSV, spec and surface; ``mixline build`` does the rest."""
    import pyarrow
    from pyarrow import parquet

    columns = {"id": matrices["ids"], **dict(zip(NAMES, matrices["features"].T, strict=True))}
    parquet.write_table(pyarrow.table(columns), folder / "items.parquet")
    (folder / "users.csv").write_text("id\n" + "".join(f"{at}\n" for at in range(USERS)))
    (folder / "spec.toml").write_text(SPEC % ", ".join(f'{name} = "f32"' for name in NAMES))
    terms = ", ".join(f"{name} = {weight!r}" for name, weight in zip(NAMES, matrices["weights"].tolist(), strict=True))
    (folder / "surfaces" / "typical.toml").write_text(SURFACE % (", ".join(f'"{name}"' for name in NAMES), terms))
    (folder / "node.toml").write_text('surfaces = "surfaces"\n')
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
        similarity = self.items @ self.users[user]
        order = np.argsort(-similarity)
        edge = similarity[order[CANDIDATES - 1]] - similarity[order[CANDIDATES]]
        total = similarity + self.extra
        right = np.sort(total[order[:CANDIDATES]])[::-1][:PAGE]
        slack = TOLERANCE * np.maximum(1.0, np.abs(right))
        if len(ids) != PAGE or len(set(ids.tolist())) != PAGE or any(one not in self.row_of for one in ids.tolist()):
            return f"user {user}: {len(ids)} items, {len(set(ids.tolist()))} of them different"
        mine = total[[self.row_of[one] for one in ids.tolist()]]
        if edge < TOLERANCE * abs(similarity[order[CANDIDATES]]):
            return ""  # which candidate is the last of the 500 is a tie
        if (np.abs(mine - right) > slack).any():
            return f"user {user}: other items than the float64 reference"
        if (np.abs(scores - mine) > slack).any():
            return f"user {user}: scores off by up to {np.abs(scores - mine).max():.2g}"
        return ""
