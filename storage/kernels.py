"""The compiled kernels that a build calls, handed in by whoever starts it: ``storage/`` may not import ``kernels/``."""

from __future__ import annotations

from typing import NamedTuple

from mixline.storage.calibration import Exact
from mixline.storage.clusters import Assign
from mixline.storage.cooccurrence import Accumulate
from mixline.storage.graph_index import Link, Walk
from mixline.storage.ivf import MakeSearch


class BuildKernels(NamedTuple):
    """``accumulate``: the sparse product behind neighbours; ``exact``: the scan that indexes are measured against;
    ``assign``: the nearest centroid of each row; ``list_search``: makes searches of inverted lists;
    ``link``: makes a graph of coded rows; ``walk``: searches it.
    """

    accumulate: Accumulate
    exact: Exact
    assign: Assign
    list_search: MakeSearch
    link: Link
    walk: Walk
