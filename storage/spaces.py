"""Embedding spaces: float32 matrices by row with their L2 norms, int8 codes and a graph of the items, mapped."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from mixline.storage.arrays import map_array
from mixline.storage.codes import Codes, norms_file, open_codes, rows_of_codes
from mixline.storage.frames import Frame, open_frame
from mixline.storage.graph_index import Graph, open_graph
from mixline.storage.growing import Arrays, first_live_row
from mixline.storage.ivf import Lists, open_lists
from mixline.storage.manifest import SpaceFacts
from mixline.storage.nibbles import Nibbles, open_nibbles


class Space:
    """Matrices are (count, dim) float32 C-contiguous, norms (count,) float32; None where the space has no such side.

    ``items`` and ``item_norms`` are of the items that the epoch was built with, ``all_items`` and ``all_norms`` also of
    those that came later, by row; a row that has no vector is NaN.
    """

    def __init__(self, epoch: Path, name: str, facts: SpaceFacts, arrays: Arrays, counts: tuple[int, int]) -> None:
        self._arrays = arrays
        self.count, users = counts
        self.base, self._users_base = first_live_row(self.count), first_live_row(users)
        self.name = name
        self.metric = facts.metric
        self.dim = facts.dim
        self.index = facts.index
        self.indexes = facts.indexes
        self.vectors = facts.vectors  # of each user, in rows that follow one another
        self._facts = facts
        self._folder = epoch / "spaces" / name

    @cached_property
    def all_items(self) -> np.ndarray | None:
        return self._arrays.rows(self._folder / "items.npy", self.base) if self._facts.items else None

    @cached_property
    def all_norms(self) -> np.ndarray | None:
        return self._arrays.rows(self._folder / "item_norms.npy", self.base) if self._facts.items else None

    @cached_property
    def items(self) -> np.ndarray | None:
        return None if self.all_items is None else self.all_items[: self.count]

    @cached_property
    def item_norms(self) -> np.ndarray | None:
        return None if self.all_norms is None else self.all_norms[: self.count]

    @cached_property
    def item_given(self) -> np.ndarray | None:
        """The bitmap (uint64 words) of the epoch's items that have a vector; None: all have."""
        return self._given("items") if self._facts.items else None

    @cached_property
    def user_given(self) -> np.ndarray | None:
        """The same of its users."""
        return self._given("users") if self._facts.users else None

    def _given(self, side: str) -> np.ndarray | None:
        path = self._folder / f"{side}_given.npy"
        return map_array(path) if path.exists() else None

    @cached_property
    def users(self) -> np.ndarray | None:
        """``vectors`` rows for each user."""
        if not self._facts.users:
            return None
        return self._arrays.rows(self._folder / "users.npy", self._users_base, self.vectors)

    @cached_property
    def all_codes(self) -> Codes | None:
        """The items' int8 codes, also of those that came later; None where the epoch has none."""
        return open_codes(self._folder, "items", self._arrays, self.base) if self._facts.items else None

    @cached_property
    def item_codes(self) -> Codes | None:
        """The int8 codes of the epoch's items."""
        return None if self.all_codes is None else rows_of_codes(self.all_codes, 0, self.count)

    @cached_property
    def frame(self) -> Frame:
        """In which codes see the items."""
        return open_frame(self._folder)

    @cached_property
    def all_code_norms(self) -> np.ndarray | None:
        """What a scan of the items' codes takes as norms: those of the rows less the frame's center."""
        path = norms_file(self._folder, "items")
        return self._arrays.rows(path, self.base) if path.exists() else self.all_norms

    @cached_property
    def code_norms(self) -> np.ndarray | None:
        """Those of the epoch's items."""
        return None if self.all_code_norms is None else self.all_code_norms[: self.count]

    @cached_property
    def item_nibbles(self) -> Nibbles | None:
        """The items' int4 codes; None where the epoch has none."""
        return open_nibbles(self._folder, "items") if self._facts.items else None

    @cached_property
    def item_lists(self) -> Lists | None:
        """The items' inverted lists; None where the epoch has none."""
        return open_lists(self._folder) if self._facts.items else None

    @cached_property
    def item_graph(self) -> Graph | None:
        """The items' proximity graph; None where the epoch has none."""
        return open_graph(self._folder) if self._facts.items else None

    @cached_property
    def user_norms(self) -> np.ndarray | None:
        if not self._facts.users:
            return None
        return self._arrays.rows(self._folder / "user_norms.npy", self._users_base, self.vectors)
