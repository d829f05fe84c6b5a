"""The frame of codes: the query is placed as rows are, an exact scan stays exact, and few bits tell more."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import norms_of

from mixline.kernels import reference
from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.frame import placed
from mixline.kernels.scan import METRICS
from mixline.kernels.shortlist import Shortlist, scan_together
from mixline.storage.codes import encode
from mixline.storage.frames import PLAIN, Frame, center_for, open_frame, signs_for, turn, write_frame
from mixline.storage.nibbles import encode_nibbles


@given(dim=st.integers(1, 300), seed=st.integers(0, 2**32), power=st.sampled_from([-40, -5, 0, 30]))
@settings(deadline=None, max_examples=150)
def test_queries_are_placed_as_rows_are(dim, seed, power):
    rng = np.random.default_rng(seed)
    query = (rng.standard_normal(dim) * 10.0**power).astype(np.float32)
    center, signs = rng.standard_normal(dim).astype(np.float32), signs_for(dim)
    for frame in (Frame(center, signs), Frame(PLAIN.center, signs), Frame(center, PLAIN.signs), PLAIN):
        found = placed(query, center=frame.center, signs=frame.signs)
        assert np.array_equal(found, frame.place(query[None].astype(np.float64))[0])
        left = query.astype(np.float64) - (frame.center if len(frame.center) else 0.0)
        length = np.sqrt((left**2).sum())
        assert np.abs(found - reference.placed(query, frame.center, frame.signs)).max() <= 1e-14 * length
        assert abs(np.sqrt((found**2).sum()) - length) <= 1e-14 * length


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 64, 100, 768, 2047, 2048])
def test_what_lies_in_one_dimension_is_spread_over_all(dim):
    turned = np.abs(turn(np.eye(dim), signs_for(dim)))
    assert turned.max() <= 1.6 / np.sqrt(dim) if dim & (dim - 1) == 0 else turned.max() <= 8 / np.sqrt(dim)
    assert np.allclose(turn(np.eye(dim), signs_for(dim)) @ turn(np.eye(dim), signs_for(dim)).T, np.eye(dim))


def test_the_rotation_is_the_same_everywhere():
    """Its signs are in every store, and a fold must choose the same."""
    signs = signs_for(100)
    assert signs.shape == (4, 100) and signs_for(128).shape == (1, 128) and set(signs.ravel().tolist()) == {-1, 1}
    assert hashlib.sha256(signs.tobytes()).hexdigest()[:16] == "acb64751eff216b2"


def test_a_center_stays_where_the_rows_are():
    rows = np.random.default_rng(1).standard_normal((1000, 4)).astype(np.float32) + np.float32(50)
    rows[::100] = 1e30
    assert np.abs(center_for(rows) - 50).max() < 0.5


def test_written_and_mapped(tmp_path):
    rows = np.random.default_rng(0).standard_normal((50, 5)).astype(np.float32)
    np.save(tmp_path / "items.npy", rows)
    write_frame(tmp_path, "items", "cosine", rotate=False)
    assert [len(part) for part in open_frame(tmp_path)] == [0, 0]
    write_frame(tmp_path, "items", "l2", rotate=True)
    frame = open_frame(tmp_path)
    assert np.array_equal(frame.center, center_for(rows)) and np.array_equal(frame.signs, signs_for(5))


def test_what_does_not_fit_is_refused():
    query = np.ones(6, dtype=np.float32)
    with pytest.raises(KernelArgumentError, match="a center of 7 for 6"):
        placed(query, center=np.ones(7, dtype=np.float32))
    with pytest.raises(KernelArgumentError, match="signs of 5 for 6"):
        placed(query, signs=np.ones((2, 5), dtype=np.int8))
    assert len(placed(query[:0])) == 0


def dominated(n, dim, seed=0):
    """Rows and queries of which a few dimensions spread much farther than the others, as principal components do."""
    rows = np.random.default_rng(seed).standard_normal((n + 20, dim))
    rows[:, :4] *= 8.0
    rows = rows.astype(np.float32)
    return rows[:n], rows[n:]


def recall_of(rows, queries, metric, frame, keep, nibbles):
    """The share of the best 50 that a second look at ``keep`` estimates finds."""
    codes = (*encode_nibbles(rows, metric, frame), None) if nibbles else encode(rows, metric, frame)
    keys, found = np.arange(len(rows), dtype=np.uint64), 0
    for query in queries:
        short = Shortlist(query, 50, metric=metric, keep=keep, guess=False, center=frame.center, signs=frame.signs)
        scan_together([short], *codes, len(rows), norms=frame.lengths(rows))
        best = reference.scan(rows, query, 50, keys, metric, norms_of(rows))[0]
        found += len(np.intersect1d(short.rows(), best))
    return found / (50 * len(queries))


@pytest.mark.parametrize("metric", METRICS)
def test_turned_codes_tell_rows_apart_that_a_few_dimensions_dominate(metric):
    rows, queries = dominated(8000, 96)
    plain = recall_of(rows, queries, metric, PLAIN, 100, nibbles=True)
    turned = recall_of(rows, queries, metric, Frame(PLAIN.center, signs_for(96)), 100, nibbles=True)
    print(f"{metric}: int4, 2 k kept: {plain:.3f} as they are, {turned:.3f} turned")
    assert turned > 0.99 and (plain < 0.95 or metric == "dot")


@pytest.mark.parametrize("nibbles", [False, True])
def test_centred_codes_tell_rows_apart_that_lie_far_from_the_origin(nibbles):
    rng = np.random.default_rng(3)
    rows = (rng.standard_normal((8000, 32)) + 300.0).astype(np.float32)
    queries = (rng.standard_normal((10, 32)) + 300.0).astype(np.float32)
    centred = Frame(center_for(rows), PLAIN.signs)
    plain = recall_of(rows, queries, "l2", PLAIN, 150, nibbles)
    assert plain < 0.5 and recall_of(rows, queries, "l2", centred, 150, nibbles) > 0.99


def test_a_certified_scan_of_rows_far_from_the_origin_keeps_few():
    rng = np.random.default_rng(3)
    rows = (rng.standard_normal((20_000, 32)) + 300.0).astype(np.float32)
    query = (rng.standard_normal(32) + 300.0).astype(np.float32)
    kept = []
    for frame in (PLAIN, Frame(center_for(rows), PLAIN.signs), Frame(center_for(rows), signs_for(32))):
        short = Shortlist(query, 100, metric="l2", center=frame.center, signs=frame.signs)
        scan_together([short], *encode(rows, "l2", frame), len(rows), norms=frame.lengths(rows))
        kept.append(len(short.rows()))
    assert kept[0] > 5000 and kept[1] < 400 and kept[2] < 400
