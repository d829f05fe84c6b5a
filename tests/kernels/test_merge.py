"""Merging what sources brought, beside its twin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixline.kernels import reference
from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.merge import merge_parts


@st.composite
def brought(draw):
    """Parts of several sources and groups over a store of any size; rows come in any order, and more than once."""
    count = draw(st.sampled_from([1, 30, 255, 257, 70_000, 1 << 17]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sources, parts = draw(st.integers(1, 64)), []
    for source in draw(st.lists(st.integers(0, sources - 1), unique=True, max_size=5)):
        for group in draw(st.lists(st.sampled_from([0, 1, 2, 300, 2**32 - 1]), unique=True, max_size=3)):
            rows = rng.integers(0, count, draw(st.integers(0, 60))).astype(np.uint32)
            parts.append((source, group, rows, rng.standard_normal(len(rows)).astype(np.float32)))
    return parts, sources, np.arange(count, dtype=np.uint64) * 7


@given(brought())
@settings(deadline=None)
def test_merge_equals_its_twin(given):
    for found, wanted in zip(merge_parts(*given), reference.merge_parts(*given), strict=True):
        assert found.dtype == wanted.dtype and found.shape == wanted.shape
        assert found.tobytes() == wanted.tobytes()


def test_the_order_of_sources_does_not_matter():
    rng = np.random.default_rng(4)
    parts = [
        (source, group, rng.permutation(50)[:20].astype(np.uint32), rng.random(20, dtype=np.float32))
        for source in range(4)
        for group in range(3)
    ]
    keys = np.arange(50, dtype=np.uint64)
    for one, other in zip(merge_parts(parts, 4, keys), merge_parts(parts[::-1], 4, keys), strict=True):
        assert one.tobytes() == other.tobytes()


def test_merge_refuses_what_does_not_fit():
    rows, scores, keys = np.array([1, 2], np.uint32), np.ones(2, np.float32), np.arange(3, dtype=np.uint64)
    for part, why in (
        ((0, 0, rows + np.uint32(1), scores), "rows below 3"),
        ((0, 0, rows.astype(np.int64), scores), "uint32"),
        ((0, 0, rows, scores[:1]), "scores"),
        ((0, 0, rows, scores.astype(np.float64)), "scores"),
        ((0, 0, rows[::-1], scores), "part 0"),
        ((2, 0, rows, scores), "source 2 of 2"),
        ((0, 1 << 32, rows, scores), "group"),
    ):
        with pytest.raises(KernelArgumentError, match=why):
            merge_parts([part], 2, keys)
    with pytest.raises(KernelArgumentError, match="64"):
        merge_parts([], 65, keys)
    with pytest.raises(KernelArgumentError, match="keys"):
        merge_parts([], 1, keys.astype(np.int64))
