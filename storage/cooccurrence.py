"""Item-to-item lists: how often two items meet in one user's basket, as a cosine: together / sqrt(n_i n_j).

Baskets are bounded (the newest items of each user), so the pairs are too. The transposed matrix is scattered into a
mapped scratch file, which is page cache and not our memory. The sparse product is passed in: it is a compiled kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mixline.storage.arrays import ArrayWriter, map_array, write_array
from mixline.storage.progress import Progress

CHUNK = 1 << 18
WRITE_ITEMS = 512  # lists gathered before they are written: a write for each would cost more than its list

# (indptr, indices, seed_rows, seed_weights) -> (rows, sums): the sum of seed weight over the lists that name each row
Accumulate = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def transpose(path: Path, indptr: np.ndarray, indices: np.ndarray, items: int) -> tuple[np.ndarray, np.ndarray]:
    """Users by item from items by user: (indptr int64, users uint32 ascending, mapped from the new file ``path``)."""
    sizes = np.zeros(items, dtype=np.int64)
    for at in range(0, len(indices), CHUNK):
        sizes += np.bincount(indices[at : at + CHUNK], minlength=items)
    starts = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(sizes)))
    users = np.lib.format.open_memmap(path, mode="w+", dtype="<u4", shape=(len(indices),))
    free = starts[:-1].copy()
    for at in range(0, len(indices), CHUNK):
        part = indices[at : at + CHUNK]
        owner = np.searchsorted(indptr, np.arange(at, at + len(part)), side="right") - 1
        order = np.argsort(part, kind="stable")
        item = part[order]
        users[free[item] + np.arange(len(item)) - np.searchsorted(item, item)] = owner[order]
        free += np.bincount(part, minlength=items)
    users.flush()
    return starts, users.view(np.ndarray)


def build_neighbours(
    folder: Path, scratch: Path, keys: np.ndarray, limit: int, accumulate: Accumulate, progress: Progress
) -> None:
    """Write graph/neighbours_*.npy: at most ``limit`` per item, by weight descending, then order key ascending."""
    items = len(keys)
    indptr, indices = np.array(map_array(scratch / "basket_indptr.npy")), map_array(scratch / "basket_rows.npy")
    starts, users = transpose(scratch / "by_item.npy", indptr, indices, items)
    sizes = np.diff(starts)
    graph = folder / "graph"
    ones = np.ones(int(sizes.max(initial=0)), dtype=np.float32)
    none = np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.float32)

    def neighbours_of(item: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows, cosines), best first."""
        seeds = users[starts[item] : starts[item + 1]]
        if not len(seeds):
            return none
        rows, together = accumulate(indptr, indices, seeds, ones[: len(seeds)])
        other = rows != item
        rows, together = rows[other], together[other]
        cosine = (together / np.sqrt(float(sizes[item]) * sizes[rows])).astype(np.float32)
        if len(rows) > limit:
            least = np.partition(cosine, len(rows) - limit)[len(rows) - limit]
            kept = cosine >= least
            rows, cosine = rows[kept], cosine[kept]
        order = np.lexsort((keys[rows], -cosine))[:limit]
        return rows[order], cosine[order]

    progress.phase("counting co-occurrence", items)
    with (
        ArrayWriter(graph / "neighbours_indptr.npy", "<i8") as ends,
        ArrayWriter(graph / "neighbours_indices.npy", "<u4") as lists,
        ArrayWriter(graph / "neighbours_weights.npy", "<f4") as weights,
    ):
        ends.append(np.zeros(1, dtype=np.int64))
        for first in range(0, items, WRITE_ITEMS):
            found = [neighbours_of(item) for item in range(first, min(items, first + WRITE_ITEMS))]
            ends.append(lists.count + np.cumsum([len(rows) for rows, _ in found]))
            lists.append(np.concatenate([rows for rows, _ in found]))
            weights.append(np.concatenate([cosine for _, cosine in found]))
            progress.advance(len(found))


def build_seen_by(folder: Path, items: int, progress: Progress) -> None:
    """Write graph/seen_by_*.npy, who acted on each item: the other side of what each user acted on."""
    graph = folder / "graph"
    indptr, rows = np.array(map_array(graph / "seen_indptr.npy")), map_array(graph / "seen_rows.npy")
    progress.phase("turning who acted on what", len(rows))
    starts, _ = transpose(graph / "seen_by_users.npy", indptr, rows, items)
    write_array(graph / "seen_by_indptr.npy", starts)
    progress.advance(len(rows))


def build_popularity(folder: Path, scores: np.ndarray, keys: np.ndarray, limit: int) -> None:
    """Write the popularity column of all items, and the list of the most popular ones."""
    scores = scores.astype(np.float32)
    with ArrayWriter(folder / "columns" / "items" / "popularity.npy", "<f4") as column:
        column.append(scores)
    rows = np.flatnonzero(scores > 0)
    order = rows[np.lexsort((keys[rows], -scores[rows]))][:limit]
    with (
        ArrayWriter(folder / "graph" / "popular_rows.npy", "<u4") as popular,
        ArrayWriter(folder / "graph" / "popular_scores.npy", "<f4") as best,
    ):
        popular.append(order)
        best.append(scores[order])
