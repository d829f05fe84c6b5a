"""The exact scan against its NumPy twin: same rows and same bits, however it is sliced, masked or compiled."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import each_path

from mixline.kernels import reference
from mixline.kernels import scan as scan_kernel
from mixline.kernels.bitmap import all_rows, clear_rows, holds_rows
from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.scan import METRICS, scan, score_rows
from mixline.kernels.topk import TopK

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, -3e38, 1e-40], dtype=np.float32)

simd = each_path(scan_kernel)


@st.composite
def problems(draw):
    """A matrix with ties and special values, a query, keys, a mask, a metric and a k."""
    n, dim = draw(st.integers(1, 700)), draw(st.integers(1, 131))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    matrix = rng.standard_normal((n, dim)).astype(np.float32)
    if draw(st.booleans()):
        matrix = np.round(matrix)
    matrix[rng.random(n) < draw(st.sampled_from([0.0, 0.3]))] = matrix[0]
    if draw(st.booleans()):
        matrix[rng.integers(0, n, 5), rng.integers(0, dim, 5)] = rng.choice(SPECIAL, 5)
    keys = rng.permutation(n).astype(np.uint64) + np.uint64(draw(st.sampled_from([0, 2**63])))
    mask = rng.random(n) < draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))
    query = rng.standard_normal(dim).astype(np.float32)
    return matrix, query, keys, mask, draw(st.sampled_from(sorted(METRICS))), draw(st.integers(0, n + 5))


def norms_of(matrix):
    with np.errstate(all="ignore"):
        return np.sqrt(reference.lane_sum(matrix * matrix))


def words_of(mask):
    words = all_rows(len(mask))
    clear_rows(words, np.flatnonzero(~mask).astype(np.uint32))
    assert np.array_equal(holds_rows(words, np.arange(len(mask), dtype=np.uint32)), mask)
    return words


def run(matrix, query, keys, k, metric, *, allowed=None, cuts=()):
    heap = TopK(k)
    edges = [0, *sorted(cuts), len(matrix)]
    for start, stop in itertools.pairwise(edges):
        scan(matrix, query, heap, keys, metric=metric, norms=norms_of(matrix), allowed=allowed, start=start, stop=stop)
    return heap.result()


def assert_same(got, wanted):
    assert np.array_equal(got[0], wanted[0])
    assert np.array_equal(got[1].view(np.uint32), wanted[1].view(np.uint32))


@given(problem=problems())
@settings(deadline=None, max_examples=60)
@pytest.mark.usefixtures("simd")
def test_scan_equals_its_twin(problem):
    matrix, query, keys, mask, metric, k = problem
    wanted = reference.scan(matrix, query, k, keys, metric, norms_of(matrix), mask)
    assert_same(run(matrix, query, keys, k, metric, allowed=words_of(mask)), wanted)


@given(problem=problems(), data=st.data())
@settings(deadline=None, max_examples=40)
def test_chunk_size_agnosticism(problem, data):
    matrix, query, keys, _, metric, k = problem
    cuts = data.draw(st.lists(st.integers(0, len(matrix)), max_size=6))
    assert_same(run(matrix, query, keys, k, metric, cuts=cuts), run(matrix, query, keys, k, metric))


@given(problem=problems(), parts=st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_merge_of_parts_is_the_whole(problem, parts):
    matrix, query, keys, _, metric, k = problem
    whole = TopK(k)
    edges = np.linspace(0, len(matrix), parts + 1).astype(int)
    for start, stop in reversed(list(itertools.pairwise(edges))):
        part = TopK(k)
        scan(matrix, query, part, keys, metric=metric, norms=norms_of(matrix), start=int(start), stop=int(stop))
        whole.merge(part)
    assert_same(whole.result(), run(matrix, query, keys, k, metric))


@given(problem=problems(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_row_place_agnosticism(problem, seed):
    matrix, query, keys, _, metric, k = problem
    order = np.random.default_rng(seed).permutation(len(matrix))
    moved = run(np.ascontiguousarray(matrix[order]), query, keys[order], k, metric)
    here = run(matrix, query, keys, k, metric)
    assert np.array_equal(keys[order][moved[0]], keys[here[0]])
    assert np.array_equal(moved[1].view(np.uint32), here[1].view(np.uint32))


@given(problem=problems())
@settings(deadline=None, max_examples=40)
def test_score_rows_gives_the_bits_of_the_scan(problem):
    matrix, query, keys, _, metric, k = problem
    rows, scores = run(matrix, query, keys, k, metric)
    again = score_rows(matrix, query, rows, metric=metric, norms=norms_of(matrix))
    assert np.array_equal(reference.sunk(again).view(np.uint32), scores.view(np.uint32))


def test_memmap_backed_rows(tmp_path):
    matrix = np.random.default_rng(1).standard_normal((300, 40)).astype(np.float32)
    np.save(tmp_path / "rows.npy", matrix)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    keys = np.arange(300, dtype=np.uint64)
    assert_same(run(mapped, matrix[7], keys, 10, "l2"), run(matrix, matrix[7], keys, 10, "l2"))
    assert run(mapped, matrix[7], keys, 1, "l2")[0].tolist() == [7]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"query": np.zeros(3, np.float32)}, "3 dimensions"),
        ({"keys": np.zeros(3, np.uint64)}, "order keys"),
        ({"metric": "hamming"}, "hamming"),
        ({"metric": "cosine", "norms": None}, "norms"),
        ({"allowed": np.zeros(1, np.uint64)}, "bitmap"),
        ({"start": 5, "stop": 4}, "outside"),
        ({"stop": 101}, "outside"),
        ({"start": -1}, "outside"),
    ],
)
def test_misfits_are_refused_at_the_door(change, said):
    arguments = {
        "matrix": np.zeros((100, 8), np.float32),
        "query": np.zeros(8, np.float32),
        "heap": TopK(3),
        "keys": np.zeros(100, np.uint64),
    } | change
    with pytest.raises(KernelArgumentError, match=said):
        scan(**arguments)
    with pytest.raises(KernelArgumentError, match="row 100"):
        score_rows(np.zeros((100, 8), np.float32), np.zeros(8, np.float32), np.array([1, 100], np.uint32))


def test_environment_forces_the_path_and_refuses_an_unknown_one():
    script = "from mixline.kernels import codes, isa, scan; print(isa.in_use(), codes.path(), scan.path())"
    environment = os.environ | {"MIXLINE_ISA": "portable"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["portable"] * 3
    environment["MIXLINE_ISA"] = "mmx"
    refused = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert refused.returncode != 0 and "MIXLINE_ISA='mmx'" in refused.stderr
