"""Inverted lists: which centroid a row goes to, which lists a query goes over, and what it finds in them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import each_path
from rows import norms_of, words_of

from mixline.kernels import codes, reference, reference_ivf
from mixline.kernels.cluster import assign
from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.ivf import ListSearch
from mixline.kernels.scan import METRICS
from mixline.storage.clusters import coded, directions
from mixline.storage.codes import encode
from mixline.storage.frames import PLAIN, Frame, signs_for
from mixline.storage.ivf import ABSENT, NO_SPREADS, Lists

simd = each_path(codes)


def make_lists(matrix, found, centroids, metric, center=0.0, signs=PLAIN.signs, spreads=NO_SPREADS):
    """Lists in memory, row by row."""
    frame = Frame(PLAIN.center, signs)
    center = np.full(matrix.shape[1] if metric == "l2" else 0, center, dtype=np.float32)
    if metric == "l2":
        matrix = matrix - center
    starts, rows = [0], []
    for one in range(len(centroids)):
        here = np.flatnonzero(found == one)
        rows += [*here, *[ABSENT] * (-len(here) % 16)]
        starts.append(len(rows) // 16)
    rows = np.array(rows, dtype=np.uint32)
    some = rows != ABSENT
    placed = np.zeros((len(rows), matrix.shape[1]), dtype=np.float32)
    placed[some] = matrix[rows[some]]
    codes, middle = encode(placed, metric, frame), encode(centroids, metric, frame)
    norms = np.full(len(rows) if metric == "l2" else 0, np.inf, dtype=np.float32)
    if metric == "l2":
        norms[some] = norms_of(matrix)[rows[some]]
    starts = np.array(starts, dtype=np.uint32)
    codes, middle = (codes.codes, codes.scales), (middle.codes, middle.scales, norms_of(centroids))
    return Lists(*middle, starts, *codes, rows, norms, center, signs, found.astype(np.uint32), spreads)


def searcher_of(lists, matrix, keys, metric):
    return ListSearch(*lists, matrix=matrix, keys=keys, matrix_norms=norms_of(matrix), metric=metric)


@st.composite
def problems(draw):
    """Rows in any lists (some empty), a query, keys, a mask and a metric."""
    n, dim, many = draw(st.integers(1, 400)), draw(st.integers(1, 70)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    matrix = rng.standard_normal((n, dim)).astype(np.float32)
    shape = draw(st.sampled_from(["plain", "equal", "rounded", "long and short", "with zeros"]))
    if shape == "equal":
        matrix[:] = matrix[0]
    elif shape == "rounded":
        matrix = np.round(matrix)
    elif shape == "long and short":
        matrix *= np.exp(2 * rng.standard_normal((n, 1))).astype(np.float32)
    elif shape == "with zeros":
        matrix[rng.random(n) < 0.3] = 0.0
    centroids = rng.standard_normal((many, dim)).astype(np.float32)
    metric = draw(st.sampled_from(sorted(METRICS)))
    centroids = directions(centroids) if metric == "cosine" else centroids
    query = (rng.standard_normal(dim) * draw(st.sampled_from([1.0, 0.0, 100.0]))).astype(np.float32)
    mask = rng.random(n) < draw(st.sampled_from([0.02, 0.5, 1.0]))
    lists = make_lists(matrix, rng.integers(0, many, n), centroids, metric, draw(st.sampled_from([0.0, -3.0, 50.0])))
    if metric == "dot" and draw(st.booleans()):
        lists = lists._replace(spreads=rng.exponential(size=many).astype(np.float32))
    return matrix, rng.permutation(n).astype(np.uint64), lists, query, mask, metric


@given(problem=problems(), k=st.integers(1, 450), width=st.integers(1, 45), step=st.integers(1, 10))
@settings(deadline=None, max_examples=150)
@pytest.mark.usefixtures("simd")
def test_the_best_of_the_nearest_lists(problem, k, width, step):
    """With all of their rows kept, the result is a float32 scan of the lists, in one go or in steps."""
    matrix, keys, lists, query, mask, metric = problem
    norms = norms_of(matrix)
    chosen = reference_ivf.nearest_lists(*lists[:3], lists.center, query, metric, width, lists.spreads)
    met = reference_ivf.rows_of(chosen, lists.starts, lists.rows)
    wanted = reference.scan(matrix, query, k, keys, metric, norms, mask & np.isin(np.arange(len(matrix)), met))
    searcher, keep = searcher_of(lists, matrix, keys, metric), max(k, len(matrix))
    got = searcher.search(query, k, width, keep=keep, allowed=words_of(mask))
    assert np.array_equal(got[0], wanted[0])
    assert np.array_equal(got[1].view(np.uint32), wanted[1].view(np.uint32))
    assert searcher.scored == 16 * sum(int(lists.starts[one + 1]) - int(lists.starts[one]) for one in chosen)
    searcher.begin(query, k, width, keep=keep, allowed=words_of(mask))
    steps = 1
    while searcher.advance(step):
        steps += 1
    assert steps == max(1, -(-len(chosen) // step))
    assert np.array_equal(searcher.rows(), met[mask[met]])
    assert np.array_equal(searcher.result()[0], wanted[0])


@given(problem=problems(), k=st.integers(1, 450), width=st.integers(1, 45), step=st.integers(1, 10))
@settings(deadline=None, max_examples=150)
@pytest.mark.usefixtures("simd")
def test_sifted_rows_are_those_of_the_nearest_lists(problem, k, width, step):
    """Place by place or row by row, in one go or in steps: a float32 scan of what is allowed in these lists."""
    matrix, keys, lists, query, mask, metric = problem
    chosen = reference_ivf.nearest_lists(*lists[:3], lists.center, query, metric, width, lists.spreads)
    met = np.isin(np.arange(len(matrix)), reference_ivf.rows_of(chosen, lists.starts, lists.rows))
    wanted = reference.scan(matrix, query, k, keys, metric, norms_of(matrix), mask & met)
    searcher, later = searcher_of(lists, matrix, keys, metric), np.ones(100, dtype=bool)
    allowed = words_of(np.concatenate([mask, later]))  # a bitmap knows rows that came after the build
    for by in ("places", "rows"):
        got = searcher.search(query, k, width, allowed=allowed, by=by)
        assert np.array_equal(got[0], wanted[0]), by
        assert np.array_equal(got[1].view(np.uint32), wanted[1].view(np.uint32)), by
        searcher.begin(query, k, width, allowed=allowed, by=by)
        while searcher.advance(step):
            assert set(searcher.result()[0].tolist()) <= set(np.flatnonzero(mask & met).tolist())
        assert np.array_equal(searcher.result()[0], wanted[0]), by
    assert searcher.scored == mask.sum()


def test_a_row_that_lies_in_no_list_is_not_found():
    matrix, keys = np.eye(8, dtype=np.float32), np.arange(8, dtype=np.uint64)
    lists = make_lists(matrix, np.arange(8) % 2, matrix[:2].copy(), "dot")
    lists = lists._replace(lists_of=np.array([0, 1, 2, 0xFFFFFFFF, 0, 1, 0, 1], dtype=np.uint32))
    searcher = searcher_of(lists, matrix, keys, "dot")
    rows, _ = searcher.search(matrix[2], 8, 2, allowed=words_of(np.ones(8, dtype=bool)), by="rows")
    assert sorted(rows.tolist()) == [0, 1, 4, 5, 6, 7]


@given(problem=problems(), k=st.integers(1, 100), turned=st.booleans())
@settings(deadline=None, max_examples=80)
@pytest.mark.usefixtures("simd")
def test_all_lists_and_all_rows_are_the_exact_scan(problem, k, turned):
    matrix, keys, lists, query, mask, metric = problem
    wanted = reference.scan(matrix, query, k, keys, metric, norms_of(matrix), mask)
    if turned:
        found, signs = np.arange(len(matrix)) % 7, signs_for(matrix.shape[1])
        lists = make_lists(matrix, found, matrix[: max(1, min(7, len(matrix)))].copy(), metric, 3.0, signs)
    searcher = searcher_of(lists, matrix, keys, metric)
    got = searcher.search(query, k, len(lists.starts), keep=len(matrix) + k, allowed=words_of(mask))
    assert np.array_equal(got[0], wanted[0]) and np.array_equal(got[1].view(np.uint32), wanted[1].view(np.uint32))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [1, 2, 17, 768, 2047, 2048])
def test_few_rows_are_kept_and_hardly_any_missed(metric, dim):
    rng = np.random.default_rng(dim)
    matrix, query = rng.standard_normal((3000, dim), dtype=np.float32), rng.standard_normal(dim, dtype=np.float32)
    keys = np.arange(3000, dtype=np.uint64)
    centroids = directions(matrix[:20]) if metric == "cosine" else matrix[:20]
    searcher = searcher_of(make_lists(matrix, rng.integers(0, 20, 3000), centroids, metric), matrix, keys, metric)
    _rows, scores = searcher.search(query, 50, 20)
    assert 78 <= len(searcher.rows()) <= 88
    wanted = reference.scan(matrix, query, 50, keys, metric, norms_of(matrix))[1]
    # On a line all cosines are 1 or -1, and which of a thousand equals are found does not matter.
    assert (scores >= wanted[-1]).sum() >= 48


def estimates_of(lists, query, metric):
    """Of every place, as its code tells it; minus infinity where no row lies."""
    coded, scale = reference_ivf.code_vector(query.astype(np.float64))
    scores = reference_ivf.products(lists.codes, coded) * (lists.scales * np.float32(scale))
    if metric == "l2":
        scores = (2.0 * scores.astype(np.float64) - lists.norms.astype(np.float64) ** 2).astype(np.float32)
    return np.where(lists.rows == ABSENT, -np.inf, scores)


@pytest.mark.parametrize("metric", ["dot", "l2"])
@pytest.mark.parametrize("keep", [1, 300, 9000])
def test_of_many_places_the_best_estimates_are_kept(metric, keep):
    """More places than are sifted at once, in lists of any length, all rows allowed or one of a hundred."""
    rng = np.random.default_rng(keep)
    matrix, keys = rng.standard_normal((90_000, 6), dtype=np.float32), np.arange(90_000, dtype=np.uint64)
    found = np.minimum(rng.geometric(0.02, len(matrix)) - 1, 59)
    lists = make_lists(matrix, found, matrix[:60].copy(), metric)
    searcher, query = searcher_of(lists, matrix, keys, metric), rng.standard_normal(6, dtype=np.float32)
    for share in (1.0, 0.01):
        mask = rng.random(len(matrix)) < share
        searcher.search(query, 1, 60, keep=keep, allowed=words_of(mask) if share < 1.0 else None)
        kept = searcher.rows()
        estimates = np.empty(len(matrix), dtype=np.float32)
        some = lists.rows != ABSENT
        estimates[lists.rows[some]] = estimates_of(lists, query, metric)[some]
        assert len(set(kept.tolist())) == len(kept) == min(keep, mask.sum()) and mask[kept].all()
        assert estimates[kept].min() >= np.sort(estimates[mask])[-len(kept)]


@pytest.mark.parametrize("high", [range(0, 20_000, 17), range(5, 20_000, 17), range(19_600, 20_000), range(0)])
def test_a_sample_that_misleads_costs_no_row(high):
    """Whether the places that a sample looks at hold all of the best, or none."""
    rng = np.random.default_rng(4)
    matrix = rng.uniform(-1.0, -0.5, (20_000, 4)).astype(np.float32)
    matrix[list(high), 0] = rng.uniform(0.5, 1.0, len(high))
    keys, query = np.arange(20_000, dtype=np.uint64), np.array([1, 0, 0, 0], dtype=np.float32)
    searcher = searcher_of(make_lists(matrix, np.zeros(20_000, int), matrix[:1].copy(), "dot"), matrix, keys, "dot")
    rows, scores = searcher.search(query, 200, 1, keep=800)
    assert np.array_equal(scores, np.sort(matrix[:, 0])[::-1][:200]) and len(searcher.rows()) == 800
    assert np.array_equal(scores, matrix[rows, 0])


def test_a_wide_list_comes_before_a_narrow_one_that_is_no_nearer():
    matrix, keys = np.eye(8, dtype=np.float32), np.arange(8, dtype=np.uint64)
    lists = make_lists(matrix, np.arange(8) % 2, np.ones((2, 8), dtype=np.float32), "dot")
    for spreads in ((0.0, 0.5), (0.5, 0.0)):
        wide = lists._replace(spreads=np.array(spreads, dtype=np.float32))
        rows, _ = searcher_of(wide, matrix, keys, "dot").search(np.ones(8, np.float32), 8, 1)
        assert set(rows % 2) == {int(np.argmax(spreads))}


def test_one_searcher_for_many_queries():
    """What a query leaves behind, a wider one or a stopped one, changes nothing for the next."""
    rng = np.random.default_rng(1)
    matrix, keys = rng.standard_normal((500, 9), dtype=np.float32), np.arange(500, dtype=np.uint64)
    lists = make_lists(matrix, rng.integers(0, 30, 500), matrix[:30].copy(), "l2")
    searcher = searcher_of(lists, matrix, keys, "l2")
    with pytest.raises(KernelArgumentError, match="no query"):
        searcher.result()
    asked = [(rng.standard_normal(9, dtype=np.float32), int(k), int(w)) for k, w in rng.integers(1, 40, (60, 2))]
    for query, k, width in asked:
        searcher.begin(matrix[0], 3, 40)
        searcher.advance(2)
        got, alone = searcher.search(query, k, width), searcher_of(lists, matrix, keys, "l2").search(query, k, width)
        assert np.array_equal(got[0], alone[0]) and np.array_equal(got[1], alone[1])


def test_an_index_of_nothing():
    matrix, centroids = np.zeros((0, 5), dtype=np.float32), np.ones((3, 5), dtype=np.float32)
    lists = make_lists(matrix, np.empty(0, dtype=np.int64), centroids, "dot")
    rows, scores = searcher_of(lists, matrix, np.empty(0, np.uint64), "dot").search(np.ones(5, np.float32), 4, 2)
    assert len(rows) == len(scores) == 0


def test_what_does_not_fit_is_refused():
    matrix = np.ones((40, 6), dtype=np.float32)
    keys, one = np.arange(40, dtype=np.uint64), np.ones(6, dtype=np.float32)
    lists = make_lists(matrix, np.arange(40) % 3, matrix[:3].copy(), "l2")
    searcher = searcher_of(lists, matrix, keys, "l2")
    for changed, match in (
        ({"starts": lists.starts + np.uint32(1)}, "lists from block"),
        ({"starts": lists.starts[:-1]}, "for 2 centroids"),
        ({"starts": lists.starts[[0, 2, 1, 3]] + np.uint32(0)}, "ends before"),
        ({"rows": lists.rows[:-1]}, "rows"),
        ({"scales": lists.scales[1:]}, "scales"),
        ({"norms": lists.norms[:0]}, "norms"),
        ({"codes": lists.codes[:, :1].copy()}, "codes of"),
        ({"lists_of": lists.lists_of[1:]}, "lists of 39 rows"),
        ({"centroid_norms": lists.centroid_norms[1:]}, "centroids"),
        ({"spreads": lists.centroid_norms}, "only with dot"),
    ):
        with pytest.raises(KernelArgumentError, match=match):
            searcher_of(lists._replace(**changed), matrix, keys, "l2")
    with pytest.raises(KernelArgumentError, match="order keys"):
        searcher_of(lists, matrix, keys[1:], "l2")
    with pytest.raises(KernelArgumentError, match="metric 'dut'"):
        searcher_of(lists, matrix, keys, "dut")
    with pytest.raises(KernelArgumentError, match="the query has 5"):
        searcher.search(one[:5].copy(), 3, 1)
    for wrong in ((0, 1, None), (1, 0, None), (5, 1, 4)):
        with pytest.raises(KernelArgumentError, match="at least 1, 1 and k"):
            searcher.search(one, *wrong[:2], keep=wrong[2])
    with pytest.raises(KernelArgumentError, match="bitmap of 0 words"):
        searcher.search(one, 3, 1, allowed=np.empty(0, dtype=np.uint64))
    every = words_of(np.ones(40, dtype=bool))
    blind = searcher_of(lists._replace(lists_of=lists.lists_of[:0]), matrix, keys, "l2")
    for refusing, options in ((searcher, {"by": "names"}), (searcher, {"by": "places"}), (blind, {"by": "rows"})):
        with pytest.raises(KernelArgumentError, match="by '"):
            refusing.search(one, 3, 1, **({"allowed": every} if options["by"] == "rows" else {}), **options)


@given(n=st.integers(0, 200), many=st.integers(1, 90), dim=st.integers(1, 70), seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=80)
@pytest.mark.usefixtures("simd")
def test_rows_go_where_the_twin_says(n, many, dim, seed):
    rng = np.random.default_rng(seed)
    rows, centroids = rng.standard_normal((n, dim)).astype(np.float32), rng.standard_normal((many, dim))
    centroids[rng.random(many) < 0.3] = centroids[0]
    among = coded(centroids.astype(np.float32))
    units = None if rng.random() < 0.5 else rng.random(n).astype(np.float32)
    found = np.full(n, 7, dtype=np.uint32)
    for start, stop in itertools.pairwise([0, n // 3, n]):
        assign(rows[start:stop], *among, found[start:stop], units=None if units is None else units[start:stop])
    assert np.array_equal(found, reference_ivf.assign(rows, *among, units))


def test_rows_go_to_the_nearest():
    rng = np.random.default_rng(5)
    rows, centroids = rng.standard_normal((2000, 50)).astype(np.float32), rng.standard_normal((100, 50))
    found = np.empty(2000, dtype=np.uint32)
    assign(rows, *coded(centroids.astype(np.float32)), found)
    apart = ((rows[:, None] - centroids[None]) ** 2).sum(axis=2)
    assert (apart[np.arange(2000), found] <= apart.min(axis=1) * 1.01).all()


def test_what_does_not_fit_is_not_assigned():
    rows, among = np.ones((3, 6), dtype=np.float32), coded(np.ones((4, 6), dtype=np.float32))
    for arguments, match in (
        ((np.ones((3, 9), dtype=np.float32), *among, np.empty(3, np.uint32)), "do not fit rows of 9"),
        ((rows, *among, np.empty(2, np.uint32)), "2 places"),
        ((rows, among[0], among[1][1:], among[2], np.empty(3, np.uint32)), "15 scales"),
    ):
        with pytest.raises(KernelArgumentError, match=match):
            assign(*arguments)
