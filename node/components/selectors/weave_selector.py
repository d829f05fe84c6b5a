"""Places that belong to sources: a pattern that repeats, and slots that are fixed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mixline.kernels.arrange import arrange
from mixline.kernels.slate import best_positions
from mixline.node import limits
from mixline.node.components.base import Selector, not_numbers
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

ANY = "*"
SOURCES_MAX = 64


class Dynamic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Places ``first``, ``first + every`` .. (``every`` 0: one) for candidates of ``source`` with ``column`` of at
    least ``least``."""

    source: str
    column: str
    least: float
    first: int = 1
    every: int = 0

    def places(self) -> range:
        """From 0, as far as a page can be long."""
        return range(self.first - 1, limits.limit_max if self.every else self.first, self.every or 1)


class WeaveSelector(Selector, frozen=True, kw_only=True):
    """Fills each place with the best candidate left of the source that the place belongs to.

    - `pattern`: names of sources in the order of the places, repeated to the end of the page; `"*"` is any source.
    - `slots`: places (from 1) that belong to another source than the pattern says: `{ 3 = "fresh", 8 = "fresh" }`.
    - `dynamic`: slots that are there only for who is good enough: `{ source = "ads", first = 3, every = 6, column =
      "p_click", least = 0.02 }` gives places 3, 9, 15 .. to candidates of the source whose column is at least that;
      where none is left the place is like any other. Such a slot goes before `slots` and `pattern`.
    - `by`: the score to order by; left out, the order in which the selector before it left them.

    An item that several sources brought counts for each. A place whose source has nothing left takes the best of the
    others, and the coverage says how many did.
    """

    pattern: tuple[str, ...] = (ANY,)
    slots: dict[str, str] = {}
    dynamic: list[Dynamic] = []
    by: str = ""

    def wrong(self) -> Iterator[str]:
        yield from Selector.wrong(self)
        if not self.pattern:
            yield 'pattern: name at least one source, or "*" for any'
        if len(self.sources()) + len(self.dynamic) > SOURCES_MAX:
            yield f"pattern, slots, dynamic: {len(self.sources()) + len(self.dynamic)}; at most {SOURCES_MAX}"
        for at, slot in enumerate(self.dynamic):
            if not 1 <= slot.first <= limits.limit_max or slot.every < 0:
                yield f"dynamic[{at}]: first lies in 1 .. {limits.limit_max}, every is 0 or more"
        for place in self.slots:
            if not place.isdecimal() or not 1 <= int(place) <= limits.limit_max:
                yield f"slots: {place!r}: a place lies in 1 .. {limits.limit_max}"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        yield from not_numbers(epoch, "by", [self.by])
        yield from not_numbers(epoch, "dynamic", [slot.column for slot in self.dynamic])

    def sources(self) -> list[str]:
        """Those that places belong to."""
        return [name for name in dict.fromkeys([*self.pattern, *self.slots.values()]) if name != ANY]

    def reads(self) -> set[str]:
        slots = {name for slot in self.dynamic for name in (f"{slot.source}.score", slot.column)}
        return {f"{name}.score" for name in self.sources()} | slots | ({self.by} if self.by else set())

    def bind(self, epoch: Epoch) -> np.ndarray:
        """The bits of the sources that each place may be of, for as long a page as there can be."""
        bits = {name: 1 << at for at, name in enumerate(self.sources())} | {ANY: 0}
        wants = np.resize(np.array([bits[name] for name in self.pattern], dtype=np.uint64), limits.limit_max)
        for place, name in self.slots.items():
            wants[int(place) - 1] = bits[name]
        return wants

    def wanted(self, call: Call, kinds: np.ndarray, places: int) -> np.ndarray:
        """The bits that each place wants; a dynamic slot is one while candidates for it last."""
        wants = call.bound[:places]
        if not self.dynamic:
            return wants
        wants, first = wants.copy(), len(self.sources())
        for at, slot in enumerate(self.dynamic, first):
            left = int((kinds >> np.uint64(at) & np.uint64(1)).sum())
            for place in slot.places()[:left]:
                if place < places:
                    wants[place] = np.uint64(1 << at)
        return wants

    def select(self, call: Call, positions: np.ndarray, limit: int) -> np.ndarray:
        if self.by:
            positions = best_positions(call.numbers(self.by), call.block.key, positions, len(positions))
        kinds = np.zeros(len(positions), dtype=np.uint64)
        for at, name in enumerate(self.sources()):
            brought = ~np.isnan(call.column(f"{name}.score")[positions])
            kinds |= brought.astype(np.uint64) << np.uint64(at)
        for at, slot in enumerate(self.dynamic, len(self.sources())):
            good = call.numbers(slot.column)[positions] >= slot.least
            good &= ~np.isnan(call.column(f"{slot.source}.score")[positions])
            kinds |= good.astype(np.uint64) << np.uint64(at)
        wants = self.wanted(call, kinds, limit)
        order, other, _ = arrange(kinds, np.zeros(len(positions), dtype=bool), wants, 0)
        if other:
            call.say(f"{other} of another source")
        return positions[order]
