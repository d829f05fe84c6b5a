"""Inverted lists in a store: built from a specification, equal bytes from equal input, and found again by a search."""

import msgspec
import numpy as np
import pytest
from build_case import build, write_table
from hypothesis import given
from hypothesis import strategies as st

from mixline.kernels.ivf import ListSearch
from mixline.kernels.topk import TopK
from mixline.node.build_kernels import build_kernels
from mixline.storage import clusters, ivf
from mixline.storage.calibration import width_for
from mixline.storage.clusters import means, nearest, train
from mixline.storage.codes import Codes, decode
from mixline.storage.middles import add_up
from mixline.storage.store import Store

KERNELS = build_kernels()


def write_spec(folder, items, index, metric="dot", users=None):
    """A store with nothing but items and a space."""
    folder.mkdir(exist_ok=True)
    write_table(folder / "items.parquet", {"item": list(range(len(items)))})
    np.save(folder / "vectors.npy", items)
    lines = ["[items]", 'path = "items.parquet"', 'id = "item"']
    if users is not None:
        write_table(folder / "users.parquet", {"user": list(range(len(users)))})
        np.save(folder / "askers.npy", users)
        lines += ["[users]", 'path = "users.parquet"', 'id = "user"']
    lines += ["[spaces.taste]", 'items = "vectors.npy"', f'metric = "{metric}"', f'index = "{index}"']
    lines += [] if users is None else ['users = "askers.npy"']
    (folder / "spec.toml").write_text("\n".join(lines))
    return folder / "spec.toml"


def clustered(count, dim, many, seed=1):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((many, dim))[rng.integers(0, many, count)] + 0.4 * rng.standard_normal((count, dim))
    return rows.astype(np.float32)


def open_space(store):
    epoch = Store(store).open()
    return epoch, epoch.spaces["taste"]


def search_of(space):
    keys = np.arange(len(space.items), dtype=np.uint64)
    return ListSearch(
        *space.item_lists, matrix=space.items, keys=keys, matrix_norms=space.item_norms, metric=space.metric
    )


@pytest.mark.parametrize("metric", ["dot", "cosine", "l2"])
def test_a_built_index_holds_every_row_and_finds_the_best(tmp_path, metric):
    items = clustered(6000, 13, 60)
    manifest = build(write_spec(tmp_path / "in", items, "ivf", metric), tmp_path / "store")
    [facts] = manifest.spaces["taste"].indexes
    assert (facts.kind, facts.k, manifest.spaces["taste"].index) == ("ivf", 100, "ivf")
    epoch, space = open_space(tmp_path / "store")
    with epoch:
        lists, codes = space.item_lists, space.item_codes
        assert (
            space.indexes == (facts,) and facts.parameters["lists"] == 256 and facts.parameters["keep_percent"] <= 125
        )
        assert len(lists.starts) == 257
        some = lists.rows != ivf.ABSENT
        assert np.array_equal(np.sort(lists.rows[some]), np.arange(6000))
        for start, stop in zip(lists.starts[:-1], lists.starts[1:], strict=True):
            here = lists.rows[16 * start : 16 * stop]
            rows = here[here != ivf.ABSENT]
            assert (np.diff(rows.astype(np.int64)) > 0).all() and (here[len(rows) :] == ivf.ABSENT).all()
        # A list's codes are those of its rows, and nothing lies where no row is.
        placed = decode(Codes(lists.codes, lists.scales, np.empty(0)), len(lists.rows), 13)
        if metric == "l2":
            assert np.allclose(lists.center, items.mean(axis=0), atol=1e-5)
            assert np.allclose(placed[some], (items - lists.center)[lists.rows[some]], atol=0.02)
            assert np.allclose(lists.norms[some], np.linalg.norm(placed[some], axis=1), rtol=1e-6)
        else:
            assert np.array_equal(placed[some], decode(codes, 6000, 13)[lists.rows[some]]) and len(lists.center) == 0
        assert not placed[~some].any()
        assert len(lists.norms) == (len(lists.rows) if metric == "l2" else 0)
        widths = [point[0] for point in facts.points]
        assert facts.points[-1][1] >= 0.9995 and widths == sorted(widths) and widths[-1] <= 256
        width, searcher = width_for(facts, 0.95, 100), search_of(space)
        queries, found = clustered(6000, 13, 60, seed=1)[:50] + np.float32(0.01), 0
        for query in queries:
            best = KERNELS.exact(space.items, query, 100, metric, space.item_norms)
            found += (searcher.search(query, 100, width)[1] >= best[-1]).sum()
        assert found / 5000 > 0.9


def test_equal_input_gives_equal_bytes_whatever_the_cores(tmp_path, monkeypatch):
    spec = write_spec(tmp_path / "in", clustered(5000, 8, 40), "ivf")
    first = build(spec, tmp_path / "one")
    monkeypatch.setattr(clusters, "threads", lambda: 7)
    monkeypatch.setattr(clusters, "PART", 100)
    monkeypatch.setattr(ivf, "chunk_rows", lambda _bytes: 48)
    assert msgspec.json.encode(build(spec, tmp_path / "two")) == msgspec.json.encode(first)


def test_auto_is_for_many_rows(tmp_path, monkeypatch):
    items = clustered(600, 4, 5)
    assert build(write_spec(tmp_path / "in", items, "auto"), tmp_path / "store").spaces["taste"].indexes == ()
    monkeypatch.setattr(ivf, "AUTO_ROWS", 600)
    facts = build(write_spec(tmp_path / "in", items, "auto"), tmp_path / "store").spaces["taste"]
    assert [one.kind for one in facts.indexes] == ["ivf"]
    exact = build(write_spec(tmp_path / "in", items, "exact"), tmp_path / "store").spaces["taste"]
    assert (exact.indexes, exact.index) == ((), "exact")


def test_users_are_what_it_is_calibrated_with(tmp_path):
    """All users ask for one place, so the first list has all that they want."""
    items = clustered(6000, 6, 3) + np.float32(300.0)
    items[100:1100] = np.random.default_rng(1).integers(-20, 20, (1000, 6))
    spec = write_spec(tmp_path / "in", items, "ivf", "l2", users=np.full((9, 6), 0.5))
    [with_users] = build(spec, tmp_path / "store").spaces["taste"].indexes
    [without] = build(write_spec(tmp_path / "in", items, "ivf", "l2"), tmp_path / "store").spaces["taste"].indexes
    assert with_users.points != without.points and with_users.points[-1][1] == 1.0


ODD = {
    "one row": np.ones((1, 3)),
    "fewer rows than a block": clustered(9, 3, 2),
    "all equal": np.ones((3000, 5)),
    "zeros": np.zeros((2000, 4)),
    "some zeros": np.where(np.arange(2000)[:, None] % 3, clustered(2000, 4, 9), 0.0),
    "one dimension": clustered(2000, 1, 9),
    "very long and short": clustered(1000, 4, 9) * 10.0 ** np.linspace(-30, 30, 1000)[:, None],
    "wide": clustered(300, 2047, 5),
}


@pytest.mark.parametrize("metric", ["dot", "cosine", "l2"])
@pytest.mark.parametrize("name", ODD)
@pytest.mark.filterwarnings("ignore:overflow")
def test_odd_spaces_are_built_and_searched(tmp_path, metric, name):
    items = ODD[name].astype(np.float32)
    manifest = build(write_spec(tmp_path / "in", items, "ivf", metric), tmp_path / "store")
    [facts] = manifest.spaces["taste"].indexes
    assert facts.k == min(100, len(items)) and facts.points
    epoch, space = open_space(tmp_path / "store")
    with epoch:
        query = items[-1] + np.float32(0.25)
        k, best = min(20, len(items)), TopK(20)
        rows, scores = search_of(space).search(query, 20, facts.parameters["lists"], keep=len(items) + 20)
        wanted = KERNELS.exact(space.items, query, 20, metric, space.item_norms)
        assert best.k == 20 and len(rows) == k and np.array_equal(scores, wanted)


def test_rows_far_from_the_origin_are_told_apart(tmp_path):
    """By their codes alone: an int8 step of the rows themselves is wider than these are apart."""
    items = clustered(6000, 6, 60) + np.float32(100.0)
    [facts] = build(write_spec(tmp_path / "in", items, "ivf", "l2"), tmp_path / "store").spaces["taste"].indexes
    assert facts.parameters["keep_percent"] <= 125 and facts.points[-1][1] > 0.99


def test_more_rows_are_kept_where_codes_tell_little(tmp_path):
    """Two heaps far apart: of each the rows are nearer to each other than an int8 step is wide."""
    items = clustered(6000, 6, 60) + np.where(np.arange(6000) % 2, 1000.0, -1000.0).astype(np.float32)[:, None]
    [facts] = build(write_spec(tmp_path / "in", items, "ivf", "l2"), tmp_path / "store").spaces["taste"].indexes
    assert facts.parameters["keep_percent"] > 125
    assert ivf.keep_for(facts, 100) == facts.parameters["keep_percent"] + ivf.SPARE


def test_who_gets_lists():
    asked = [("ivf", 0), ("ivf", 1), ("auto", ivf.AUTO_ROWS - 1), ("auto", ivf.AUTO_ROWS), ("exact", 10**9)]
    assert [ivf.is_wanted(*one) for one in asked] == [False, True, False, True, False]


def test_the_number_of_lists():
    assert [ivf.lists_for(n) for n in (1, 15, 31, 32, 4096, 65_536, 1_000_000)] == [1, 1, 1, 2, 256, 1024, 4096]


@pytest.mark.parametrize("unit", [False, True])
def test_training_finds_the_clusters(unit):
    rows = clustered(4000, 16, 50)
    centroids = train(KERNELS.assign, rows, 100, 3, unit=unit)
    found = nearest(KERNELS.assign, rows, centroids)
    assert len(np.unique(found)) > 80
    before = ((rows - rows.mean(axis=0)) ** 2).sum()
    if unit:
        assert np.allclose(np.linalg.norm(centroids, axis=1), 1.0, atol=1e-6)
    else:
        assert ((rows - centroids[found]) ** 2).sum() < 0.2 * before


def test_the_middle_of_no_rows_is_a_row_of_the_fullest():
    rows = np.array([[0.0], [2.0], [4.0], [10.0]], dtype=np.float32)
    after = means(rows, np.array([1, 1, 1, 3], dtype=np.uint32), np.zeros((4, 1), dtype=np.float32))
    assert after[1] == 2.0 and after[3] == 10.0 and after[0] in rows[:3] and after[2] in rows


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_sums_are_those_of_the_rows_in_their_order(n, dim, many, seed):
    rng = np.random.default_rng(seed)
    rows, found = rng.standard_normal((n, dim), dtype=np.float32), rng.integers(0, many, n, dtype=np.uint32)
    sums, counts = rng.standard_normal((many, dim)), np.zeros(many, dtype=np.int64)
    wanted = sums.copy()
    for row, at in zip(rows, found, strict=True):
        wanted[at] += row
    add_up(sums, counts, rows, found)
    assert sums.tobytes() == wanted.tobytes() and counts.tolist() == np.bincount(found, minlength=many).tolist()


@pytest.mark.parametrize(("found", "dim"), [([0, 3], 2), ([0], 2), ([0, 1], 3)], ids=["no centroid", "fewer", "dim"])
def test_sums_of_what_does_not_fit_are_refused_before_anything_is_added(found, dim):
    sums, counts = np.zeros((3, 2)), np.zeros(3, dtype=np.int64)
    with pytest.raises(ValueError, match=r"row 1 lies with centroid 3 of 3|found for 2 rows"):
        add_up(sums, counts, np.ones((2, dim), dtype=np.float32), np.array(found, dtype=np.uint32))
    assert not sums.any() and not counts.any()


def test_many_rows_are_measured_for_large_pools_too(tmp_path):
    items = clustered(10_000, 6, 60)
    small, large = build(write_spec(tmp_path / "in", items, "ivf"), tmp_path / "store").spaces["taste"].indexes
    assert (small.k, large.k, small.kind, large.kind) == (100, 500, "ivf", "ivf")
    assert large.points[-1][1] >= 0.9995 and width_for(large, 0.99, 500) >= width_for(small, 0.99, 100)
