"""The peers' faiss index, built once into a file that every process opens.

``python -m mixline.tools.peers.index FOLDER KIND``.
``flat`` is exact. ``ivf`` and ``hnsw`` are searched as narrowly as still finds .99 of the true 500 nearest, on average
over all users; faiss keeps that width in the file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from mixline.tools.peers.ranking import CANDIDATES, index_file
from mixline.tools.retrieval_peers import CONSTRUCTION, LINKS, PER_CENTROID, ROUNDS

RECALL = 0.99
BEAM_MAX = 16 * CANDIDATES


def make_index(kind: str, rows: np.ndarray) -> Any:
    """Trained and filled, on all cores."""
    count, dim = rows.shape
    index: Any
    if kind == "flat":
        index = faiss.IndexFlatIP(dim)
    elif kind == "ivf":
        lists = min(1 << round(np.log2(4.0 * count**0.5)), max(1, count // 39))  # faiss wants 39 rows for each
        index = faiss.index_factory(dim, f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
        index.cp.niter, index.cp.max_points_per_centroid = ROUNDS, PER_CENTROID
    else:
        index = faiss.IndexHNSWFlat(dim, LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = CONSTRUCTION
    index.train(rows)
    index.add(rows)
    return index


def tune(kind: str, index: Any, rows: np.ndarray, users: np.ndarray) -> None:
    """Set the least width that reaches the recall; SystemExit when none does."""
    flat: Any = faiss.IndexFlatIP(rows.shape[1])
    flat.add(rows)
    wanted = flat.search(users, CANDIDATES)[1]

    def enough(width: int) -> bool:
        if kind == "ivf":
            index.nprobe = width
        else:
            index.hnsw.efSearch = width
        found = index.search(users, CANDIDATES)[1]
        shares = [len(np.intersect1d(*pair)) / CANDIDATES for pair in zip(found, wanted, strict=True)]
        return float(np.mean(shares)) >= RECALL

    low, high = (0, index.nlist) if kind == "ivf" else (CANDIDATES - 1, BEAM_MAX)
    if not enough(high):
        raise SystemExit(f"faiss {kind} does not find {RECALL} of the nearest at width {high}")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    enough(high)


def write_index(folder: Path, kind: str) -> None:
    """``KIND.faiss`` beside the matrices."""
    rows = np.load(folder / "items.npy", allow_pickle=False)
    index = make_index(kind, rows)
    if kind != "flat":
        tune(kind, index, rows, np.load(folder / "users.npy", allow_pickle=False))
    file = index_file(folder, kind)
    part = file.with_suffix(".part")
    faiss.write_index(index, str(part))
    part.replace(file)


if __name__ == "__main__":
    write_index(Path(sys.argv[1]), sys.argv[2])
