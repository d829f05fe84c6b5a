"""Embedding spaces: float32 matrices by row with their L2 norms, int8 codes and a graph of the items, mapped."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from mixline.storage.arrays import map_array
from mixline.storage.codes import Codes, open_codes
from mixline.storage.graph_index import Graph, open_graph
from mixline.storage.ivf import Lists, open_lists
from mixline.storage.manifest import SpaceFacts
from mixline.storage.nibbles import Nibbles, open_nibbles


class Space:
    """Matrices are (count, dim) float32 C-contiguous, norms (count,) float32; None where the space has no such side."""

    def __init__(self, epoch: Path, name: str, facts: SpaceFacts) -> None:
        self.name = name
        self.metric = facts.metric
        self.dim = facts.dim
        self.index = facts.index
        self.indexes = facts.indexes
        self.vectors = facts.vectors  # of each user, in rows that follow one another
        self._facts = facts
        self._folder = epoch / "spaces" / name

    @cached_property
    def items(self) -> np.ndarray | None:
        return map_array(self._folder / "items.npy") if self._facts.items else None

    @cached_property
    def users(self) -> np.ndarray | None:
        return map_array(self._folder / "users.npy") if self._facts.users else None

    @cached_property
    def item_norms(self) -> np.ndarray | None:
        return map_array(self._folder / "item_norms.npy") if self._facts.items else None

    @cached_property
    def item_codes(self) -> Codes | None:
        """The items' int8 codes; None where the epoch has none."""
        return open_codes(self._folder, "items") if self._facts.items else None

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
        return map_array(self._folder / "user_norms.npy") if self._facts.users else None
