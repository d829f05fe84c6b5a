"""A small network of dense layers, out of the file that it was trained into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from mixline.node.components.base import Scorer
from mixline.node.components.scorers.calibration_scorer import logistic
from mixline.node.components.scorers.features import feature_faults, feature_matrix, feature_misfits
from mixline.node.network_model import Network, NetworkError, load_network
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

SLICE_WORK = 1 << 22  # weights times rows: about a millisecond
ROWS_MIN = 16


class MlpScorer(Scorer, frozen=True, kw_only=True):
    """Dense layers with ReLU between them, `relu(x W1 + b1) W2 + b2 ..`; the last gives the score.

    - `model`: the file, from the surface file's folder: `.npz` or `.safetensors`, with arrays `NAME.weight` and
      `NAME.bias` (or `kernel`; `w1`, `b1`) for each layer, in the natural order of their names. Float16 to float64.
    - `features`: the columns that go in, in the order of the first layer: item columns of numbers, source scores, what
      a hydrator or an earlier scorer writes.
    - `layout`: `"out_in"`, weights are (outputs, inputs) as PyTorch keeps them, or `"in_out"`, as Keras and NumPy do.
    - `output`: `"raw"`, or `"sigmoid"` for a probability.
    - `missing`: what a feature without a value is for the network. Scale features where they are made.

    Sums are taken in float32 in one order, alike on every machine. At the deadline the remaining candidates have no
    score.
    """

    files: ClassVar[tuple[str, ...]] = ("model",)
    model: str
    features: list[str]
    layout: Literal["out_in", "in_out"] = "out_in"
    output: Literal["raw", "sigmoid"] = "raw"
    missing: float = 0.0

    def network(self) -> Network:
        return load_network(self.model, self.layout == "out_in")

    def wrong(self) -> Iterator[str]:
        yield from Scorer.wrong(self)
        yield from feature_faults(self.features)
        try:
            network = self.network()
        except NetworkError as error:
            yield f"model: {error}"
            return
        if network.inputs != len(self.features):
            yield f"features: {len(self.features)} for a first layer of {network.inputs} inputs"
        if network.outputs != 1:
            yield f"model: the last layer gives {network.outputs} numbers, not one score"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        return feature_misfits(epoch, self.features)

    def reads(self) -> set[str]:
        return set(self.features)

    def bind(self, epoch: Epoch) -> Network:
        return self.network()

    def way(self, bound: Network) -> str:
        return " x ".join(str(width) for width in [bound.inputs, *(layer.outputs for layer in bound.layers)])

    def score(self, call: Call) -> np.ndarray:
        network = call.bound
        features = feature_matrix(call, self.features, self.missing)
        weights = sum(layer.inputs * layer.outputs for layer in network.layers)
        scores = np.full(len(features), np.nan, dtype=np.float32)
        for start, stop in call.slices(len(features), max(SLICE_WORK // max(weights, 1), ROWS_MIN)):
            rows = features[start:stop]
            for at, layer in enumerate(network.layers, 1):
                rows = layer.apply(rows, rectify=at < len(network.layers))
            scores[start:stop] = rows[:, 0]
        if self.output == "sigmoid":
            scores[:] = [logistic(one) for one in scores.tolist()]
        return scores
