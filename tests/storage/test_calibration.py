"""Calibration: what is measured of an index, and the width that follows from it."""

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixline.node.build_kernels import build_kernels
from mixline.storage.calibration import ENOUGH, QUERIES, calibrate, exact_scores, held_out, ladder, width_for
from mixline.storage.manifest import IndexFacts, SpaceFacts

POINTS = ((2, 0.5, 20.0), (8, 0.9, 80.0), (32, 0.99, 320.0), (64, 0.9999, 640.0))


def facts(kind="ivf", points=POINTS, k=100):
    return IndexFacts(kind, {"lists": 64}, k, points)


def test_old_manifests_have_no_indexes():
    old = b'{"dim": 3, "metric": "dot", "index": "exact", "items": true, "users": false}'
    assert msgspec.json.decode(old, type=SpaceFacts).indexes == ()
    new = SpaceFacts(3, "dot", "auto", True, False, (facts(),))
    assert msgspec.json.decode(msgspec.json.encode(new), type=SpaceFacts) == new


@given(least=st.integers(1, 50), more=st.integers(0, 5000))
def test_a_ladder_rises_from_end_to_end(least, more):
    widths = list(ladder(least, least + more))
    assert widths[0] == least and widths[-1] == least + more
    assert all(a < b <= max(a + 1, 1.5 * a + 1) for a, b in itertools.pairwise(widths))


def test_queries_are_none_of_the_rows_and_the_same_each_time():
    items = np.random.default_rng(1).standard_normal((500, 6)).astype(np.float32)
    queries = held_out(items, None, 7)
    assert queries.shape == (QUERIES, 6) and queries.dtype == np.float32
    assert not (queries[:, None] == items[None]).all(axis=2).any()
    assert np.array_equal(queries, held_out(items, None, 7)) and not np.array_equal(queries, held_out(items, None, 8))
    users = items[:3] + 1
    assert np.array_equal(held_out(items, users, 7), users)
    assert held_out(items[:1], users[:0], 7).shape == (1, 6)


@pytest.mark.parametrize("metric", ["dot", "cosine", "l2"])
def test_a_search_of_some_rows_finds_what_lies_among_them(metric):
    """An index whose width is how many of the rows it looks at."""
    rng = np.random.default_rng(2)
    items, exact = rng.standard_normal((2000, 5)).astype(np.float32), build_kernels().exact
    norms = np.linalg.norm(items, axis=1)
    queries = held_out(items, None, 1)
    truth = exact_scores(exact, items, queries, metric, norms, 100)
    assert [len(one) for one in truth] == [100] * len(queries)

    def search(query, width):
        return exact(items[:width], query, 100, metric, norms[:width]), width

    points = calibrate(search, queries, truth, ladder(250, 2000))
    assert [point[0] for point in points] == list(ladder(250, 2000)) and points[-1][1] == 1.0
    for width, recall, rows in points:
        assert rows == width and abs(recall - width / 2000) < 0.05


def test_it_stops_when_enough_is_found_and_keeps_no_width_that_finds_no_more():
    truth = [np.array([3.0, 2.0], dtype=np.float32)]
    found = {1: [1.0], 2: [3.0], 4: [3.0, 1.0], 8: [2.0, 2.0, 2.0], 16: []}
    asked = []

    def search(_query, width):
        asked.append(width)
        return np.array(found[width], dtype=np.float32), 10 * width

    points = calibrate(search, np.zeros((1, 4), dtype=np.float32), truth, [1, 2, 4, 8, 16])
    assert points == ((1, 0.0, 10.0), (2, 0.5, 20.0), (8, 1.0, 80.0)) and asked == [1, 2, 4, 8]


def test_the_width_lies_between_the_points_around_it():
    assert [width_for(facts(), point[1], 100) for point in POINTS] == [2, 8, 32, 64]
    assert width_for(facts(), 0.3, 100) == 2 and width_for(facts(), 1.0, 100) is None
    widths = [width_for(facts(), recall, 100) for recall in (0.9, 0.95, 0.97, 0.98, 0.99)]
    assert widths == sorted(widths) and widths[0] < widths[2] < widths[4]
    assert width_for(facts(points=((4, ENOUGH, 1.0),)), 0.99, 100) == 4


def test_more_results_need_more_width():
    assert width_for(facts("ivf"), 0.99, 400) == 64 and width_for(facts("graph"), 0.99, 400) == 128
    assert width_for(facts("ivf"), 0.99, 10) == 32
