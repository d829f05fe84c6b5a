"""Any model that was exported to ONNX, run by its own library in one thread."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mixline.node.components.base import Scorer
from mixline.node.components.scorers.features import feature_faults, feature_matrix, feature_misfits
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

ROWS = 256  # a run, between which the clock is looked at


class OnnxScorer(Scorer, frozen=True, kw_only=True):
    """A model in ONNX with one float32 input (rows, features), run by onnxruntime in one thread (extra `[onnx]`).

    - `model`: the file, from the surface file's folder.
    - `features`: the columns that go in, in their order, as for `mlp`.
    - `output`: the name of the output that is the score; left out, the last one. Of several numbers a row the last
      counts: of a classifier the probability of class 1.
    - `missing`: what a feature without a value is for the model.

    Bits may differ between machines, as the library's do. At the deadline the remaining candidates have no score.
    """

    files: ClassVar[tuple[str, ...]] = ("model",)
    model: str
    features: list[str]
    output: str = ""
    missing: float = 0.0

    def wrong(self) -> Iterator[str]:
        yield from Scorer.wrong(self)
        yield from feature_faults(self.features)
        if importlib.util.find_spec("onnxruntime") is None:
            yield "model: needs onnxruntime: pip install 'mixline[onnx]'"
            return
        try:
            session = load_session(self.model)
        except Exception as error:  # noqa: BLE001  # the library's own errors have no common base
            yield f"model: {self.model}: {error}"
            return
        given, outputs = session.get_inputs(), [one.name for one in session.get_outputs()]
        if len(given) != 1 or given[0].type != "tensor(float)" or len(given[0].shape) != 2:
            named = ", ".join(f"{one.name} {one.type} {one.shape}" for one in given)
            yield f"model: takes {named}; it must take one tensor(float) of (rows, features)"
        elif isinstance(width := given[0].shape[1], int) and width != len(self.features):
            yield f"features: {len(self.features)} for a model of {width}"
        if self.output and self.output not in outputs:
            yield f"output = {self.output!r}: the model has {', '.join(outputs)}"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        return feature_misfits(epoch, self.features)

    def reads(self) -> set[str]:
        return set(self.features)

    def bind(self, epoch: Epoch) -> Any:
        return load_session(self.model)

    def score(self, call: Call) -> np.ndarray:
        session = call.bound
        features = feature_matrix(call, self.features, self.missing)
        name, wanted = session.get_inputs()[0].name, self.output or session.get_outputs()[-1].name
        scores = np.full(len(features), np.nan, dtype=np.float32)
        for start, stop in call.slices(len(features), ROWS):
            found = np.asarray(session.run([wanted], {name: features[start:stop]})[0])
            scores[start:stop] = found.reshape(stop - start, -1)[:, -1]
        return scores


def load_session(path: str) -> Any:
    """A session for this version of a file, one in a process."""
    facts = Path(path).stat()
    return open_session(path, (facts.st_size, facts.st_ino, facts.st_mtime_ns))


@lru_cache(maxsize=8)
def open_session(path: str, version: tuple[int, int, int]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
