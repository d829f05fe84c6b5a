"""What completes the words typed so far: titles, and past queries, by popularity, forgiving one slip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mixline.kernels.bitmap import holds_rows
from mixline.node import limits
from mixline.node.block import Candidates
from mixline.node.components.base import Source
from mixline.node.errors import BadRequest
from mixline.node.late_texts import LateTitles
from mixline.storage.completions import QUERY, Completions
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

SPARE = 4  # times as many are looked at as are wanted: some may be gone, or filtered
WIDER = 16  # times as many again where too few are left


class SuggestSource(Source, frozen=True, kw_only=True):
    """Completions of the request's `query`: items whose title has a word from which on it begins so.

    - `limit`: completions, the most popular first; behind those that begin exactly so come those that would but for
      one slip, and items that came since the build.

    The reply has `suggestions`: `text`, and for an item its `id`; past queries (`[text] queries` of the build) stand
    among them by their share of the most asked one. The score of an item is its share of the greatest popularity, less
    1 for a slip.
    """

    limit: int = 10

    def disabled(self, epoch: Epoch) -> str:
        return "" if epoch.completions is not None else "the store was built without a column that completes"

    def bind(self, epoch: Epoch) -> tuple[Completions, LateTitles, str]:
        text, completions = epoch.manifest.text, epoch.completions
        assert text is not None and completions is not None
        return completions, LateTitles(epoch, text.suggest), text.suggest

    def retrieve(self, call: Call, group: int) -> Candidates:
        completions, late, column = call.bound
        typed = call.ask.query or ""
        if len(typed) > limits.query_chars_max:
            raise BadRequest(f"query: {len(typed):,} characters; at most {limits.query_chars_max:,}")
        allowed = call.allowed(group)
        chosen: list[tuple[int, float]] = []
        for many in (SPARE * self.limit, SPARE * WIDER * self.limit):
            found = completions.best(typed[: limits.typed_chars_max], many) if typed.strip() else []
            rows = np.array([one.text if one.text < QUERY else 0 for one in found], dtype=np.uint32)
            keep = np.ones(len(rows), dtype=bool) if allowed is None else holds_rows(allowed, rows)
            chosen = [(one.text, one.weight - one.slips) for one, may in zip(found, keep, strict=True)
                      if may or one.text >= QUERY][: self.limit]  # fmt: skip
            if len(chosen) == self.limit or len(found) < many or call.stopped():
                break
        if call.view is not None and len(chosen) < self.limit and typed.strip():
            chosen += [(row, -1.0) for row in late.best(call.view, typed, allowed, self.limit - len(chosen))]
        self._tell(call, completions, column, chosen, group)
        items = [one for one in chosen if one[0] < QUERY]
        return Candidates(
            np.array([row for row, _ in items], dtype=np.uint32), np.array([one for _, one in items], dtype=np.float32)
        )

    def _tell(self, call: Call, completions: Completions, column: str, chosen: list, group: int) -> None:
        """The texts as the reply has them."""
        items = call.epoch.items
        told: list[dict[str, Any]] = []
        for text, _ in chosen[: call.ask.limit]:
            if text >= QUERY:
                told.append({"text": completions.queries.raw(text - QUERY).decode()})
            else:
                row = np.array([text], dtype=np.uint32)
                told.append({"text": items.records(row, [column])[column][0], "id": items.id_of(text)})
        if not group:
            call.told["suggestions"] = told
