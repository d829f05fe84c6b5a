"""The columns that a model reads, as one matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixline.node.components.base import not_numbers
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call


def feature_matrix(call: Call, names: Sequence[str], missing: float) -> np.ndarray:
    """Features (n, len(names)) float32, C-contiguous, ``missing`` where there is no finite value."""
    found = np.empty((len(call.block), len(names)), dtype=np.float32)
    for at, name in enumerate(names):
        found[:, at] = call.numbers(name)
    found[~np.isfinite(found)] = missing
    return found


def feature_faults(names: Sequence[str]) -> Iterator[str]:
    """What is wrong with a list of features."""
    if not names:
        yield "features: name the columns that the model reads, in its order"


def feature_misfits(epoch: Epoch, names: Sequence[str]) -> Iterator[str]:
    """Those that are no numbers in this store."""
    return not_numbers(epoch, "features", names)
