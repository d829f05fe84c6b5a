"""Parts of the page that kinds of candidates have a right to, or may not exceed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.slate import best_positions
from mixline.node.components.base import Selector, not_numbers
from mixline.node.predicate import has_label
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

KINDS_MAX = 64


class QuotaSelector(Selector, frozen=True, kw_only=True):
    """Walks the order and takes who is next, as long as every kind gets its least and none more than its most.

    - `column`: the category or tags column whose labels are the kinds; left out, the kinds are sources, by name.
    - `least`, `most`: kind to a number of places, or below 1 the part of the page: `least = { fresh = 0.2 }`, `most = {
      Horror = 3 }`. Of a part `least` is rounded up, `most` down.
    - `by`: the score to order by; left out, the order in which the selector before it left them.

    A candidate counts for every kind that it is of. A `least` that is not met once only so many places are left goes
    before the order. Where nothing of the kind is left that may be taken it is given up; then, where nobody else is
    left, each `most`, from the last of the file to the first. The coverage says what was given up. What is not taken
    stays in reserve. Which candidates are taken is decided so; they keep their order.
    """

    column: str = ""
    least: dict[str, float] = {}
    most: dict[str, float] = {}
    by: str = ""

    def wrong(self) -> Iterator[str]:
        yield from Selector.wrong(self)
        if not self.least and not self.most:
            yield "least, most: name at least one kind"
        if len(self.kinds()) > KINDS_MAX:
            yield f"least, most: {len(self.kinds())} kinds; at most {KINDS_MAX}"
        for key in ("least", "most"):
            for kind, places in getattr(self, key).items():
                if not (0 <= places < 1 or (places >= 1 and places == int(places))):
                    yield f"{key}: {kind} = {places}: a number of places, or a part of the page from 0 to 1"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        columns = epoch.items.columns
        if self.column and (self.column not in columns or columns.kind_of(self.column) not in ("category", "tags")):
            found = [name for name in columns if columns.kind_of(name) in ("category", "tags")]
            yield f"column = {self.column!r}: the category and tags columns are {', '.join(found) or 'none'}"
        yield from not_numbers(epoch, "by", [self.by])

    def kinds(self) -> list[str]:
        """All that are named."""
        return list(dict.fromkeys([*self.least, *self.most]))

    def reads(self) -> set[str]:
        named = set() if self.column else {f"{name}.score" for name in self.kinds()}
        return named | ({self.by} if self.by else set())

    def select(self, call: Call, positions: np.ndarray, limit: int) -> np.ndarray:
        if self.by:
            positions = best_positions(call.numbers(self.by), call.block.key, positions, len(positions))
        kinds = self.kinds()
        of = [np.flatnonzero(flags).tolist() for flags in self.members(call, positions, kinds)]
        owners: list[list[int]] = [[] for _ in range(len(positions))]
        for kind, places in enumerate(of):
            for place in places:
                owners[place].append(kind)
        count = min(limit, len(positions))
        least = [places_of(self.least.get(kind, 0.0), limit, up=True) for kind in kinds]
        most = [places_of(self.most[kind], limit, up=False) if kind in self.most else limit for kind in kinds]
        order, short, over = fill(owners, least, most, count)
        for told, word in ((short, "fewer"), (over, "more")):
            for kind, many in told.items():
                call.say(f"{many} {word} of {kinds[kind]}")
        return positions[np.array(order, dtype=np.int64)]

    def members(self, call: Call, positions: np.ndarray, kinds: list[str]) -> list[np.ndarray]:
        """For each kind which positions are of it."""
        if not self.column:
            return [~np.isnan(call.column(f"{name}.score")[positions]) for name in kinds]
        return [has_label(call, self.column, [name])[positions] for name in kinds]


def places_of(quota: float, page: int, *, up: bool) -> int:
    """A quota in places of a page."""
    if quota >= 1:
        return int(quota)
    share = quota * page
    return -int(-share // 1) if up else int(share)


def fill(
    owners: Sequence[Sequence[int]], least: Sequence[int], most: Sequence[int], count: int
) -> tuple[list[int], dict[int, int], dict[int, int]]:
    """The ``count`` that are taken out of candidates in order, candidate i being of the kinds ``owners[i]``; how many
    fewer than ``least`` and how many more than ``most`` of each kind there are.

    One walk after the other, each less strict, until there are enough: with room kept for what is due; without; and
    then with one `most` after the other given up, from the last to the first.
    """
    waiting = [sum(kind in some for some in owners) for kind in range(len(least))]
    due = [min(wanted, limit, there) for wanted, limit, there in zip(least, most, waiting, strict=True)]
    taken, got = [False] * len(owners), [0] * len(least)
    order: list[int] = []

    def owed(after: Sequence[int] = ()) -> int:
        """Places that what is due takes at most, once a candidate of the kinds ``after`` has its place."""
        return sum(max(0, wanted - got[kind] - (kind in after)) for kind, wanted in enumerate(due))

    lifted = [False] * len(least)
    for walk, lift in enumerate([None, None, *reversed(range(len(least)))]):
        if lift is not None:
            lifted[lift] = True
        for at, kinds in enumerate(owners):
            if len(order) == count:
                break
            if taken[at] or any(got[kind] >= most[kind] and not lifted[kind] for kind in kinds):
                continue
            helps = any(got[kind] < due[kind] for kind in kinds)
            if walk == 0 and not helps and count - len(order) <= owed(kinds):
                continue
            taken[at] = True
            order.append(at)
            for kind in kinds:
                got[kind] += 1
    short = {kind: wanted - got[kind] for kind, wanted in enumerate(least) if got[kind] < wanted}
    over = {kind: got[kind] - limit for kind, limit in enumerate(most) if got[kind] > limit}
    return sorted(order), short, over
