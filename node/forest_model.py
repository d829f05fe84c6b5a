"""A ranking model of trees as read from its library's own file: what its sum is made of, and what its output is.

A file is read once in a process, and again when it is another (its size, inode or time has changed).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.forest import Forest
from mixline.kernels.forest_layout import Trees


class ForestError(ValueError):
    """A model file that cannot be read, or does what is not supported."""


class Model(NamedTuple):
    """``output = link(slope * (start + sum of leaves) * scale)``; ``link`` is empty where it is not known.

    ``labels``: for features that were categories with names when the model was trained, the name of each number.
    """

    library: str
    names: list[str]
    trees: Trees
    start: float
    scale: float
    link: str
    slope: float
    labels: dict[int, list[object]]


class Loaded(NamedTuple):
    """A model and its trees laid out."""

    model: Model
    forest: Forest

    def output(self, columns: list[np.ndarray], raw: bool) -> np.ndarray:
        """Float64 by row: the library's ``predict``, or the sum before the link."""
        model = self.model
        sums = self.forest.predict(columns, model.start)
        if model.scale != 1.0:
            sums *= model.scale
        return sums if raw else linked(sums, model.link, model.slope)


def linked(sums: np.ndarray, link: str, slope: float) -> np.ndarray:
    """The link applied; the sums themselves for ``identity``."""
    with np.errstate(over="ignore"):  # exp of what is large is infinite, as in the library
        if link == "sigmoid":
            return 1.0 / (1.0 + np.exp(-slope * sums))
        if link == "exp":
            return np.exp(sums)
        if link == "softplus":
            return np.log1p(np.exp(sums))
    return np.sign(sums) * sums * sums if link == "squared" else sums


def joined(features: int, trees: list[Trees], single: bool) -> Trees:
    """Trees of one each, as a forest."""
    if not trees:
        raise ForestError("the model has no trees")
    ends = np.cumsum([0, *(len(one.sets) - 1 for one in trees)])
    starts = np.cumsum([0, *(len(one.categories) for one in trees)])

    def every(name: str) -> np.ndarray:
        return np.concatenate([getattr(one, name) for one in trees])

    members = [np.where(one.members < 0, -1, one.members + end) for one, end in zip(trees, ends, strict=False)]
    sets = [one.sets[1:] + start for one, start in zip(trees, starts, strict=False)]
    return Trees(
        features=features,
        nodes=np.cumsum([0, *(len(one.feature) for one in trees)]),
        leaves=np.cumsum([0, *(len(one.values) for one in trees)]),
        feature=every("feature"),
        threshold=every("threshold"),
        left=every("left"),
        right=every("right"),
        missing=every("missing"),
        members=np.concatenate(members).astype(np.int32),
        sets=np.concatenate([np.zeros(1, np.int64), *sets]),
        categories=every("categories"),
        values=every("values"),
        single=single,
    )


def load_model(path: str) -> Loaded:
    """The model in a file; :class:`ForestError` names the file and what is wrong with it."""
    try:
        facts = Path(path).stat()
        return read_model(path, (facts.st_size, facts.st_ino, facts.st_mtime_ns))
    except (OSError, UnicodeDecodeError) as error:
        raise ForestError(f"{path}: {error}") from None
    except (ForestError, KernelArgumentError) as error:
        raise ForestError(f"{path}: {error}") from None


@lru_cache(maxsize=16)
def read_model(path: str, version: tuple[int, int, int]) -> Loaded:
    """The model in this version of the file."""
    from mixline.node.forest_lightgbm import read_lightgbm
    from mixline.node.forest_xgboost import read_xgboost

    start = Path(path).read_bytes()
    if start[:5] == b"tree\n" or start[:6] == b"tree\r\n":
        model = read_lightgbm(start.decode())
    elif start.lstrip()[:1] == b"{" and start.lstrip()[1:2] in b'"\n\r\t ':
        model = read_xgboost(start)
    else:
        raise ForestError('neither a text file of LightGBM nor JSON of XGBoost (save_model("model.json"))')
    return Loaded(model, Forest(model.trees))


def sized(values: Any, count: int, name: str) -> np.ndarray:
    """``values`` as an array of ``count`` entries."""
    found = np.asarray(values)
    if found.shape != (count,):
        raise ForestError(f"{name} has {found.shape} entries, not {count}")
    return found
