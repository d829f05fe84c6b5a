"""The compiled kernels that a build calls, handed in by whoever starts it: ``storage/`` may not import ``kernels/``."""

from __future__ import annotations

from typing import NamedTuple

from mixline.storage.calibration import Exact
from mixline.storage.cooccurrence import Accumulate


class BuildKernels(NamedTuple):
    """``accumulate``: the sparse product behind neighbours; ``exact``: the scan that indexes are measured against."""

    accumulate: Accumulate
    exact: Exact
