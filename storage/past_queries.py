"""What people asked before, how often, and which items they acted on then.

A query is known by its words as completions compare them, so that case, accents and points do not matter; the words
are kept as 64 bits (BLAKE2b), in order.
"""

from __future__ import annotations

from _blake2 import blake2b  # without OpenSSL, which would cost a worker 2 MB
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixline.storage.arrays import ArrayWriter, map_array
from mixline.storage.askers import Askers
from mixline.storage.completions import plain_words

ACTED = "acted"
ITEMS_MAX = 1000  # of one query
ACTED_PARTS = {"keys": "<u8", "offsets": "<u8", "queries": "<u4", "rows": "<u4", "counts": "<f4"}


class PastQueries(NamedTuple):
    """``asked``: how often, by query. What was acted on: ``numbers`` (uint32) of queries in the order of ``asked``,
    ``rows`` of items (uint32), and how often (float64). ``askers``: which of them others may be told of."""

    asked: dict[str, float]
    numbers: np.ndarray
    rows: np.ndarray
    counts: np.ndarray
    askers: Askers = Askers.none()

    @classmethod
    def none(cls) -> PastQueries:
        return cls({}, np.zeros(0, np.uint32), np.zeros(0, np.uint32), np.zeros(0))

    def public(self) -> np.ndarray:
        """Which queries others may be told of, in the order of ``asked`` (bool)."""
        return self.askers.is_public(keys_of_queries(self.asked))


def plain_query(query: str) -> str:
    """The words of a query as they are compared."""
    return " ".join(plain_words(query))


def key_of(query: str) -> int:
    """What a query is known by, 0 where it has no word."""
    plain = plain_query(query).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(plain, digest_size=8).digest(), "little") if plain else 0


def keys_of_queries(queries: Iterable[str]) -> np.ndarray:
    """Of each (uint64)."""
    return np.array([key_of(query) for query in queries], dtype=np.uint64)


def asked_often(asked: dict[str, float], least: int) -> np.ndarray:
    """Keys (uint64, ascending) of queries that were asked so often, however they were spelt."""
    keys, place = np.unique(keys_of_queries(asked), return_inverse=True)
    return keys[np.bincount(place, np.array([*asked.values()]), minlength=len(keys)) >= least]


def write_acted(folder: Path, past: PastQueries) -> None:
    """Write the items of each query, the most acted on first; nothing where there are none."""
    used, first = np.unique(past.numbers, return_inverse=True)
    queries = [*past.asked]
    keys = np.array([key_of(queries[at]) for at in used.tolist()], dtype=np.uint64)[first]
    keep = (keys != 0) & (past.counts > 0)
    if not keep.any():
        return
    keys, rows, counts, numbers = keys[keep], past.rows[keep], past.counts[keep], past.numbers[keep]
    order = np.lexsort((numbers, rows, keys))
    keys, rows, counts, numbers = keys[order], rows[order], counts[order], numbers[order]
    starts = np.flatnonzero(np.append(True, (keys[1:] != keys[:-1]) | (rows[1:] != rows[:-1])))
    keys, rows, numbers, counts = keys[starts], rows[starts], numbers[starts], np.add.reduceat(counts, starts)
    order = np.lexsort((rows, -counts, keys))
    keys, rows, numbers, counts = keys[order], rows[order], numbers[order], counts[order]
    _, first, sizes = np.unique(keys, return_index=True, return_counts=True)
    few = np.arange(len(keys)) - np.repeat(first, sizes) < ITEMS_MAX
    keys, rows, numbers, counts = keys[few], rows[few], numbers[few], counts[few]
    distinct, first = np.unique(keys, return_index=True)
    write_parts(folder, distinct, np.append(first, len(keys)), np.minimum.reduceat(numbers, first), rows, counts)


def write_parts(folder: Path, *parts: np.ndarray) -> None:
    """In the order of their names."""
    for (name, dtype), part in zip(ACTED_PARTS.items(), parts, strict=True):
        writer = ArrayWriter(folder / f"{ACTED}.{name}.npy", dtype)
        writer.append(part)
        writer.close()


class ActedOn:
    """The items of past queries, as an epoch has them."""

    def __init__(self, folder: Path) -> None:
        self.keys, self.offsets, self.queries, self.rows, self.counts = (
            map_array(folder / f"{ACTED}.{name}.npy") for name in ACTED_PARTS
        )

    def __len__(self) -> int:
        return len(self.keys)

    def of(self, query: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows (uint32) that those who asked so acted on, and how often (float32), the most often first."""
        key = np.uint64(key_of(query))
        at = int(self.keys.searchsorted(key))
        if not key or at == len(self.keys) or self.keys[at] != key:
            return self.rows[:0], self.counts[:0]
        here = slice(int(self.offsets[at]), int(self.offsets[at + 1]))
        return self.rows[here], self.counts[here]

    def without(self, keys: np.ndarray, folder: Path) -> None:
        """Write all but the queries of these keys."""
        kept, sizes = ~np.isin(self.keys, keys), np.diff(self.offsets).astype(np.int64)
        here = np.repeat(kept, sizes)
        ends = np.concatenate(([0], np.cumsum(sizes[kept])))
        write_parts(folder, self.keys[kept], ends, self.queries[kept], self.rows[here], self.counts[here])

    def numbers(self) -> np.ndarray:
        """For each of ``rows`` the number (uint32) of a past query that stands for its words."""
        return np.repeat(self.queries, np.diff(self.offsets).astype(np.int64))


def has_acted(folder: Path) -> bool:
    """Whether an epoch's text folder has items of past queries."""
    return (folder / f"{ACTED}.keys.npy").exists()
