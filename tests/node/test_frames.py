"""Turned and centred codes in a node: live rows, a fold, and a store of an earlier release answer exactly."""

import numpy as np
import pytest
from click.testing import CliRunner
from film_store import DIM, ITEMS, films, near, node_with, write_inputs

from mixline.kernels import reference
from mixline.node.compaction import compact
from mixline.storage import builder
from mixline.storage.publish import epoch_folder
from mixline.storage.self_test import self_test
from mixline.storage.store import Store
from mixline.tools.build import build

FAR, NEW = 200.0, 900_001
SPACES = {"far": "l2", "angle": "cosine", "product": "dot"}
SURFACES = {
    name: near("given").replace("limit = 400", "limit = 5").replace('space = "taste"', f'space = "{name}"')
    for name in SPACES
}


def rows_of(count, seed):
    """A few dimensions dominate, and all lies far from the origin."""
    rows = np.random.default_rng(seed).standard_normal((count, DIM))
    rows[:, :2] = 20.0 * np.sign(rows[:, :2]) + 0.1 * rows[:, :2]
    return (rows + FAR).astype(np.float32)


@pytest.fixture
def store(tmp_path):
    return build_store(tmp_path, "rotate = true")


def build_store(tmp_path, *more):
    """The films with three spaces over the same rows."""
    write_inputs(tmp_path)
    np.save(tmp_path / "far.npy", rows_of(ITEMS, 1))
    with (tmp_path / "spec.toml").open("a") as file:
        for name, metric in SPACES.items():
            file.write(f'[spaces.{name}]\nitems = "far.npy"\nmetric = "{metric}"\n' + "\n".join(more) + "\n")
    done = CliRunner().invoke(build, [str(tmp_path / "spec.toml"), "--out", str(tmp_path / "store"), "--quiet"])
    assert done.exit_code == 0, done.output or done.exception
    return tmp_path / "store"


def check(node, whole, seed):
    """Every space's best five, with the bits of a scan of float32 rows, told by codes."""
    keys = np.array(sorted(whole), dtype=np.uint64)
    matrix = np.stack([whole[int(key)] for key in keys])
    norms = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)).astype(np.float32)
    for query in rows_of(6, seed):
        for name, metric in SPACES.items():
            page = node.ask(name, vector=query)
            rows, scores = reference.scan(matrix, query, 5, keys, metric, norms)
            assert page.ids.tolist() == keys[rows].tolist(), name
            assert page.scores.astype(np.float32).tobytes() == scores.tobytes(), name
            assert page.coverage[0].how == "exact: int8 codes" and page.coverage[0].certified


def test_live_rows_and_a_fold_keep_the_frame(store, tmp_path):
    whole = {film["id"]: row for film, row in zip(films(), np.load(tmp_path / "far.npy"), strict=True)}
    with node_with(store, tmp_path, **SURFACES) as node:
        check(node, whole, 2)
        came = rows_of(300, 3)
        for start in (0, 1, 20, 130):  # blocks and words that are begun are written again
            stop = {0: 1, 1: 20, 20: 130, 130: 300}[start]
            ops = []
            for one in range(start, stop):
                whole[NEW + one] = came[one]
                ops.append({"op": "upsert_item", "id": NEW + one, "vectors": dict.fromkeys(SPACES, came[one])})
            node.apply(ops)
            check(node, whole, 4 + start)
        node.apply([{"op": "delete_item", "id": NEW + 7}])
        del whole[NEW + 7]
        check(node, whole, 5)
        assert compact(store).number == 2
    self_test(epoch_folder(store, 2))
    with Store(store).open() as epoch:
        assert all(epoch.manifest.spaces[name].rotated and len(epoch.spaces[name].frame.signs) for name in SPACES)
        assert [name for name in SPACES if len(epoch.spaces[name].frame.center)] == ["far"]
        assert abs(float(np.median(epoch.spaces["far"].frame.center)) - FAR) < 5
        assert epoch.spaces["far"].code_norms.max() < epoch.spaces["far"].item_norms.min()
    with node_with(store, tmp_path, **SURFACES) as node:
        assert node.engine.epoch_number == 2
        check(node, whole, 6)


def test_a_store_of_an_earlier_release_stays_as_it_was(tmp_path, monkeypatch):
    """Its codes are of the rows themselves, also with l2, and so are those of items that come to it."""
    monkeypatch.setattr(builder, "write_frame", lambda *_, **__: None)
    store = build_store(tmp_path)
    whole = {film["id"]: row for film, row in zip(films(), np.load(tmp_path / "far.npy"), strict=True)}
    with Store(store).open() as epoch:
        assert not len(epoch.spaces["far"].frame.center) and epoch.spaces["far"].code_norms is not None
    monkeypatch.undo()
    with node_with(store, tmp_path, **SURFACES) as node:
        check(node, whole, 2)
        ops = [{"op": "upsert_item", "id": NEW + at, "vectors": {"far": row}} for at, row in enumerate(rows_of(200, 3))]
        node.apply(ops)
        page = node.ask("far", vector=ops[9]["vectors"]["far"])
        assert page.ids[0] == NEW + 9 and page.scores[0] == 0.0
        assert compact(store).number == 2
    with Store(store).open() as epoch:
        assert len(epoch.spaces["far"].frame.center) == DIM
    with node_with(store, tmp_path, **SURFACES) as node:
        page = node.ask("far", vector=ops[9]["vectors"]["far"])
        assert page.ids[0] == NEW + 9 and page.scores[0] == 0.0
