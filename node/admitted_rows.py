"""The items for which a predicate holds, as a bitmap for sources: what a filter would drop is then never retrieved.

Without parameters a bitmap is made once per epoch and text, whichever surface asks. With parameters it is made when
their values are met, and the latest few are kept; only in stores where that takes a millisecond or so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import numpy as np

from mixline.node.predicate import Predicate, compile_predicate
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

CHUNK = 1 << 16  # rows looked at together, a multiple of 64: what NumPy makes of them stays in the caches
PARAMETERS_ROWS = 1 << 20  # beyond, a comparison for each request would take milliseconds
KEPT = 16  # bitmaps of one predicate's parameters

_made: WeakKeyDictionary[Epoch, dict[str, AdmittedRows]] = WeakKeyDictionary()


class ItemRange:
    """Items ``start .. stop`` of the store, as a predicate looks at a call and its block."""

    def __init__(self, epoch: Epoch, params: Mapping[str, Any], start: int, stop: int) -> None:
        self.epoch = epoch
        self.params = params
        self.block = self
        self.row = np.arange(start, stop, dtype=np.uint32)
        self._here = slice(start, stop)

    def __len__(self) -> int:
        return len(self.row)

    def column(self, name: str) -> np.ndarray:
        """The values of a stored column."""
        return np.ascontiguousarray(self.epoch.items.columns[name].values[self._here])


class AdmittedRows:
    """Bitmaps of the items of one epoch that one predicate keeps."""

    def __init__(self, predicate: Predicate) -> None:
        self.predicate = predicate
        self._parameters = sorted(predicate.parameters)
        self._kept: dict[tuple[Any, ...], tuple[int, np.ndarray]] = {}

    def bitmap(self, epoch: Epoch, params: Mapping[str, Any], end: int) -> np.ndarray:
        """The bitmap of rows below ``end`` for the parameters of this request; nobody may write to it. Always on the
        same epoch. A row never changes, so what came since a bitmap was made is added to it."""
        key = tuple(params.get(name) for name in self._parameters)
        known, found = self._kept.get(key, (0, None))
        if found is None or known != end:
            found = self._look(epoch, params, known, found, end)
            if key not in self._kept and len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = end, found
        return found

    def _look(
        self, epoch: Epoch, params: Mapping[str, Any], known: int, found: np.ndarray | None, end: int
    ) -> np.ndarray:
        bits = np.zeros(8 * -(-end // 64), dtype=np.uint8)
        if found is not None:
            kept = found.view(np.uint8)[: len(bits)]
            bits[: len(kept)] = kept
        count, base = epoch.items.count, epoch.items.base
        begin = max(known // 64 * 64, base) if known else base
        parts = [] if known else [(0, min(count, end))]
        for first, stop in [*parts, (begin, end)]:
            for start in range(first, stop, CHUNK):
                some = ItemRange(epoch, params, start, min(start + CHUNK, stop))
                packed = np.packbits(self.predicate.holds(cast("Call", some)), bitorder="little")
                bits[start // 8 : start // 8 + len(packed)] = packed
        return bits.view("<u8")


def admitted_rows(text: str, epoch: Epoch) -> AdmittedRows | None:
    """The rows that a predicate keeps; None where it reads more than stored columns, or takes long for each request."""
    predicate = compile_predicate(text)
    if not predicate.names <= set(epoch.items.columns):
        return None
    if predicate.parameters and epoch.items.count > PARAMETERS_ROWS:
        return None
    made = _made.setdefault(epoch, {})
    if text not in made:
        made[text] = AdmittedRows(predicate)
    return made[text]
