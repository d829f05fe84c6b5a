"""When the events of each item happened, by action: what windows and decayed counts are counted from, at any time.

Every event is kept, with 4 bytes, so the second in which somebody asks need not be known to the build.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mixline.storage.arrays import map_array
from mixline.storage.counting import Built

FILES = {"indptr": "<i8", "actions": "u1", "starts": "<i8", "times": "<u4"}


def map_item_times(epoch: Path) -> list[np.ndarray]:
    """The arrays of an epoch, in the order of :class:`Built`: item i has the pairs (``actions``) indptr[i] to
    indptr[i + 1], pair p the times, ascending, starts[p] to starts[p + 1]."""
    return [map_array(epoch / "graph" / f"item_{name}.npy") for name in FILES]


def open_item_times(epoch: Path) -> Built:
    """Open them to be counted."""
    return Built(*map_item_times(epoch))
