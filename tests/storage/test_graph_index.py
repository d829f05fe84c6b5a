"""A space whose specification asks for a graph: built, measured, readable by plain NumPy, and the same again."""

import numpy as np
import pytest
from build_case import build, write_table

from mixline.kernels import reference
from mixline.node.build_kernels import walk
from mixline.storage.calibration import width_for
from mixline.storage.graph_index import DEGREE, encode_rows, find_center, link_factors
from mixline.storage.store import Store

METRICS = ("dot", "cosine", "l2")


def spec_of(folder, items, metric, users=None):
    write_table(folder / "items.csv", {"id": list(range(1, len(items) + 1))})
    np.save(folder / "items.npy", items)
    text = '[items]\npath = "items.csv"\nid = "id"\n'
    if users is not None:
        write_table(folder / "users.csv", {"id": list(range(1, len(users) + 1))})
        np.save(folder / "users.npy", users)
        text += '[users]\npath = "users.csv"\nid = "id"\n'
    text += f'[spaces.taste]\nitems = "items.npy"\nmetric = "{metric}"\nindex = "graph"\n'
    text += 'users = "users.npy"\n' if users is not None else ""
    (folder / "spec.toml").write_text(text)
    return folder / "spec.toml"


def rows_of(n, dim, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


@pytest.mark.parametrize("users", [None, 300])
@pytest.mark.parametrize("metric", METRICS)
def test_a_graph_is_built_and_finds_what_its_manifest_says(tmp_path, metric, users):
    items = rows_of(3000, 20)
    spec = spec_of(tmp_path, items, metric, None if users is None else rows_of(users, 20, 1))
    facts = build(spec, tmp_path / "store").spaces["taste"]
    assert facts.index == "graph" and [one.kind for one in facts.indexes] == ["graph"]
    index = facts.indexes[0]
    assert index.k == 100 and index.parameters["degree"] == DEGREE
    assert index.points[-1][1] >= 0.99 and all(one[2] < 3000 for one in index.points[:1])
    with Store(tmp_path / "store").open() as epoch:
        space = epoch.spaces["taste"]
        graph = space.item_graph
        assert graph.neighbours.shape == (3000, DEGREE) and graph.codes.shape == (3000, 32)
        width = width_for(index, 0.98, 100)
        search = walk(graph, space.items, metric, space.item_norms, 100)
        keys, found = np.arange(3000, dtype=np.uint64), 0
        for query in rows_of(20, 20, 5):
            best = reference.scan(items, query, 100, keys, metric, np.array(space.item_norms))[1]
            found += int((search(query, width)[0] >= best[-1]).sum())
        assert found >= 0.95 * 20 * 100


@pytest.mark.parametrize("metric", METRICS)
def test_two_builds_are_the_same_bytes(tmp_path, metric):
    spec = spec_of(tmp_path, rows_of(700, 9), metric)
    one, other = (build(spec, tmp_path / name) for name in ("one", "other"))
    assert one.files == other.files and one.spaces == other.spaces
    assert {f"spaces/taste/items_graph_{part}.npy" for part in ("neighbours", "codes", "factors", "entries")} <= set(
        one.files
    )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "items",
    [rows_of(1, 3), rows_of(5, 1), rows_of(40, 33), np.ones((300, 4)), np.zeros((300, 4)), rows_of(2, 2048)],
    ids=["one row", "few", "odd", "equal", "zero", "wide"],
)
def test_degenerate_items(tmp_path, metric, items):
    items = items.astype(np.float32)
    facts = build(spec_of(tmp_path, items, metric), tmp_path / "store").spaces["taste"]
    assert facts.indexes[0].points[-1][1] == 1.0 and facts.indexes[0].k == min(100, len(items))


@pytest.mark.parametrize("metric", METRICS)
def test_the_files_stand_for_the_rows(tmp_path, metric):
    items = (rows_of(200, 30) + 5).astype(np.float32)
    build(spec_of(tmp_path, items, metric), tmp_path / "store")
    folder = tmp_path / "store" / "epochs" / "000001" / "spaces" / "taste"
    codes, factors, center = (np.load(folder / f"items_graph_{part}.npy") for part in ("codes", "factors", "center"))
    coded = codes[:, :30] * factors[:, :1]
    if metric == "cosine":
        items = items / np.linalg.norm(items, axis=1, keepdims=True)
    assert np.abs(coded * center[-1] + center[:-1] - items).max() <= 0.51 * factors[:, 0].max() * center[-1]
    if metric == "l2":
        assert np.allclose(factors[:, 1], (coded * coded).sum(axis=1) / -2, rtol=1e-5)
    else:
        assert not factors[:, 1].any()


def test_for_dot_all_but_the_longest_rows_are_linked_at_one_length():
    items = rows_of(1000, 8) * np.linspace(0.1, 3, 1000, dtype=np.float32)[:, None]
    _, scales, squared = encode_rows(items.astype(float), find_center(items, "dot"))
    lengths = link_factors(scales, squared, "dot")[:, 1] * -2
    assert (np.isclose(lengths, lengths.min(), rtol=1e-4)).sum() == 990
