"""The shortlist on int8 codes: scoring what it keeps gives the rows and bits of a scan of all float32 rows."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import each_path
from rows import norms_of, words_of

from mixline.kernels import codes, reference
from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.scan import METRICS, scan_listed
from mixline.kernels.shortlist import TOGETHER_MAX, Shortlist, scan_together
from mixline.kernels.topk import TopK
from mixline.storage.codes import BLOCK_ROWS, Codes, decode, encode
from mixline.storage.frames import PLAIN, Frame, center_for, signs_for

simd = each_path(codes)


@st.composite
def problems(draw):
    """Finite rows of any size and likeness, a query, keys, a mask, a metric and a k."""
    n, dim = draw(st.integers(1, 900)), draw(st.integers(1, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    matrix = rng.standard_normal((n, dim)).astype(np.float32)
    shape = draw(st.sampled_from(["plain", "rounded", "alike", "long and short", "extreme", "sparse"]))
    if shape == "rounded":
        matrix = np.round(matrix)
    elif shape == "alike":
        matrix = (matrix[:1] + 1e-3 * matrix).astype(np.float32)
    elif shape == "long and short":
        matrix *= np.exp(3 * rng.standard_normal((n, 1))).astype(np.float32)
    elif shape == "extreme":
        powers = rng.choice([1e-44, 1e-30, 1e-19, 1.0, 1e17, 1e19, 1e30, 1e37], (n, 1))
        with np.errstate(all="ignore"):
            matrix = np.nan_to_num((matrix * powers).astype(np.float32), posinf=3e38, neginf=-3e38)
    elif shape == "sparse":
        matrix *= rng.random((n, dim)) < 0.1
    matrix[rng.random(n) < draw(st.sampled_from([0.0, 0.3]))] = matrix[0]
    query = rng.standard_normal(dim) * draw(st.sampled_from([1.0, 1.0, 0.0, 1e-44, 1e-19, 1e19, 1e37]))
    keys = rng.permutation(n).astype(np.uint64)
    mask = rng.random(n) < draw(st.sampled_from([0.02, 0.5, 1.0]))
    metric = draw(st.sampled_from(sorted(METRICS)))
    with np.errstate(all="ignore"):
        query = np.nan_to_num(query.astype(np.float32), posinf=3e38, neginf=-3e38)
    return matrix, query, keys, mask, metric, draw(st.integers(1, n + 5))


@st.composite
def frames(draw, matrix, metric):
    """What a build may choose for these rows, or have chosen for others; with l2 a center."""
    center = draw(st.sampled_from([0.0, 1.0, -1e6, 1e30])) if metric == "l2" else 0.0
    centers = [PLAIN.center, center_for(matrix), np.full(matrix.shape[1], center, dtype=np.float32)]
    signs = draw(st.sampled_from([PLAIN.signs, signs_for(matrix.shape[1])]))
    return Frame(draw(st.sampled_from(centers)) if metric == "l2" else PLAIN.center, signs)


def look(matrix, query, k, metric, *, mask=None, cuts=(), order=1, keep=None, frame=PLAIN):
    """A shortlist of all blocks, taken in parts."""
    codes = encode(matrix, metric, frame)
    short = Shortlist(query, k, metric=metric, keep=keep, center=frame.center, signs=frame.signs)
    allowed = None if mask is None else words_of(mask)
    edges = [0, *sorted(cuts), len(codes.codes)]
    for start, stop in list(itertools.pairwise(edges))[::order]:
        short.scan(*codes, len(matrix), norms=frame.lengths(matrix), allowed=allowed, start=start, stop=stop)
    return short


@given(problem=problems(), data=st.data())
@settings(deadline=None, max_examples=150)
@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.usefixtures("simd")
def test_the_best_of_the_shortlist_are_the_best_of_all(problem, data):
    matrix, query, keys, mask, metric, k = problem
    blocks = -(-len(matrix) // BLOCK_ROWS)
    cuts = data.draw(st.lists(st.integers(0, blocks), max_size=4))
    with np.errstate(all="ignore"):
        norms = norms_of(matrix)
        order, frame = data.draw(st.sampled_from([1, -1])), data.draw(frames(matrix, metric))
        short = look(matrix, query, k, metric, mask=mask, cuts=cuts, order=order, frame=frame)
        wanted = reference.scan(matrix, query, k, keys, metric, norms, mask)
    assert not short.wide
    rows = short.rows()
    assert len(set(rows.tolist())) == len(rows) and mask[rows].all()
    best = TopK(k)
    scan_listed(matrix, query, best, keys, rows, metric=metric, norms=norms)
    got = best.result()
    assert np.array_equal(got[0], wanted[0])
    assert np.array_equal(got[1].view(np.uint32), wanted[1].view(np.uint32))


@given(seed=st.integers(0, 2**32), metric=st.sampled_from(sorted(METRICS)), share=st.sampled_from([0.1, 1.0]))
@settings(deadline=None, max_examples=40)
@pytest.mark.usefixtures("simd")
def test_estimates_keep_the_best_of_what_the_codes_tell(seed, metric, share):
    """Nothing that is kept has an estimate below one that was let go, but for the rounding of both."""
    rng = np.random.default_rng(seed)
    n, dim = int(rng.integers(1, 6000)), int(rng.integers(1, 70))
    matrix = rng.standard_normal((n, dim)).astype(np.float32)
    query, mask = rng.standard_normal(dim).astype(np.float32), rng.random(n) < share
    k = int(rng.integers(1, 200))
    keep = int(rng.integers(k, 2 * k + 2))
    short = look(matrix, query, k, metric, mask=mask, keep=keep)
    rows = short.rows()
    assert min(keep, mask.sum()) <= len(rows) <= keep + keep // 8 + 1
    assert len(set(rows.tolist())) == len(rows) and mask[rows].all()
    assert not short.certified and short.widening == len(rows) / k
    coded = decode(encode(matrix, metric), n, dim).astype(np.float64)
    told = coded @ query if metric != "l2" else 2 * coded @ query - (matrix.astype(np.float64) ** 2).sum(axis=1)
    left = np.setdiff1d(np.flatnonzero(mask), rows)
    if len(left):
        assert told[rows].min() >= told[left].max() - 1e-3 * max(1.0, np.abs(told).max())


@pytest.mark.parametrize("metric", METRICS)
def test_estimates_miss_hardly_any_of_the_best(metric):
    rng = np.random.default_rng(3)
    matrix, query = rng.standard_normal((20_000, 64), dtype=np.float32), rng.standard_normal(64, dtype=np.float32)
    wanted = reference.scan(matrix, query, 100, np.arange(20_000, dtype=np.uint64), metric, norms_of(matrix))[0]
    assert len(np.intersect1d(look(matrix, query, 100, metric, keep=150).rows(), wanted)) == 100


def test_of_equal_estimates_the_first_are_kept():
    matrix = np.ones((200_000, 4), dtype=np.float32)
    matrix[150_000:150_003] = 2.0
    short = look(matrix, np.ones(4, dtype=np.float32), 10, "dot", keep=15)
    rows = short.rows()
    assert not short.wide and np.isin([150_000, 150_001, 150_002], rows).all() and 12 <= (rows < 300).sum() < 600


def test_certified_says_what_the_bounds_cost():
    rng = np.random.default_rng(3)
    matrix, query = rng.standard_normal((5000, 16), dtype=np.float32), rng.standard_normal(16, dtype=np.float32)
    short = look(matrix, query, 10, "dot")
    rows = short.rows()
    assert short.certified and short.widening == len(rows) / 10 >= 1.0
    wide = look(np.ones((200_000, 4), dtype=np.float32), np.ones(4, dtype=np.float32), 10, "dot")
    assert wide.wide and not wide.certified


@pytest.mark.parametrize("metric", METRICS)
def test_few_rows_beyond_the_best_are_kept(metric):
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((20_000, 64), dtype=np.float32)
    query = rng.standard_normal(64, dtype=np.float32)
    assert 100 <= len(look(matrix, query, 100, metric).rows()) < 200


@pytest.mark.usefixtures("simd")
def test_every_path_keeps_the_same_rows():
    rng = np.random.default_rng(4)
    matrix, query = rng.standard_normal((5000, 37), dtype=np.float32), rng.standard_normal(37, dtype=np.float32)
    here = look(matrix, query, 50, "dot").rows()
    codes.choose_path("portable")
    assert np.array_equal(here, look(matrix, query, 50, "dot").rows())


def test_wide_when_the_codes_tell_nothing():
    """All rows are equal: every one may be the best, so the shortlist gives up instead of growing without end."""
    matrix = np.ones((200_000, 4), dtype=np.float32)
    short = look(matrix, np.ones(4, dtype=np.float32), 10, "dot")
    assert short.wide


@given(
    n=st.integers(0, 100), dim=st.integers(1, 40), seed=st.integers(0, 2**32), metric=st.sampled_from(sorted(METRICS))
)
@settings(deadline=None, max_examples=50)
def test_codes_are_within_their_bounds(n, dim, seed, metric):
    matrix = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    codes = encode(matrix, metric)
    assert codes.codes.shape == (-(-n // 16), -(-dim // 4), 16, 4)
    exact = matrix.astype(np.float64)
    if metric == "cosine":
        exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    coded = decode(codes, n, dim)
    block = np.arange(n) // BLOCK_ROWS
    assert (np.linalg.norm(exact - coded, axis=1) <= codes.bounds[block, 0] * (1 + 1e-6) + 1e-7).all()
    assert (np.linalg.norm(coded, axis=1) <= codes.bounds[block, 1] * (1 + 1e-6)).all()
    assert (np.abs(exact - coded) <= 0.51 * codes.scales[:n, None]).all()


def test_what_does_not_fit_is_refused():
    matrix = np.ones((40, 6), dtype=np.float32)
    codes = encode(matrix, "dot")
    short = Shortlist(np.ones(6, dtype=np.float32), 3)
    with pytest.raises(KernelArgumentError, match="do not fit a query of 9"):
        Shortlist(np.ones(9, dtype=np.float32), 3).scan(*codes, 40)
    with pytest.raises(KernelArgumentError, match=r"blocks 2\.\.9 of 3"):
        short.scan(*codes, 40, start=2, stop=9)
    with pytest.raises(KernelArgumentError, match="which hold 60 rows"):
        short.scan(*codes, 60)
    with pytest.raises(KernelArgumentError, match="scales"):
        short.scan(*Codes(codes.codes, codes.scales[:-1], codes.bounds), 40)
    with pytest.raises(KernelArgumentError, match="needs norms="):
        Shortlist(np.ones(6, dtype=np.float32), 3, metric="l2").scan(*codes, 40)
    with pytest.raises(KernelArgumentError, match="metric 'dut'"):
        Shortlist(np.ones(6, dtype=np.float32), 3, metric="dut")
    with pytest.raises(KernelArgumentError, match="k is 0"):
        Shortlist(np.ones(6, dtype=np.float32), 0)
    with pytest.raises(KernelArgumentError, match="keep is 9"):
        Shortlist(np.ones(6, dtype=np.float32), 10, keep=9)
    with pytest.raises(KernelArgumentError, match="a center of 5 for 6 dimensions"):
        Shortlist(np.ones(6, dtype=np.float32), 3, metric="l2", center=np.ones(5, dtype=np.float32))
    with pytest.raises(KernelArgumentError, match="a center with the metric 'dot'"):
        Shortlist(np.ones(6, dtype=np.float32), 3, center=np.ones(6, dtype=np.float32))
    with pytest.raises(KernelArgumentError, match="signs of 7 for 6 dimensions"):
        Shortlist(np.ones(6, dtype=np.float32), 3, signs=np.ones((1, 7), dtype=np.int8))


@given(many=st.integers(1, 11), seed=st.integers(0, 2**32), metric=st.sampled_from(sorted(METRICS)))
@settings(deadline=None, max_examples=40)
@pytest.mark.usefixtures("simd")
def test_together_or_alone_keeps_the_same_rows(many, seed, metric):
    rng = np.random.default_rng(seed)
    n, dim = int(rng.integers(1, 3000)), int(rng.integers(1, 90))
    matrix = rng.standard_normal((n, dim)).astype(np.float32)
    codes, norms = encode(matrix, metric), norms_of(matrix)
    queries = rng.standard_normal((many, dim)).astype(np.float32)
    sizes = [int(k) for k in rng.integers(1, 200, many)]
    masks = [None if rng.random() < 0.5 else words_of(rng.random(n) < rng.random()) for _ in range(many)]
    together = [Shortlist(query, k, metric=metric) for query, k in zip(queries, sizes, strict=True)]
    for start, stop in itertools.pairwise([0, len(codes.codes) // 2, len(codes.codes)]):
        scan_together(together, *codes, n, norms=norms, allowed=masks, start=start, stop=stop)
    for query, k, words, short in zip(queries, sizes, masks, together, strict=True):
        alone = Shortlist(query, k, metric=metric)
        alone.scan(*codes, n, norms=norms, allowed=words)
        assert np.array_equal(short.rows(), alone.rows())


def test_together_refuses_too_many_and_other_widths():
    matrix = np.ones((40, 6), dtype=np.float32)
    codes = encode(matrix, "dot")
    short = Shortlist(np.ones(6, dtype=np.float32), 3)
    scan_together([], *codes, 40)
    with pytest.raises(KernelArgumentError, match="at most 256"):
        scan_together([short] * (TOGETHER_MAX + 1), *codes, 40)
    with pytest.raises(KernelArgumentError, match="2 bitmaps for 1"):
        scan_together([short], *codes, 40, allowed=[None, None])
    with pytest.raises(KernelArgumentError, match="do not fit a query of 9"):
        scan_together([short, Shortlist(np.ones(9, dtype=np.float32), 3)], *codes, 40)


@given(
    n=st.integers(4096, 9000),
    k=st.integers(1, 1100),
    seed=st.integers(0, 2**32),
    order=st.sampled_from(["mixed", "clustered", "sorted"]),
    metric=st.sampled_from(sorted(METRICS)),
    share=st.sampled_from([0.05, 0.5, 1.0]),
)
@settings(deadline=None, max_examples=60)
def test_a_guess_changes_nothing_or_is_known_to_have_missed(n, k, seed, order, metric, share):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((n, 24)).astype(np.float32)
    query = rng.standard_normal(24).astype(np.float32)
    if order == "clustered":
        matrix[: n // 10] += query
    elif order == "sorted":
        matrix = matrix[np.argsort(matrix @ query)].copy()
    mask, keys = rng.random(n) < share, np.arange(n, dtype=np.uint64)
    codes, norms = encode(matrix, metric), norms_of(matrix)
    short = Shortlist(query, k, metric=metric)
    scan_together([short], *codes, n, norms=norms, allowed=[words_of(mask)])
    if short.missed:
        assert order != "mixed", "in no order a guess is wrong once in many thousand queries"
        short = Shortlist(query, k, metric=metric, guess=False)
        scan_together([short], *codes, n, norms=norms, allowed=[words_of(mask)])
    assert not short.missed and not short.wide
    best = TopK(k)
    scan_listed(matrix, query, best, keys, short.rows(), metric=metric, norms=norms)
    wanted = reference.scan(matrix, query, k, keys, metric, norms, mask)
    got = best.result()
    assert np.array_equal(got[0], wanted[0]) and np.array_equal(got[1], wanted[1])


def test_a_wrong_guess_is_seen():
    """The sample looks at the middle block of each 64th part; only those hold what is near."""
    n = 16 * 64 * 16
    matrix = np.full((n, 4), -1.0, dtype=np.float32) * (1.0 + np.arange(n, dtype=np.float32)[:, None] / n)
    for at in range(64):
        block = (2 * at + 1) * (n // 16) // 128
        matrix[16 * block : 16 * block + 16] *= -1.0
    query, codes = np.ones(4, dtype=np.float32), encode(matrix, "dot")
    short, plain = Shortlist(query, 5000), Shortlist(query, 5000, guess=False)
    scan_together([short, plain], *codes, n)
    assert short.missed and not plain.missed and len(plain.rows()) >= 5000
