"""Gather, bitmaps and sparse accumulation against their NumPy twins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixline.kernels import reference
from mixline.kernels.accumulate import Scratch, accumulate
from mixline.kernels.bitmap import all_rows, clear_rows, holds_rows
from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.gather import gather

DTYPES = ("f4", "i8", "u1", "u4", "f8", "?")


@given(n=st.integers(1, 500), count=st.integers(0, 300), seed=st.integers(0, 2**32))
@settings(deadline=None)
def test_gather_equals_its_twin(n, count, seed):
    rng = np.random.default_rng(seed)
    columns = [rng.integers(0, 256, n * np.dtype(d).itemsize, dtype=np.uint8) for d in DTYPES]
    columns = [(c & 1).view("?") if d == "?" else c.view(d) for c, d in zip(columns, DTYPES, strict=True)]
    rows = rng.integers(0, n, count).astype(np.uint32)
    for got, wanted in zip(gather(columns, rows), reference.gather(columns, rows), strict=True):
        assert got.dtype == wanted.dtype
        assert got.tobytes() == wanted.tobytes()


@given(n=st.integers(1, 90), width=st.integers(1, 20), seed=st.integers(0, 99))
@settings(deadline=None)
def test_interleaved_columns_read_like_separate_ones(n, width, seed):
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((n, width)).astype(np.float32)
    rows = rng.integers(0, n, 40).astype(np.uint32)
    got = gather([table[:, at] for at in range(width)] + [table[::-1, 0]], rows)
    assert np.array_equal(np.stack(got[:-1]), table[rows].T)
    assert np.array_equal(got[-1], table[::-1, 0][rows])


def test_gather_refuses_what_does_not_fit():
    rows = np.array([0, 5], np.uint32)
    with pytest.raises(KernelArgumentError, match="row 5 lies outside a column of 5"):
        gather([np.zeros(9, np.float32), np.zeros(5, np.float32)], rows)
    with pytest.raises(KernelArgumentError, match="one-dimensional"):
        gather([np.zeros((20, 2), np.float32)], rows)
    with pytest.raises(KernelArgumentError, match="2-byte cells"):
        gather([np.zeros(9, np.int16)], rows)
    with pytest.raises(KernelArgumentError, match="uint32"):
        gather([], rows.astype(np.int64))
    assert gather([], rows) == []


def test_what_was_gathered_may_be_written_and_outlives_its_neighbours():
    columns = [np.arange(9).astype(dtype) for dtype in ("u1", "f4", "M8[s]", "?")]
    first, second, third, _ = gather(columns, np.array([1, 2, 3], np.uint32))
    del columns
    first[:] = 255
    assert second.tolist() == [1, 2, 3]
    assert third.tolist() == np.arange(1, 4).astype("M8[s]").tolist()
    assert gather([np.zeros(3, np.float32)], np.zeros(0, np.uint32))[0].shape == (0,)


@given(n=st.integers(1, 200), data=st.data())
@settings(deadline=None)
def test_accumulate_equals_its_twin(n, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    degrees = rng.integers(0, data.draw(st.sampled_from([3, 40])), n)
    indptr = np.concatenate([[0], np.cumsum(degrees)]).astype(np.int64)
    width = data.draw(st.sampled_from([n, 2**32 - 1]))
    indices = rng.integers(0, width, indptr[-1], dtype=np.uint32)
    weights = rng.standard_normal(indptr[-1]).astype(np.float32) if data.draw(st.booleans()) else None
    scratch = Scratch()
    for _ in range(2):  # the second call must not see the first
        seeds = rng.integers(0, n, data.draw(st.integers(0, 60))).astype(np.uint32)
        seed_weights = rng.standard_normal(len(seeds)).astype(np.float32)
        rows, sums = accumulate(indptr, indices, weights, seeds, seed_weights, scratch)
        wanted = reference.accumulate(indptr, indices, weights, seeds, seed_weights)
        assert rows.tolist() == list(wanted)
        assert sums.tolist() == [float(total) for total in wanted.values()]


def test_accumulate_is_co_occurrence():
    """A row of A^T A: how many users have both items."""
    likes = np.random.default_rng(3).random((60, 25)) < 0.2
    user_indptr = np.concatenate([[0], np.cumsum(likes.sum(1))]).astype(np.int64)
    user_items = np.nonzero(likes)[1].astype(np.uint32)
    for item in range(25):
        fans = np.flatnonzero(likes[:, item]).astype(np.uint32)
        rows, sums = accumulate(user_indptr, user_items, None, fans, np.ones(len(fans), np.float32), Scratch())
        counts = np.zeros(25)
        counts[rows] = sums
        assert np.array_equal(counts, (likes.T.astype(int) @ likes)[item])


def test_accumulate_refuses_what_does_not_fit():
    indptr, indices = np.array([0, 2], np.int64), np.array([0, 1], np.uint32)
    one, weight = np.array([0], np.uint32), np.ones(1, np.float32)
    with pytest.raises(KernelArgumentError, match="seed row 1"):
        accumulate(indptr, indices, None, np.array([1], np.uint32), weight, Scratch())
    with pytest.raises(KernelArgumentError, match="seed weights"):
        accumulate(indptr, indices, None, one, np.ones(2, np.float32), Scratch())
    with pytest.raises(KernelArgumentError, match="1 weights for 2"):
        accumulate(indptr, indices, weight, one, weight, Scratch())
    with pytest.raises(KernelArgumentError, match="does not lie within"):
        accumulate(np.array([0, 9], np.int64), indices, None, one, weight, Scratch())


@given(count=st.integers(0, 300), seed=st.integers(0, 99))
@settings(deadline=None)
def test_bitmaps_hold_exactly_their_rows(count, seed):
    words = all_rows(count)
    assert np.unpackbits(words.view(np.uint8)).sum() == count
    cleared = np.random.default_rng(seed).integers(0, count, count // 3).astype(np.uint32) if count else []
    cleared = np.array(cleared, dtype=np.uint32)
    clear_rows(words, cleared)
    every = np.arange(count, dtype=np.uint32)
    assert np.array_equal(holds_rows(words, every), ~np.isin(every, cleared))
    with pytest.raises(KernelArgumentError, match="outside a bitmap"):
        clear_rows(words, np.array([len(words) * 64], np.uint32))
