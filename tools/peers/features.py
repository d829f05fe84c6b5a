"""Where the peers' features lie: mapped, in LMDB, or in Redis. Each gives 500 x 16 float32 for 500 rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from mixline.tools.peers.ranking import FEATURES

FILL = 10_000  # rows sent to Redis before its answers are read


class MappedFeatures:
    """One matrix, mapped."""

    def __init__(self, folder: Path) -> None:
        self.matrix = np.load(folder / "features.npy", mmap_mode="r", allow_pickle=False)

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self.matrix[rows]


class LmdbFeatures:
    """A record per item; one read transaction and one cursor stay open, and all keys go in one call."""

    def __init__(self, folder: Path) -> None:
        self.keys = keys(np.load(folder / "ids.npy", allow_pickle=False).shape[0])
        self.environment = lmdb.open(str(folder / "features.lmdb"), readonly=True, lock=False, readahead=False)
        self.cursor = self.environment.begin(buffers=True).cursor()

    def take(self, rows: np.ndarray) -> np.ndarray:
        every = self.keys
        found = self.cursor.getmulti([every[row] for row in rows.tolist()])
        return np.frombuffer(b"".join([value for _, value in found]), np.float32).reshape(-1, FEATURES)


class RedisFeatures:
    """A value per item, all in one MGET over a Unix socket, parsed by hiredis."""

    def __init__(self, folder: Path, socket: str) -> None:
        import redis  # only this peer needs it

        self.keys = keys(np.load(folder / "ids.npy", allow_pickle=False).shape[0])
        self.client = redis.Redis(unix_socket_path=socket)

    def take(self, rows: np.ndarray) -> np.ndarray:
        every = self.keys
        found: Any = self.client.mget([every[row] for row in rows.tolist()])
        return np.frombuffer(b"".join(found), np.float32).reshape(-1, FEATURES)


def keys(count: int) -> list[bytes]:
    """The key of each row."""
    return [row.to_bytes(4, "big") for row in range(count)]


def write_lmdb(folder: Path, features: np.ndarray) -> None:
    """``features.lmdb`` from the matrix."""
    with (
        lmdb.open(str(folder / "features.lmdb"), map_size=(1 << 28) + 4 * features.nbytes) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, row in zip(keys(len(features)), features, strict=True):
            transaction.put(key, row.tobytes(), append=True)


def fill_redis(socket: str, features: np.ndarray) -> None:
    """SET every row."""
    import redis  # only this peer needs it

    with redis.Redis(unix_socket_path=socket) as client:
        every = keys(len(features))
        for start in range(0, len(every), FILL):
            pipe = client.pipeline(transaction=False)
            for at in range(start, min(start + FILL, len(every))):
                pipe.set(every[at], features[at].tobytes())
            pipe.execute()
