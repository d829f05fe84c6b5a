"""Late filters: checks too heavy for every candidate, made of those alone that would be on the page.

What one of them drops makes room, and the selectors choose again out of what is left: the reserve comes up in their own
order, so that caps and spacing hold. At the deadline a page has what was checked by then.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from mixline.node.block import DROPPED, LIVE
from mixline.node.page import Coverage

if TYPE_CHECKING:
    from mixline.node.call import Call
    from mixline.node.pipeline import Step

Choose = Callable[[], Generator[None, None, list[np.ndarray]]]
Guard = Callable[..., None]


def backfilled(call: Call, late: list[Step], choose: Choose, guard: Guard) -> Generator[None, None, list[np.ndarray]]:
    """The slates of all groups once every late filter has passed what is on them."""
    entries = [step.entry() for step in late]
    passed = np.zeros(len(call.block), dtype=bool)
    rounds = 0
    while True:
        slates = yield from choose()
        fresh = np.concatenate(slates) if slates else np.zeros(0, dtype=np.int64)
        fresh = fresh[~passed[fresh]]
        for step, entry in zip(late, entries, strict=True):
            if len(fresh) and not step.why:
                spent_us = entry.us
                guard(call, step, entry, check, fresh)
                entry.us += spent_us
                fresh = fresh[call.block.fate[fresh] == LIVE]
                yield
        passed[fresh] = True
        rounds += 1
        kept = [slate[passed[slate]] for slate in slates]
        if sum(map(len, kept)) == sum(map(len, slates)):
            break
        if call.stopped():
            for entry in entries:
                entry.state, entry.why = "degraded", f"deadline after {rounds} rounds of checks; the page may be short"
            break
    for entry in entries:
        if rounds > 1:
            entry.how = f"backfilled in {rounds - 1} rounds"
    call.coverage.extend(entries)
    return kept


def check(call: Call, step: Step, entry: Coverage, positions: np.ndarray) -> None:
    """Let one filter look at some candidates."""
    component: Any = step.component
    dropped = np.asarray(component.drops_among(call, positions))
    if dropped.shape != positions.shape:
        raise ValueError(f"drops_among has shape {dropped.shape} for {len(positions)} candidates")
    gone = positions[dropped.astype(bool)]
    call.block.fate[gone] = DROPPED + step.at
    entry.taken += len(positions) - len(gone)
    entry.left += len(gone)
