"""The order of results and the bounded heap that keeps it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixline.kernels import reference
from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.topk import TopK, top_positions

SCORES = st.sampled_from([0.0, -0.0, 1.0, 1.5, -2.0, float("nan"), float("inf"), float("-inf"), 3e38])


@given(scores=st.lists(SCORES, max_size=80), k=st.integers(0, 90), seed=st.integers(0, 99))
@settings(deadline=None)
def test_heap_equals_its_twin_in_any_order_of_offering(scores, k, seed):
    rng = np.random.default_rng(seed)
    values = np.array(scores, dtype=np.float32)
    rows = np.arange(len(values), dtype=np.uint32)
    keys = rng.permutation(len(values)).astype(np.uint64)
    wanted = reference.top_k(values, rows, keys, k)
    for order in (rows, rng.permutation(rows), rows[::-1]):
        heap = TopK(k)
        taken = np.ascontiguousarray(order)
        heap.offer(values[taken], taken, keys[taken])
        got = heap.result()
        assert np.array_equal(got[0], wanted[0])
        assert np.array_equal(got[1], wanted[1])
    assert np.array_equal(top_positions(values, keys, k), wanted[0])


def test_equal_keys_fall_back_to_the_row():
    heap = TopK(2)
    heap.offer(np.ones(4, np.float32), np.array([9, 3, 7, 1], np.uint32), np.zeros(4, np.uint64))
    assert heap.result()[0].tolist() == [1, 3]


def test_a_heap_merged_with_itself_is_unchanged():
    heap = TopK(4)
    heap.offer(np.array([1, 2], np.float32), np.array([0, 1], np.uint32), np.array([0, 1], np.uint64))
    heap.merge(heap)
    assert len(heap) == 2


def test_bad_arguments_are_refused():
    with pytest.raises(KernelArgumentError, match="k is -1"):
        TopK(-1)
    with pytest.raises(KernelArgumentError, match="one of each"):
        TopK(1).offer(np.zeros(2, np.float32), np.zeros(1, np.uint32), np.zeros(2, np.uint64))
    with pytest.raises(KernelArgumentError, match="one key per score"):
        top_positions(np.zeros(2, np.float32), np.zeros(1, np.uint64), 1)
    with pytest.raises(ValueError, match="dtype"):
        top_positions(np.zeros(2, np.float64), np.zeros(2, np.uint64), 1)
