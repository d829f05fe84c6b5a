"""How many different people asked a query: before enough have, nobody else is told of it.

A query is known by 64 bits of its words (:func:`~mixline.storage.past_queries.key_of`). Of one that too few asked yet
it is kept who did, so that the same user never counts twice, whatever is folded in between; of one that is public no
longer.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixline.storage.arrays import map_array, write_array

ASKERS = "askers"
USERS_MIN = 3  # unless the specification says otherwise
PARTS = {"public": "<u8", "keys": "<u8", "users": "<u4"}


class Askers(NamedTuple):
    """``public``: keys (uint64, ascending) of queries that enough users asked. Of others ``keys`` (uint64) and rows of
    ``users`` (uint32) who asked, in that order."""

    public: np.ndarray
    keys: np.ndarray
    users: np.ndarray

    @classmethod
    def none(cls) -> Askers:
        return cls(np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.uint32))

    @classmethod
    def open(cls, folder: Path) -> Askers | None:
        """Those of an epoch's text folder; None where it was built before they were kept."""
        if not (folder / f"{ASKERS}.public.npy").exists():
            return None
        return cls(*(map_array(folder / f"{ASKERS}.{name}.npy") for name in PARTS))

    def write(self, folder: Path) -> None:
        """The files of an epoch's text folder."""
        for (name, dtype), part in zip(PARTS.items(), self, strict=True):
            write_array(folder / f"{ASKERS}.{name}.npy", np.asarray(part).astype(dtype))

    def is_public(self, keys: np.ndarray) -> np.ndarray:
        """Which of some keys are (bool)."""
        return np.isin(keys, self.public)

    def of(self, key: int) -> np.ndarray:
        """The users (uint32, ascending) who asked what is not public."""
        wanted = np.uint64(key)
        start, stop = (int(self.keys.searchsorted(wanted, side)) for side in ("left", "right"))
        return self.users[start:stop]

    def joined(self, keys: np.ndarray, users: np.ndarray, least: int) -> Askers:
        """With more who asked; what ``least`` different users asked is public now."""
        keys, users = np.concatenate((self.keys, keys)), np.concatenate((self.users, users))
        order = np.lexsort((users, keys))
        keys, users = keys[order], users[order]
        first = np.ones(len(keys), dtype=bool)
        first[1:] = (keys[1:] != keys[:-1]) | (users[1:] != users[:-1])
        keys, users = keys[first], users[first]
        distinct, many = np.unique(keys, return_counts=True)
        found = self._replace(public=np.union1d(self.public, distinct[many >= least]))
        private = ~found.is_public(keys)
        return found._replace(keys=keys[private], users=users[private])

    def placed(self, places: np.ndarray, nobody: int) -> Askers:
        """With the rows that users now have, without those who are ``nobody`` there."""
        rows = places[self.users]
        there = rows != nobody
        return self._replace(keys=self.keys[there], users=rows[there])
