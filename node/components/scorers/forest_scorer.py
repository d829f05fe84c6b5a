"""A ranking model of decision trees, out of the file that its library wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np

from mixline.kernels.gather import gather
from mixline.node.components.base import Scorer
from mixline.node.forest_model import ForestError, Loaded, Model, load_model
from mixline.storage.columns import Column
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

BLOCK_ROWS = 256
SLICE_WORK = 1 << 25  # nodes times rows: about a millisecond


class Bound(NamedTuple):
    """The model, and by feature the column it reads (empty where no split looks at it) and what its codes stand for."""

    loaded: Loaded
    columns: list[str]
    tables: dict[int, np.ndarray]


class ForestScorer(Scorer, frozen=True, kw_only=True):
    """A LightGBM or XGBoost model, in the library's own leaves: within 1e-6 of its `predict` on every row.

    - `model`: the file, from the surface file's folder: LightGBM's text (`save_model`) or XGBoost's JSON
      (`save_model("model.json")`; gbtree and dart). One output: multiclass models and linear trees are refused.
    - `features`: the model's name of a feature to the column it is read from, where they differ. Every feature that a
      split looks at needs a column: an item column, a source's score, what a hydrator or an earlier scorer writes.
    - `output`: `"predict"`, the library's output (a probability of a binary model), or `"raw"`, the sum of leaves.

    Missing values, zeros as missing and categorical splits go as in the library. Of a category column the model gets
    the number that the label had when it was trained from a data frame, else the label read as a whole number; labels
    that it does not know are missing. At the deadline the remaining candidates have no score.
    """

    files: ClassVar[tuple[str, ...]] = ("model",)
    model: str
    features: dict[str, str] = {}
    output: Literal["predict", "raw"] = "predict"

    def wrong(self) -> Iterator[str]:
        yield from Scorer.wrong(self)
        try:
            model = load_model(self.model).model
        except ForestError as error:
            yield f"model: {error}"
            return
        for name in self.features:
            if name not in model.names:
                yield f"features: the model has no feature {name!r}; it has {', '.join(model.names)}"
        if self.output == "predict" and not model.link:
            yield f'output: what {model.library} makes of this objective is not known here; use output = "raw"'

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        model = load_model(self.model).model
        for at, name in self.used(model).items():
            column = epoch.items.columns.get(name)
            if column is None:
                continue
            if column.kind == "tags":
                yield f"model: feature {model.names[at]!r} is column {name!r}, which holds lists of tags, not numbers"
            elif column.kind == "category":
                try:
                    numbers_of(column, model.labels.get(at))
                except ValueError as error:
                    yield f"model: feature {model.names[at]!r} is column {name!r}: {error}"

    def used(self, model: Model) -> dict[int, str]:
        """The column of each feature that a split looks at."""
        return {
            at: self.features.get(model.names[at], model.names[at]) for at in np.unique(model.trees.feature).tolist()
        }

    def reads(self) -> set[str]:
        return set(self.used(load_model(self.model).model).values())

    def bind(self, epoch: Epoch) -> Bound:
        loaded = load_model(self.model)
        used = self.used(loaded.model)
        stored = {at: epoch.items.columns[name] for at, name in used.items() if name in epoch.items.columns}
        return Bound(
            loaded,
            [used.get(at, "") for at in range(len(loaded.model.names))],
            {
                at: numbers_of(column, loaded.model.labels.get(at))
                for at, column in stored.items()
                if column.kind == "category"
            },
        )

    def way(self, bound: Bound) -> str:
        return f"{bound.loaded.forest.trees} trees of {bound.loaded.model.library}, {bound.loaded.forest.nodes} splits"

    def score(self, call: Call) -> np.ndarray:
        bound, block = call.bound, call.block
        count = len(block)
        absent = [name for name in dict.fromkeys(bound.columns) if name and name not in block.columns]
        if absent:
            stored = [call.epoch.items.columns[name].values for name in absent]
            block.columns.update(zip(absent, gather(stored, block.row), strict=True))
        unread = np.zeros(count, dtype=np.float32)
        columns = [
            values_of(call, name, bound.tables.get(at)) if name else unread for at, name in enumerate(bound.columns)
        ]
        scores = np.full(count, np.nan, dtype=np.float32)
        many = max(SLICE_WORK // max(bound.loaded.forest.nodes, 1) // BLOCK_ROWS, 1) * BLOCK_ROWS
        for start, stop in call.slices(count, many):
            part = [column[start:stop] for column in columns]
            scores[start:stop] = bound.loaded.output(part, self.output == "raw")
        return scores


def values_of(call: Call, name: str, table: np.ndarray | None) -> np.ndarray:
    """A feature's values; of a category what its codes stand for, by a table whose last entry is that of all others."""
    if table is None:
        return call.numbers(name)
    return table[np.minimum(call.column(name), len(table) - 1)]


def numbers_of(column: Column, labels: list[object] | None) -> np.ndarray:
    """The model's number (float64) of each code of a category column, and NaN for the codes that are none."""
    if labels:
        known = {str(label): float(at) for at, label in enumerate(labels)}
        found = [known.get(label, np.nan) for label in column.labels]
    else:
        wrong = next((label for label in column.labels if not label.strip().lstrip("-").isdecimal()), None)
        if wrong is not None:
            raise ValueError(
                f"label {wrong!r} is no whole number, and the model does not keep the names of its categories; "
                "train it from a data frame with a categorical column, or number the categories"
            )
        found = [float(label) for label in column.labels]
    return np.array([*found, np.nan])
