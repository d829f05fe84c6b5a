"""Lists over items, mapped: the neighbours of each item in CSR form, who acted on what, and the popular items of
all."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixline.storage.arrays import map_array


class Csr(NamedTuple):
    """Row r owns ``indices[indptr[r]:indptr[r + 1]]`` (int64, uint32) and the float32 ``weights`` beside them."""

    indptr: np.ndarray
    indices: np.ndarray
    weights: np.ndarray


class Bipartite(NamedTuple):
    """Who acted on what: item i was acted on by ``users[item_ends[i]:item_ends[i + 1]]`` (int64, uint32 ascending), and
    user u acted on ``items[user_ends[u]:user_ends[u + 1]]``."""

    item_ends: np.ndarray
    users: np.ndarray
    user_ends: np.ndarray
    items: np.ndarray


class Popularity(NamedTuple):
    """``rows`` by decayed count descending, then order key ascending; float32 ``scores`` beside them."""

    rows: np.ndarray
    scores: np.ndarray


def open_neighbours(epoch: Path) -> Csr:
    folder = epoch / "graph"
    return Csr(*(map_array(folder / f"neighbours_{part}.npy") for part in ("indptr", "indices", "weights")))


def open_popularity(epoch: Path) -> Popularity:
    folder = epoch / "graph"
    return Popularity(map_array(folder / "popular_rows.npy"), map_array(folder / "popular_scores.npy"))
