"""Greedy slates beside their twins on every instruction path, and beside the definitions they are taken from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import each_path

from mixline.kernels import diversity, reference_diversity
from mixline.kernels.diversity import Pool
from mixline.kernels.errors import KernelArgumentError

simd = each_path(diversity)


def candidates(rng, count, dim, kind="plain"):
    """(matrix, rows, norms, relevance): rows of a larger matrix, some without a vector, some alike, scores that tie."""
    matrix = rng.standard_normal((count + 5, dim), dtype=np.float32)
    if kind == "alike":
        matrix = matrix[rng.integers(0, 3, len(matrix))]
    if kind != "plain" and count:
        matrix[rng.integers(0, len(matrix), 3)] = np.nan
        matrix[rng.integers(0, len(matrix), 2)] = 0.0
    norms = np.sqrt((matrix * matrix).sum(axis=1)).astype(np.float32)
    rows = rng.permutation(len(matrix))[:count].astype(np.uint32)
    relevance = np.sort(rng.integers(0, 20, count) / 19).astype(np.float32)[::-1].copy()
    return matrix, rows, norms, relevance


def all_as_their_twins(matrix, rows, norms, relevance, k, window):
    vectors = reference_diversity.unit_rows(matrix, rows, norms)
    pool = Pool(matrix, rows, norms)
    assert pool.size == len(rows)
    assert pool.without == int((~vectors.any(axis=1)).sum())
    for trade in (0.0, 0.3, 1.0):
        assert pool.mmr(relevance, k, trade).tolist() == reference_diversity.mmr(vectors, relevance, k, trade)
    quality = np.exp(2 * relevance)
    order, diverse = pool.dpp(quality, k)
    assert (order.tolist(), diverse) == reference_diversity.dpp(vectors, quality, k)
    for least in (-1.0, 0.2, 0.999):
        assert pool.alike(least).tolist() == reference_diversity.alike(vectors, least)
    for gamma in (0.0, 0.4, 5.0):
        found = pool.ssd(relevance, k, gamma, window).tolist()
        assert found == reference_diversity.ssd(vectors, relevance, k, gamma, window)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(0, 80), st.integers(1, 40), st.integers(0, 90), st.integers(1, 12),
       st.sampled_from(["plain", "odd", "alike"]))  # fmt: skip
def test_slates_equal_their_twins(seed, count, dim, k, window, kind):
    all_as_their_twins(*candidates(np.random.default_rng(seed), count, dim, kind), k, window)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 129, 300])
@pytest.mark.parametrize("dim", [1, 16, 33, 64])
def test_every_path_and_size(simd, count, dim):
    rng = np.random.default_rng(100 * count + dim)
    all_as_their_twins(*candidates(rng, count, dim, "odd"), 40, 8)


def test_a_dpp_is_the_greatest_determinant_at_each_step():
    rng = np.random.default_rng(3)
    matrix, rows, norms, _ = candidates(rng, 40, 12)
    relevance = np.linspace(1, 0, 40, dtype=np.float32)
    vectors = reference_diversity.unit_rows(matrix, rows, norms).astype(np.float64)
    quality = np.exp(relevance)
    kernel = (quality[:, None] * quality) * (vectors @ vectors.T)
    taken = []
    for _ in range(10):
        left = [at for at in range(40) if at not in taken]
        taken.append(max(left, key=lambda at: np.linalg.slogdet(kernel[np.ix_([*taken, at], [*taken, at])])[1]))
    order, diverse = Pool(matrix, rows, norms).dpp(quality, 10)
    assert order.tolist() == taken and diverse == 10


def test_a_dpp_without_a_direction_left_goes_on_by_score():
    rng = np.random.default_rng(4)
    matrix, rows, norms, relevance = candidates(rng, 50, 6)
    order, diverse = Pool(matrix, rows, norms).dpp(np.exp(relevance), 20)
    assert diverse == 6
    assert order[6:].tolist() == [at for at in range(50) if at not in order[:6].tolist()][:14]


def test_an_ssd_window_is_the_volume_of_what_is_in_it():
    """With a window as wide as the slate the value is relevance plus gamma times the square root of Gram's
    determinant."""
    rng = np.random.default_rng(5)
    matrix, rows, norms, _ = candidates(rng, 40, 16)
    relevance = np.linspace(1, 0, 40, dtype=np.float32)
    vectors = reference_diversity.unit_rows(matrix, rows, norms).astype(np.float64)

    def value(taken):
        return relevance[taken[-1]] + 2.0 * np.sqrt(np.linalg.det(vectors[taken] @ vectors[taken].T))

    taken = []
    for _ in range(8):
        taken.append(max((at for at in range(40) if at not in taken), key=lambda at: value([*taken, at])))
    assert Pool(matrix, rows, norms).ssd(relevance, 8, 2.0, 100).tolist() == taken


def test_what_left_the_window_may_come_again():
    """Two directions in turn: with a window of 2 the next one is always of the other kind."""
    matrix = np.eye(2, dtype=np.float32)[np.arange(12) % 2]
    relevance = np.where(np.arange(12) % 2 == 0, 1.0, 0.5).astype(np.float32)
    pool = Pool(matrix, np.arange(12, dtype=np.uint32), np.ones(12, np.float32))
    kinds = (pool.ssd(relevance, 8, 10.0, 2) % 2).tolist()
    assert kinds == [0, 1] * 4
    assert (pool.ssd(relevance, 6, 0.0, 2) % 2).tolist() == [0] * 6


def test_what_does_not_fit_is_refused():
    matrix, norms = np.ones((4, 3), np.float32), np.ones(4, np.float32)
    rows, relevance = np.arange(3, dtype=np.uint32), np.ones(3, np.float32)
    with pytest.raises(KernelArgumentError, match="row 4"):
        Pool(matrix, np.array([0, 4], np.uint32), norms)
    with pytest.raises(KernelArgumentError, match="3 norms"):
        Pool(matrix, rows, norms[:3])
    pool = Pool(matrix, rows, norms)
    with pytest.raises(KernelArgumentError, match="relevance"):
        pool.mmr(relevance.astype(np.float64), 2, 0.5)
    with pytest.raises(KernelArgumentError, match="quality"):
        pool.dpp(relevance[:2], 2)
    with pytest.raises(KernelArgumentError, match="window"):
        pool.ssd(relevance, 2, 0.5, 0)
    with pytest.raises(KernelArgumentError, match="k = -1"):
        pool.mmr(relevance, -1, 0.5)
