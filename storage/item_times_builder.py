"""The times of each item's events while they are built. Like the events of users they are spilled by ranges, here of
items, and settled range by range, in memory that does not grow with their number.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mixline.storage.arrays import ArrayWriter
from mixline.storage.counting import TIME_MAX
from mixline.storage.events import Settling
from mixline.storage.item_times import FILES

ITEM_TIME = np.dtype([("item", "<u4"), ("time", "<u4"), ("action", "u1")])
COPY_EVENTS = 1 << 20


def item_times(events: np.ndarray) -> np.ndarray:
    """The part of ``events`` that is kept; times are bounded to those of 1970 to 2106."""
    found = np.empty(len(events), dtype=ITEM_TIME)
    found["item"], found["action"] = events["item"], events["action"]
    found["time"] = np.clip(events["time"], 0, TIME_MAX)
    return found


class ItemTimesWriter(Settling):
    """Settles what a spill by item holds into ``graph/item_*.npy``, in ascending order of items."""

    dtype, key = ITEM_TIME, "item"

    def __init__(self, folder: Path) -> None:
        graph = folder / "graph"
        self._indptr, self._actions, self._starts, self._times = (
            ArrayWriter(graph / f"item_{name}.npy", dtype) for name, dtype in FILES.items()
        )
        for ends in (self._indptr, self._starts):
            ends.append(np.zeros(1, dtype=np.int64))

    def close(self) -> None:
        for writer in (self._indptr, self._actions, self._starts, self._times):
            writer.close()

    def _settle_range(self, events: np.ndarray, low: int, high: int) -> None:
        events = events[np.lexsort((events["time"], events["action"], events["item"]))]
        pair = events["item"].astype(np.int64) << 8 | events["action"]
        first = np.flatnonzero(np.append(True, pair[1:] != pair[:-1])) if len(pair) else np.zeros(0, dtype=np.int64)
        before = self._times.count
        self._times.append(events["time"])
        self._starts.append(before + np.append(first[1:], len(pair))[: len(first)])
        pairs = np.bincount(events["item"][first].astype(np.int64) - low, minlength=high - low)
        self._indptr.append(self._actions.count + np.cumsum(pairs))
        self._actions.append(events["action"][first])

    def _settle_giant(self, path: Path, key: int) -> None:
        """One item with more events than fit: its times are sorted in a file for each action."""
        folder = path.with_name(f"{path.name}-")
        folder.mkdir()
        for events in self._chunks(path):
            for action in np.unique(events["action"]).tolist():
                with (folder / f"{action:03d}").open("ab") as file:
                    events["time"][events["action"] == action].tofile(file)
        for one in sorted(folder.iterdir()):
            times = np.memmap(one, dtype="<u4", mode="r+")
            times.sort()
            for start in range(0, len(times), COPY_EVENTS):
                self._times.append(np.asarray(times[start : start + COPY_EVENTS]))
            self._starts.append(np.array([self._times.count]))
            self._actions.append(np.array([int(one.name)], dtype=np.uint8))
            one.unlink()
        self._indptr.append(np.array([self._actions.count]))
