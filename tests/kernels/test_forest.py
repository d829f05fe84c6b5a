"""Sums of trees beside their twin, on every instruction path: thresholds, missing values, categories, all sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import each_path

from mixline.kernels import forest, reference_forest
from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.forest import Forest
from mixline.kernels.forest_layout import MISSING_LEFT, MISSING_RIGHT, Trees

simd = each_path(forest)
FEATURES = 5


def grown(rng, leaves):
    """Links of a random tree of ``leaves`` leaves, nodes numbered in the order in which they were split."""
    left, right, open_ends = [], [], [(None, 0)]
    for node in range(leaves - 1):
        parent, side = open_ends.pop(int(rng.integers(len(open_ends))))
        if parent is not None:
            (left, right)[side][parent] = node
        left.append(None)
        right.append(None)
        open_ends += [(node, 0), (node, 1)]
    for leaf, at in enumerate(rng.permutation(len(open_ends)).tolist()):
        parent, side = open_ends[at]
        if parent is not None:
            (left, right)[side][parent] = ~leaf
    return left, right


def random_trees(rng, sizes, *, single=False, categorical=0.2, distinct=40):
    """A forest over FEATURES features, the last of which is categorical."""
    links = [grown(rng, size) for size in sizes]
    nodes = np.cumsum([0, *(size - 1 for size in sizes)])
    count = int(nodes[-1])
    belongs = rng.random(count) < categorical
    parts = [np.unique(rng.integers(0, 70, rng.integers(1, 9))) for _ in range(int(belongs.sum()))]
    members = np.full(count, -1, dtype=np.int32)
    members[belongs] = np.arange(len(parts))
    threshold = rng.integers(-distinct, distinct, count) / 8
    return Trees(
        features=FEATURES,
        nodes=nodes,
        leaves=np.cumsum([0, *sizes]),
        feature=np.where(belongs, FEATURES - 1, rng.integers(0, FEATURES - 1, count)).astype(np.int32),
        threshold=threshold,
        left=np.array([at for left, _ in links for at in left], dtype=np.int32),
        right=np.array([at for _, right in links for at in right], dtype=np.int32),
        missing=np.where(belongs, rng.choice([MISSING_LEFT, MISSING_RIGHT], count), rng.integers(0, 5, count)).astype(
            np.uint8
        ),
        members=members,
        sets=np.cumsum([0, *map(len, parts)]),
        categories=np.concatenate([np.zeros(0, np.int64), *parts]),
        values=rng.standard_normal(sum(sizes)),
        single=single,
    )


def random_columns(rng, rows, dtype=np.float64, distinct=40):
    """Values on the thresholds, between them, far away, zero, nearly zero and missing."""
    odd = np.array([np.nan, 0.0, -0.0, 1e-36, -1e-36, 1e300, -1e300, np.inf, -np.inf, -1.0, -0.5, 2.7])
    columns = []
    for at in range(FEATURES):
        column = rng.integers(-2 * distinct, 2 * distinct, rows) / 16
        column = np.abs(np.floor(column * 16)) % 80 if at == FEATURES - 1 else column
        place = rng.random(rows) < 0.25
        column[place] = rng.choice(odd, int(place.sum()))
        with np.errstate(over="ignore"):
            columns.append(column.astype(dtype))
    return columns


@settings(deadline=None)
@given(
    st.integers(0, 2**32), st.lists(st.integers(1, 20), min_size=1, max_size=9), st.booleans(), st.sampled_from("fd")
)
def test_sums_equal_their_twin(seed, sizes, single, dtype):
    rng = np.random.default_rng(seed)
    trees = random_trees(rng, sizes, single=single)
    columns = random_columns(rng, int(rng.integers(0, 90)), dtype)
    found = Forest(trees).predict(columns, 0.25)
    assert found.dtype == np.float64
    assert found.tobytes() == reference_forest.predict(trees, columns, 0.25).tobytes()


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 129, 200, 255, 256, 257, 600])
def test_every_path_and_length(simd, rows):
    rng = np.random.default_rng(rows)
    trees = random_trees(rng, [64, 1, 2, 256, 31, 64, 9], single=rows % 2 == 0)
    columns = random_columns(rng, rows)
    assert Forest(trees).predict(columns).tobytes() == reference_forest.predict(trees, columns).tobytes(), simd


@pytest.mark.parametrize("single", [False, True])
def test_more_leaves_and_thresholds_than_a_byte_counts(simd, single):
    rng = np.random.default_rng(4)
    trees = random_trees(rng, [256, 257, 3, 900, 12, 5, 5, 5, 1], single=single, categorical=0.05, distinct=3000)
    assert all(len(np.unique(trees.threshold[trees.feature == at])) > 255 for at in range(FEATURES - 1))
    columns = random_columns(rng, 300, distinct=3000)
    assert Forest(trees).predict(columns).tobytes() == reference_forest.predict(trees, columns).tobytes(), simd


def test_columns_of_any_layout_and_type():
    rng = np.random.default_rng(1)
    trees = random_trees(rng, [8, 8])
    columns = [
        np.arange(20)[::2],
        np.arange(10, dtype=np.int16),
        np.ones(10, bool),
        np.zeros(10, np.float16),
        np.ones(10),
    ]
    assert Forest(trees).predict(columns).tolist() == reference_forest.predict(trees, columns).tolist()


def test_what_does_not_fit_is_refused():
    trees = random_trees(np.random.default_rng(2), [8, 8], categorical=0.0)
    model = Forest(trees)
    with pytest.raises(KernelArgumentError, match="4 columns for a forest of 5"):
        model.predict([np.zeros(3)] * 4)
    with pytest.raises(KernelArgumentError, match="column 4"):
        model.predict([*([np.zeros(3)] * 4), np.zeros(2)])
    with pytest.raises(KernelArgumentError, match="column 1"):
        model.predict([np.zeros(2), *([np.zeros((2, 2))] * 4)])
    for change, words in (
        ({"left": np.zeros(14, np.int32)}, "tree 0"),  # a node under itself
        ({"right": np.full(14, 99, np.int32)}, "tree 0"),
        ({"right": np.full(14, ~99, np.int32)}, "tree 0"),
        ({"nodes": np.array([0, 7, 15])}, "nodes"),
        ({"leaves": np.array([0, 17, 16])}, "leaves"),
        ({"feature": np.full(14, 5, np.int32)}, "feature 5"),
        ({"threshold": np.full(14, np.nan)}, "NaN"),
        ({"threshold": np.zeros(3)}, "threshold has 3"),
        ({"missing": np.full(14, 5, np.uint8)}, "missing"),
        ({"members": np.zeros(14, np.int32)}, "set 0 of 0"),
    ):
        with pytest.raises(KernelArgumentError, match=words):
            Forest(trees._replace(**change))
