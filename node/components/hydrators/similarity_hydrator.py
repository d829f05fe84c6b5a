"""How near each candidate is to what the user did lately."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.scan import score_rows
from mixline.node.components.base import Hydrator
from mixline.node.components.vectors import item_space, no_item_space, space_misfits
from mixline.node.session import Recent, session_weights
from mixline.storage.epoch import Epoch
from mixline.storage.spaces import Space

if TYPE_CHECKING:
    from mixline.node.call import Call

MEASURES = ("last", "most", "mean")


class SimilarityHydrator(Hydrator, frozen=True, kw_only=True):
    """Columns `<name>.last`, `<name>.most` and `<name>.mean`: the cosine (float32) with the item that the user acted on
    last, the greatest with one of the newest `recent.items`, and their mean.

    - `space`: whose item vectors are compared; left out, the first of the store with some.
    - `recent`: which items are recent, as for `nearest`; an action whose weight is 0 leaves an item out, other weights
      and the half-life make no difference here.

    Missing for a user without such items, and for a candidate without a vector.
    """

    space: str = ""
    recent: Recent = Recent(items=5)

    def wrong(self) -> Iterator[str]:
        yield from Hydrator.wrong(self)
        yield from self.recent.faults()

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        return space_misfits(epoch, self.space, "item")

    def disabled(self, epoch: Epoch) -> str:
        return no_item_space(epoch, self.space)

    def bind(self, epoch: Epoch) -> Space:
        return item_space(epoch, self.space)

    def writes(self) -> set[str]:
        return {f"{self.name}.{measure}" for measure in MEASURES}

    def hydrate(self, call: Call) -> None:
        block, space = call.block, call.bound
        last, most, mean = (np.full(len(block), np.nan, dtype=np.float32) for _ in MEASURES)
        for group, (start, stop) in enumerate(pairwise(block.edges(call.groups))):
            rows, weights = session_weights(call, group, self.recent)
            vectors = space.all_items[rows[weights > 0]]
            vectors = vectors[~np.isnan(vectors[:, 0])]
            if not len(vectors) or start == stop:
                continue
            here, total = slice(start, stop), np.zeros(stop - start)
            for at, vector in enumerate(vectors):
                if at and call.stopped():
                    call.degraded.append(f"deadline after {at} of {len(vectors)} recent items")
                    vectors = vectors[:at]
                    break
                near = score_rows(space.all_items, vector, block.row[here], metric="cosine", norms=space.all_norms)
                if at == 0:
                    last[here] = most[here] = near
                most[here] = np.maximum(most[here], near)
                total += near
            mean[here] = total / len(vectors)
        found = {"last": last, "most": most, "mean": mean}
        block.columns |= {f"{self.name}.{measure}": column for measure, column in found.items()}
