"""How well each candidate's texts match the query, field by field: features for a ranker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.node.components.base import Hydrator
from mixline.node.text_search import TextSearch
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


class TextMatchHydrator(Hydrator, frozen=True, kw_only=True):
    """BM25 of the request's `query` in single fields, as columns `<name>.<field>`, whoever brought a candidate.

    - `fields`: searchable text columns. 0 where no word of the query is there, and for every field without a query;
      missing for items that came since the build.
    """

    fields: list[str]

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        for name in self.fields if epoch.text is not None else ():
            if name not in epoch.text.names:  # type: ignore[union-attr]
                yield f"fields: no searchable column {name!r}; there are {', '.join(epoch.text.names)}"  # type: ignore[union-attr]

    def disabled(self, epoch: Epoch) -> str:
        return "" if epoch.text is not None else "the store was built without text columns"

    def writes(self) -> set[str]:
        return {f"{self.name}.{name}" for name in self.fields}

    def bind(self, epoch: Epoch) -> list[TextSearch]:
        return [TextSearch(epoch, [name], [1.0], fuzzy=False) for name in self.fields]

    def hydrate(self, call: Call) -> None:
        block, count = call.block, call.epoch.items.count
        rows, back = np.unique(block.row, return_inverse=True)
        built = rows[rows < count]
        for name, search in zip(self.fields, call.bound, strict=True):
            found = np.full(len(rows), np.nan, dtype=np.float32)
            found[: len(built)] = search.worth(search.terms(call), built) if call.ask.query else 0.0
            block.columns[f"{self.name}.{name}"] = found[back]
