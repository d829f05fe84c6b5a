"""A space whose specification asks for a graph: built, measured, readable by plain NumPy, and the same again."""

import json
import subprocess
import sys

import numpy as np
import pytest
from build_case import build, write_table

from mixline.kernels import reference
from mixline.node.build_kernels import walk
from mixline.storage import indexing, ivf
from mixline.storage.calibration import width_for
from mixline.storage.costs import search_ns
from mixline.storage.errors import MemoryRefused
from mixline.storage.graph_index import DEGREE, encode_rows, find_center, link_factors, need_bytes
from mixline.storage.indexing import is_worth_linking
from mixline.storage.manifest import IndexFacts
from mixline.storage.store import Store

METRICS = ("dot", "cosine", "l2")


def spec_of(folder, items, metric, users=None, index="graph"):
    write_table(folder / "items.csv", {"id": list(range(1, len(items) + 1))})
    np.save(folder / "items.npy", items)
    text = '[items]\npath = "items.csv"\nid = "id"\n'
    if users is not None:
        write_table(folder / "users.csv", {"id": list(range(1, len(users) + 1))})
        np.save(folder / "users.npy", users)
        text += '[users]\npath = "users.csv"\nid = "id"\n'
    text += f'[spaces.taste]\nitems = "items.npy"\nmetric = "{metric}"\nindex = "{index}"\n'
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


def test_a_graph_beyond_the_memory_limit_is_refused(tmp_path):
    spec, need = spec_of(tmp_path, rows_of(500, 4), "dot"), need_bytes(500, indexing.threads())
    with pytest.raises(MemoryRefused, match=rf"spaces.taste: linking .* of 500 rows needs {need:,} bytes; .*raise"):
        build(spec, tmp_path / "store", memory_bytes=need - 1)
    assert not (tmp_path / "store" / "CURRENT").exists()
    assert build(spec, tmp_path / "store", memory_bytes=need).spaces["taste"].indexes


MEASURED_LINK = """
import json, re, sys, threading
from pathlib import Path
import numpy as np
from mixline.node.build_kernels import build_kernels
from mixline.storage.graph_index import write_graph
from mixline.storage.progress import Silence

folder, count = Path(sys.argv[1]), int(sys.argv[2])
kernels = build_kernels()

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

before, peak, done = anonymous(), 0, threading.Event()

def watch():
    global peak
    while not done.wait(0.001):
        peak = max(peak, anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
write_graph(folder, "dot", kernels.link, kernels.walk, kernels.exact, 2, Silence())
done.set()
watcher.join()
print(json.dumps(peak - before))
"""


def test_the_stated_memory_need_holds(tmp_path):
    count = 120_000
    np.save(tmp_path / "items.npy", rows_of(count, 4))
    np.save(tmp_path / "item_norms.npy", np.ones(count, dtype=np.float32))
    command = [sys.executable, "-c", MEASURED_LINK, str(tmp_path), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    used, need = json.loads(done.stdout), need_bytes(count, 2)
    print(f"need {need >> 20} MiB, used {used >> 20} MiB")
    assert need / 3 < used < need * 1.1 + (24 << 20)  # chunks of rows while they are coded, whatever their number


def lists_of(*points):
    return IndexFacts("ivf", {"lists": 1024, "keep_percent": 125}, 100, points)


def test_auto_tries_a_graph_where_lists_measure_badly():
    good = lists_of((1, 0.9, 2000.0), (8, 0.995, 9000.0))
    bad = lists_of((1, 0.2, 2000.0), (900, 0.995, 90_000.0))
    blind = lists_of((1, 0.2, 2000.0), (1024, 0.95, 100_000.0))
    room = 1 << 32
    assert [is_worth_linking(one, 100_000, 128, room) for one in (good, bad, blind)] == [False, True, True]
    assert search_ns(blind, 0.99, 128) == np.inf
    assert not is_worth_linking(bad, 100_000, 128, need_bytes(100_000, indexing.threads()) - 1)
    assert not is_worth_linking(bad, 10_000_000, 128, 1 << 40)


def sentences(count, dim, latent):
    """Rows of few latent dimensions and in no clusters, as vectors of sentences are."""
    rng = np.random.default_rng(0)
    told = rng.standard_normal((count, latent)) @ rng.standard_normal((latent, dim)) / latent**0.5
    rows = np.tanh(1.5 * told) + 0.1 * rng.standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_auto_links_a_graph_and_keeps_it_when_it_measures_better(tmp_path, monkeypatch):
    monkeypatch.setattr(ivf, "AUTO_ROWS", 6000)
    folder = tmp_path / "store" / "epochs"
    spec = spec_of(tmp_path, sentences(6000, 48, 12), "cosine", index="auto")
    monkeypatch.setattr(indexing, "search_ns", lambda facts, recall, dim: {"ivf": 1e9, "graph": 1e8}[facts.kind])
    found = build(spec, tmp_path / "store").spaces["taste"]
    assert found.index == "auto" and {one.kind for one in found.indexes} == {"ivf", "graph"}
    assert (folder / "000001" / "spaces" / "taste" / "items_graph_codes.npy").exists()
    monkeypatch.setattr(indexing, "search_ns", lambda facts, recall, dim: {"ivf": 1e9, "graph": 1e10}[facts.kind])
    found = build(spec, tmp_path / "store")
    assert {one.kind for one in found.spaces["taste"].indexes} == {"ivf"}
    assert not any("graph_codes" in name for name in found.files)


@pytest.mark.stress
def test_a_graph_is_kept_for_rows_without_clusters_and_none_is_for_those_with(tmp_path):
    """At the size and with the bounds of a real build."""
    spec = spec_of(tmp_path, sentences(70_000, 384, 32), "cosine", index="auto")
    found = build(spec, tmp_path / "store").spaces["taste"]
    costs = {one.kind: search_ns(one, 0.99, 384) for one in found.indexes if one.k == 100}
    print({kind: round(ns / 1000) for kind, ns in costs.items()}, "microseconds")
    assert set(costs) == {"ivf", "graph"} and 1.5 * costs["graph"] < costs["ivf"]
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((500, 96))[rng.integers(0, 500, 100_000)] + 0.3 * rng.standard_normal((100_000, 96))
    spec = spec_of(tmp_path, rows.astype(np.float32), "cosine", index="auto")
    assert {one.kind for one in build(spec, tmp_path / "store").spaces["taste"].indexes} == {"ivf"}
