"""What happens to positions of a block, each step beside its twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixline.kernels import reference
from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.slate import best_positions, drop, live_positions, settle

scores_of_all = st.lists(
    st.one_of(st.floats(width=32), st.sampled_from([0.0, -0.0, 1.0, float("inf"), float("nan"), 1e300])), max_size=80
)
fates = st.lists(st.integers(0, 3), max_size=60).map(lambda found: np.array(found, dtype=np.uint8))


@given(scores_of_all, st.sampled_from(["f4", "f8"]), st.integers(0, 90), st.data())
def test_best_positions_equal_their_twin(scores, dtype, k, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    with np.errstate(over="ignore"):
        column = np.array(scores).astype(dtype)
    keys = rng.permutation(len(column)).astype(np.uint64)
    positions = rng.permutation(len(column))[: data.draw(st.integers(0, len(column)))]
    found = best_positions(column, keys, positions, k)
    assert found.dtype == np.int64
    assert found.tolist() == reference.best_positions(column, keys, positions, k).tolist()


@pytest.mark.parametrize("count", [17, 500, 5000])
@pytest.mark.parametrize("distinct", [1, 2, 10, 10**6])
def test_best_positions_of_many_equal_scores(count, distinct):
    rng = np.random.default_rng(count + distinct)
    scores = (rng.integers(0, distinct, count) - distinct // 2).astype(np.float32)
    for column in (scores, np.sort(scores), np.sort(scores)[::-1].copy(), -np.abs(scores)):
        keys, positions = rng.permutation(count).astype(np.uint64), np.arange(count)
        for k in (1, 16, 50, count - 1):
            found = best_positions(column, keys, positions, k).tolist()
            assert found == reference.best_positions(column, keys, positions, k).tolist()


def test_ties_are_broken_by_key_and_equal_keys_by_place():
    ones, keys = np.ones(500, np.float32), np.arange(500, dtype=np.uint64)[::-1].copy()
    assert best_positions(ones, keys, np.arange(500), 3).tolist() == [499, 498, 497]
    assert best_positions(ones, np.zeros(500, np.uint64), np.arange(500)[::-1], 3).tolist() == [499, 498, 497]


def test_best_positions_take_columns_of_any_type():
    scores, keys = np.array([3, 1, 2], np.int16), np.arange(3, dtype=np.uint64)
    assert best_positions(scores, keys, np.array([0, 1, 2], np.uint32), 2).tolist() == [0, 2]
    assert best_positions(scores.astype(np.float16), keys, [0, 1, 2], 9).tolist() == [0, 2, 1]


def test_best_positions_refuse_what_does_not_fit():
    scores, keys = np.zeros(3, np.float32), np.zeros(3, np.uint64)
    for position in (3, -1, 2**40):
        with pytest.raises(KernelArgumentError, match="outside a block of 3"):
            best_positions(scores, keys, np.array([0, position]), 1)
    with pytest.raises(KernelArgumentError, match="one of each"):
        best_positions(scores[:2], keys, np.array([0]), 1)
    with pytest.raises(KernelArgumentError, match="keys"):
        best_positions(scores, keys.astype(np.int64), np.array([0]), 1)
    with pytest.raises(KernelArgumentError, match="best -1"):
        best_positions(scores, keys, np.array([0]), -1)


@given(fates, st.data())
def test_drop_and_settle_equal_their_twins(fate, data):
    dropped = np.array(data.draw(st.lists(st.booleans(), min_size=len(fate), max_size=len(fate))), dtype=bool)
    one, other = fate.copy(), fate.copy()
    assert live_positions(fate, 0).tolist() == np.flatnonzero(fate == 0).tolist()
    assert drop(one, dropped, 0, 17) == reference.drop(other, dropped, 0, 17)
    assert one.tolist() == other.tolist()
    slate = live_positions(one, 0)[::-2].copy()
    settle(one, slate, 0, 2, 1)
    reference.settle(other, slate, 0, 2, 1)
    assert one.tolist() == other.tolist()


def test_positions_outside_are_refused():
    fate = np.zeros(4, np.uint8)
    with pytest.raises(KernelArgumentError, match="position 4"):
        settle(fate, np.array([0, 4]), 0, 2, 1)
    with pytest.raises(KernelArgumentError, match="dropped"):
        drop(fate, np.zeros(3, bool), 0, 16)
    with pytest.raises(KernelArgumentError, match="fate"):
        live_positions(fate.astype(np.int64), 0)
