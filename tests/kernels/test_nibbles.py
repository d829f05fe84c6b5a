"""Int4 codes: exact sums on every path, and a second look at what they keep finds nearly all of the best."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import norms_of

from mixline.kernels.codes import choose_path
from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.isa import in_use, present
from mixline.kernels.scan import METRICS
from mixline.kernels.shortlist import Shortlist, scan_together
from mixline.storage.codes import BLOCK_ROWS, encode
from mixline.storage.nibbles import MOST, decode_nibbles, encode_nibbles, open_nibbles, write_nibbles
from mixline.storage.progress import Silence


def look(matrices, queries, k, metric, keep, **more):
    """The rows that each query keeps, in one pass; ``matrices`` are (float32 rows, their codes)."""
    matrix, nibbles = matrices
    shorts = [Shortlist(query, k, metric=metric, keep=keep, guess=False) for query in queries]
    scan_together(shorts, *nibbles, None, len(matrix), norms=norms_of(matrix), **more)
    return [short.rows() for short in shorts]


@given(seed=st.integers(0, 2**32), metric=st.sampled_from(sorted(METRICS)), many=st.integers(1, 5))
@settings(deadline=None, max_examples=60)
def test_all_paths_keep_the_same_rows_which_are_the_best_of_the_codes(seed, metric, many):
    rng = np.random.default_rng(seed)
    n, dim = int(rng.integers(1, 700)), int(rng.integers(1, 90))
    matrix = rng.standard_normal((n, dim), dtype=np.float32)
    queries = rng.standard_normal((many, dim), dtype=np.float32)
    k = int(rng.integers(1, 60))
    nibbles = encode_nibbles(matrix, metric)
    found = {}
    try:
        for isa in present():
            found[choose_path(isa)] = look((matrix, nibbles), queries, k, metric, 2 * k)
    finally:
        choose_path(in_use())
    for rows in found.values():
        assert all(np.array_equal(one, other) for one, other in zip(rows, found["portable"], strict=True))
    coded = decode_nibbles(nibbles, n, dim).astype(np.float64)
    for query, rows in zip(queries, found["portable"], strict=True):
        assert min(2 * k, n) <= len(rows) and len(set(rows.tolist())) == len(rows)
        told = coded @ query
        if metric == "l2":
            told = 2 * told - (matrix.astype(np.float64) ** 2).sum(axis=1)
        query_error = np.abs(query).max() / 127 * np.abs(coded).sum(axis=1).max() * 2
        left = np.setdiff1d(np.arange(n), rows)
        assert not len(left) or told[rows].min() >= told[left].max() - 2 * query_error


@pytest.mark.parametrize("metric", METRICS)
def test_a_second_look_at_four_times_as_many_finds_nearly_all(metric):
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((50, 48), dtype=np.float32)
    matrix = centres[rng.integers(0, 50, 20_000)] + 0.6 * rng.standard_normal((20_000, 48), dtype=np.float32)
    queries = centres[:8] + 0.6 * rng.standard_normal((8, 48), dtype=np.float32)
    scores = queries.astype(np.float64) @ matrix.T
    if metric == "cosine":
        scores /= np.linalg.norm(matrix, axis=1)
    elif metric == "l2":
        scores = 2 * scores - (matrix.astype(np.float64) ** 2).sum(axis=1)
    best = np.argsort(-scores, axis=1)[:, :50]
    kept = look((matrix, encode_nibbles(matrix, metric)), queries, 50, metric, 200)
    recall = np.mean([np.isin(truth, rows).mean() for truth, rows in zip(best, kept, strict=True)])
    assert recall >= 0.99


@given(seed=st.integers(0, 2**32), metric=st.sampled_from(sorted(METRICS)))
@settings(deadline=None, max_examples=40)
def test_codes_err_by_less_than_a_step(seed, metric):
    rng = np.random.default_rng(seed)
    n, dim = int(rng.integers(0, 50)), int(rng.integers(1, 40))
    matrix = (rng.standard_normal((n, dim)) * np.exp(4 * rng.standard_normal((n, 1)))).astype(np.float32)
    nibbles = encode_nibbles(matrix, metric)
    lengths = norms_of(matrix)[:, None] if metric == "cosine" else 1.0
    exact = matrix / np.where(lengths == 0, 1, lengths)
    step = np.abs(exact).max(axis=1, keepdims=True, initial=0) / MOST
    assert nibbles.codes.shape == (-(-n // BLOCK_ROWS), -(-dim // 8), BLOCK_ROWS, 4)
    left = np.abs(decode_nibbles(nibbles, n, dim) - exact)
    assert (left.max(axis=1, initial=0) <= 0.3 * MOST * step[:, 0] * 1.01).all()
    assert (np.square(left).sum(axis=1) <= dim * np.square(0.51 * step[:, 0]) + 1e-12).all()


def test_they_prove_nothing_and_must_fit():
    matrix = np.ones((40, 9), dtype=np.float32)
    nibbles, query = encode_nibbles(matrix, "dot"), np.ones(9, dtype=np.float32)
    with pytest.raises(KernelArgumentError, match="a shortlist needs keep="):
        scan_together([Shortlist(query, 3)], *nibbles, encode(matrix, "dot").bounds, 40)
    with pytest.raises(KernelArgumentError, match="do not fit a query of 17"):
        scan_together([Shortlist(np.ones(17, dtype=np.float32), 3, keep=5)], *nibbles, None, 40)
    short = Shortlist(query, 3, keep=5)
    scan_together([short], *nibbles, None, 40)
    assert not short.certified and len(short.rows()) == 5


def test_written_and_mapped(tmp_path):
    matrix = np.random.default_rng(0).standard_normal((100, 21), dtype=np.float32)
    np.save(tmp_path / "items.npy", matrix)
    assert open_nibbles(tmp_path, "items") is None
    write_nibbles(tmp_path, "items", "l2", Silence())
    mapped = open_nibbles(tmp_path, "items")
    for got, wanted in zip(mapped, encode_nibbles(matrix, "l2"), strict=True):
        assert np.array_equal(got, wanted) and got.dtype == wanted.dtype
