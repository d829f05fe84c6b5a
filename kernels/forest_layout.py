"""What a forest is, as flat arrays, and how its thresholds and categories become columns of one byte a row.

``x <= threshold`` holds exactly when no more of the thresholds that a feature is ever compared with lie below x than
below that threshold. So a feature's value is replaced by how many lie below it, and a split compares two bytes; more
than 255 thresholds make a further column. Where the missing go is part of a column, and a set of categories is a column
of its own, so that a split is always the same comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mixline.kernels.errors import KernelArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISSING_IS_ZERO, ZERO_LEFT, ZERO_RIGHT, MISSING_LEFT, MISSING_RIGHT = range(5)
MEMBERS = 5  # the kind of a column that says whether a category is in a set
BOUNDS_MAX = 255
CATEGORY_MAX = 1 << 24


class Trees(NamedTuple):
    """A forest as its file has it: tree t has the nodes ``nodes[t] .. nodes[t + 1]`` and likewise ``leaves``.

    By node: ``feature`` int32; ``left`` and ``right`` int32, a node of the same tree counted from its first, or ~leaf;
    ``missing`` uint8, one of the above: NaN is taken for 0, zero and NaN go left or right, NaN goes left or right;
    ``members`` int32, the set of categories that go left (fractions are cut off; all others go right), or -1 where ``x
    <= threshold`` (float64) goes left. Set s is ``categories[sets[s] : sets[s + 1]]``. ``values`` float64 by leaf.
    ``single``: features are rounded to float32 and leaves are added in float32, otherwise in float64.
    """

    features: int
    nodes: NDArray[np.int64]
    leaves: NDArray[np.int64]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    missing: NDArray[np.uint8]
    members: NDArray[np.int32]
    sets: NDArray[np.int64]
    categories: NDArray[np.int64]
    values: NDArray[np.float64]
    single: bool


class Layout(NamedTuple):
    """Columns of codes, sorted by feature: ``feature`` int32; ``kind`` uint8; ``first`` int64 and ``size`` int32 say
    where its ``bounds`` (float64, ascending) or ``words`` (uint32 bitmaps over a feature's categories) lie. By node:
    ``column`` and ``bound``: codes above it turn right.

    Category v of feature f is number ``numbers[places[f] + v]``, for v below ``places[f + 1] - places[f] - 1``; the
    last entry is the number of all others, and one more than it that of the missing.
    """

    feature: NDArray[np.int32]
    kind: NDArray[np.uint8]
    first: NDArray[np.int64]
    size: NDArray[np.int32]
    bounds: NDArray[np.float64]
    words: NDArray[np.uint32]
    places: NDArray[np.int64]
    numbers: NDArray[np.uint32]
    column: NDArray[np.uint32]
    bound: NDArray[np.uint32]


class Builder:
    """Columns as they are made."""

    def __init__(self, trees: Trees) -> None:
        count = len(trees.feature)
        self.trees = trees
        self.columns: list[tuple[int, int, int, int]] = []
        self.bounds: list[NDArray[np.float64]] = []
        self.words: list[NDArray[np.uint32]] = []
        self.numbers: list[NDArray[np.uint32]] = []
        self.bounds_end = self.words_end = 0
        self.column = np.zeros(count, dtype=np.uint32)
        self.bound = np.zeros(count, dtype=np.uint32)

    def compare(self, feature: int, missing: int, nodes: NDArray[np.int64]) -> None:
        """Columns for nodes that compare one feature with thresholds and send what is missing the same way."""
        thresholds = np.unique(self.trees.threshold[nodes])
        rank = np.searchsorted(thresholds, self.trees.threshold[nodes])
        self.column[nodes] = len(self.columns) + rank // BOUNDS_MAX
        self.bound[nodes] = rank % BOUNDS_MAX
        for start in range(0, len(thresholds), BOUNDS_MAX):
            part = thresholds[start : start + BOUNDS_MAX]
            self.columns.append((feature, missing, self.bounds_end, len(part)))
            self.bounds.append(part)
            self.bounds_end += len(part)

    def belong(self, feature: int, nodes: NDArray[np.int64]) -> None:
        """A column for each different set of categories of one feature."""
        trees = self.trees
        sets = {int(s): trees.categories[trees.sets[s] : trees.sets[s + 1]] for s in trees.members[nodes]}
        known = np.unique(np.concatenate(list(sets.values())))
        if len(known) and not 0 <= known[0] <= known[-1] < CATEGORY_MAX:
            ends = f"{known[0]} .. {known[-1]}"
            raise KernelArgumentError(f"feature {feature}: categories lie in 0 .. {CATEGORY_MAX - 1}, not {ends}")
        numbers = np.full(int(known[-1]) + 2 if len(known) else 1, len(known), dtype=np.uint32)
        numbers[known] = np.arange(len(known))
        self.numbers.append(numbers)
        made: dict[bytes, int] = {}
        for node in nodes.tolist():
            bits = np.zeros(-(-(len(known) + 2) // 32) * 32, dtype=np.uint8)
            bits[np.searchsorted(known, sets[int(trees.members[node])])] = 1
            bits[len(known) + 1] = trees.missing[node] == MISSING_LEFT
            words = np.packbits(bits, bitorder="little").view("<u4")
            at = made.setdefault(words.tobytes(), len(self.columns))
            if at == len(self.columns):
                self.columns.append((feature, MEMBERS, self.words_end, len(words)))
                self.words.append(words)
                self.words_end += len(words)
            self.column[node] = at


def lay_out(trees: Trees) -> Layout:
    """The columns of ``trees``; :class:`KernelArgumentError` for values that are none."""
    feature, missing, members = trees.feature, trees.missing, trees.members
    if len(feature) and not 0 <= feature.min() <= feature.max() < trees.features:
        raise KernelArgumentError(f"a split on feature {feature.max()} (from 0) of {trees.features}")
    if np.isnan(trees.threshold[members < 0]).any():
        raise KernelArgumentError("a threshold is NaN")
    if len(missing) and missing.max() > MISSING_RIGHT:
        raise KernelArgumentError(f"missing = {missing.max()}: 0 to {MISSING_RIGHT} are ways to go")
    if len(members) and members.max() >= len(trees.sets) - 1:
        raise KernelArgumentError(f"set {members.max()} of {len(trees.sets) - 1}")
    built = Builder(trees)
    places = [0]
    order = np.argsort(feature, kind="stable")
    edges = np.searchsorted(feature[order], np.arange(trees.features + 1))
    for at in range(trees.features):
        nodes = order[edges[at] : edges[at + 1]]
        plain = nodes[members[nodes] < 0]
        for way in np.unique(missing[plain]).tolist():
            built.compare(at, way, plain[missing[plain] == way])
        if len(plain) < len(nodes):
            built.belong(at, nodes[members[nodes] >= 0])
            places.append(places[-1] + len(built.numbers[-1]))
        else:
            places.append(places[-1])
    table = np.array(built.columns, dtype=np.int64).reshape(-1, 4)
    return Layout(
        feature=table[:, 0].astype(np.int32),
        kind=table[:, 1].astype(np.uint8),
        first=table[:, 2].copy(),
        size=table[:, 3].astype(np.int32),
        bounds=np.concatenate([np.zeros(0), *built.bounds]),
        words=np.concatenate([np.zeros(0, np.uint32), *built.words]),
        places=np.array(places, dtype=np.int64),
        numbers=np.concatenate([np.zeros(0, np.uint32), *built.numbers]),
        column=built.column,
        bound=built.bound,
    )
