"""Walks beside their twin, and beside the distribution that they are drawn from."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixline.kernels import reference_walk
from mixline.kernels.accumulate import Scratch
from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.walk import Walk


def graph(rng, items, users, pairs):
    """(item_ends, users, user_ends, items) of random pairs, each once."""
    found = np.unique(rng.integers(0, items, pairs) * users + rng.integers(0, users, pairs))
    item, user = found // users, found % users
    turned = np.lexsort((item, user))
    return (
        np.searchsorted(item, np.arange(items + 1)),
        user.astype(np.uint32),
        np.searchsorted(user[turned], np.arange(users + 1)),
        item[turned].astype(np.uint32),
    )


def lists(ends, values):
    return [values[start:stop] for start, stop in itertools.pairwise(ends)]


def made(parts, steps=1000, restart=0.5, stop_items=0, stop_visits=4):
    return Walk(*parts, Scratch(), steps_max=steps, restart=restart, stop_items=stop_items, stop_visits=stop_visits)


@settings(deadline=None)
@given(
    st.integers(0, 2**32), st.integers(1, 300), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 5), st.integers(1, 90)
)
def test_visits_equal_their_twin(seed, steps, restart, stop_items, slice_steps):
    rng = np.random.default_rng(seed)
    parts = graph(rng, 40, 25, 150)
    walk = made(parts, steps, restart, stop_items, 3)
    expected = []
    for at, origin in enumerate(rng.integers(0, 40, 4).tolist()):
        walk.begin(origin, steps, seed + at)
        while not walk.advance(slice_steps):
            pass
        expected.append(
            reference_walk.visits(
                lists(*parts[:2]), lists(*parts[2:]), origin, steps, seed + at, restart, stop_items, 3
            )
        )
    rows, scores = walk.result()
    assert walk.steps == sum(sum(counts.values()) for counts in expected)
    if walk.steps:
        assert dict(zip(rows.tolist(), scores, strict=True)) == reference_walk.boosted(expected)
        assert rows.tolist() == list(reference_walk.boosted(expected))


def test_visits_follow_the_chain_that_the_walk_is():
    """Shares of visits beside the stationary distribution, solved for."""
    parts = graph(np.random.default_rng(1), 12, 9, 50)
    item_ends, users, user_ends, items = parts
    to_user, to_item = np.zeros((12, 9)), np.zeros((9, 12))
    for at in range(12):
        to_user[at, users[item_ends[at] : item_ends[at + 1]]] = 1 / (item_ends[at + 1] - item_ends[at])
    for at in range(9):
        to_item[at, items[user_ends[at] : user_ends[at + 1]]] = 1 / (user_ends[at + 1] - user_ends[at])
    step = to_user @ to_item
    origin = np.eye(12)[3]
    expected = origin @ step @ np.linalg.inv(np.eye(12) - 0.7 * step) * 0.3
    walk = made(parts, 400_000, 0.3)
    walk.begin(3, 400_000, 11)
    assert walk.advance(400_000)
    rows, scores = walk.result()
    shares = np.zeros(12)
    shares[rows] = scores
    assert walk.steps == 400_000
    np.testing.assert_allclose(shares, expected, atol=0.006)


def test_what_several_seeds_lead_to_counts_more():
    """Two seeds share item 2; as many visits from one seed alone score less."""
    pairs = {0: [0], 1: [1], 2: [0, 1], 3: [0], 4: [1]}
    item_ends = np.cumsum([0, *(len(users) for users in pairs.values())])
    users = np.array([user for every in pairs.values() for user in every], dtype=np.uint32)
    parts = item_ends, users, np.array([0, 3, 6]), np.array([0, 2, 3, 1, 2, 4], dtype=np.uint32)
    walk = made(parts, 20_000, 1.0)
    for seed in (0, 1):
        walk.begin(seed, 20_000, seed)
        walk.advance(20_000)
    scores = dict(zip(*map(np.ndarray.tolist, walk.result()), strict=True))
    assert scores[2] == pytest.approx(4 / 6, abs=0.02) and scores[3] == pytest.approx(1 / 6, abs=0.02)


def test_it_stops_once_enough_is_known():
    walk = made(graph(np.random.default_rng(2), 50, 30, 400), 100_000, 0.5, 10, 4)
    walk.begin(7, 100_000, 1)
    assert walk.advance(100_000)
    assert 40 <= walk.steps < 5_000


def test_an_item_of_nobody_and_what_does_not_fit():
    parts = graph(np.random.default_rng(3), 20, 10, 30)
    lonely = int(np.flatnonzero(np.diff(parts[0]) == 0)[0])
    walk = made(parts)
    walk.begin(lonely, 100, 1)
    assert walk.advance(10)
    assert [len(found) for found in walk.result()] == [0, 0]
    with pytest.raises(KernelArgumentError, match="item 20"):
        walk.begin(20, 10, 1)
    with pytest.raises(KernelArgumentError, match="1001 steps"):
        walk.begin(0, 1001, 1)
    with pytest.raises(KernelArgumentError, match="do not end"):
        made((parts[0], parts[1][:-1], *parts[2:]))
    for wrong in ({"steps": 0}, {"restart": 1.5}, {"restart": float("nan")}, {"stop_items": -1}):
        with pytest.raises(KernelArgumentError, match="steps_max"):
            made(parts, **wrong)
