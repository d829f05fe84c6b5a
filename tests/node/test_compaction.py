"""Compaction in an in-process node: what was written is folded into a new epoch, and no answer changes."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from film_store import BLOCKED, SEEN, build_store, films, near, node_with, vector

from mixline.node.build_kernels import build_kernels
from mixline.node.compaction import compact
from mixline.storage import builder as steps
from mixline.storage.builder import Builder
from mixline.storage.errors import BadSpec, StoreUnfit
from mixline.storage.live_log import log_reach
from mixline.storage.live_source import LiveSource
from mixline.storage.progress import Silence
from mixline.storage.publish import epoch_folder
from mixline.storage.self_test import self_test
from mixline.storage.store import Store
from mixline.tools.build import build
from mixline.tools.epoch import epoch as epoch_command

NEW, BARE = 900_001, 900_002
SURFACES = {
    "given": near("given"),
    "fresh": near("user", SEEN, BLOCKED),
    "recent": near("recent"),
    "like": near("item"),
    "look": near("given").replace('space = "taste"', 'space = "look"'),
}
FIELDS = ["title", "year", "price", "studio", "genres", "colour"]


@pytest.fixture
def store(tmp_path):
    return build_store(tmp_path)


def written(node):
    """A bit of everything: new items with and without vectors, patches, deletions, events, blocks, new users."""
    some = [film["id"] for film in films()]
    columns = {"title": "new", "year": 2025, "studio": "east", "genres": ["Noir"], "colour": True}
    vectors = {name: vector(3) for name in ("taste", "look")}
    node.apply([{"op": "upsert_item", "id": NEW, "columns": columns, "vectors": vectors}])
    node.apply([{"op": "upsert_item", "id": BARE, "columns": {"title": "bare"}}])
    node.apply([{"op": "patch_item", "id": some[4], "columns": {"price": 77}}])
    node.apply([{"op": "events", "users": [1, 1, 700], "items": [NEW, some[5], some[6]], "actions": ["a", "b", "c"]}])
    node.apply([{"op": "block", "user": 2, "item": some[7]}, {"op": "block", "user": 2, "item": some[8]}])
    node.apply([{"op": "unblock", "user": 2, "item": some[8]}])
    node.apply([{"op": "delete_item", "id": some[9]}, {"op": "events", "users": [3], "items": [some[10]]}])
    node.apply([{"op": "delete_item", "id": some[10]}, {"op": "upsert_user", "id": 701, "columns": {}}])


def answers(node):
    """What a node says, but for the epoch's number."""
    some = [film["id"] for film in films()]
    asks = [("given", {"vector": vector(at, at + 1), "fields": FIELDS}) for at in range(4)]
    asks += [("look", {"vector": vector(at, at + 2)}) for at in range(3)]
    asks += [(surface, {"user": user}) for user in (0, 1, 2, 3, 39, 700, 701, 999) for surface in ("fresh", "recent")]
    asks += [("like", {"item": one}) for one in (NEW, BARE, some[4])]
    found = []
    for surface, ask in asks:
        page = node.ask(surface, **ask)
        found.append((surface, str(ask), list(page.ids), page.scores.tobytes(), page.fields, page.live_seq))
    return found


def test_a_fold_changes_no_answer(store, tmp_path):
    with node_with(store, tmp_path, **SURFACES) as node:
        written(node)
        before = answers(node)
        manifest = compact(store)  # while somebody serves and may write
        assert manifest is not None and (manifest.number, manifest.live_seq) == (2, 13)
        assert answers(node) == before
    self_test(epoch_folder(store, 2))
    assert Store(store).verify(2) == []
    with node_with(store, tmp_path, **SURFACES) as node:
        assert node.engine.epoch_number == 2
        assert answers(node) == before
        some = [film["id"] for film in films()]
        back = {"op": "upsert_item", "id": some[10], "columns": {}, "vectors": {"taste": vector(1)}}
        node.apply([back, {"op": "unblock", "user": 2, "item": some[7]}])
        assert some[10] not in node.ask("fresh", user=3).ids  # was seen before it went
        assert some[10] in node.ask("fresh", user=2).ids and some[7] in node.ask("fresh", user=2).ids
        again = answers(node)
        assert compact(store).live_seq == 15
    with node_with(store, tmp_path, **SURFACES) as node:
        assert node.engine.epoch_number == 3 and answers(node) == again
    assert compact(store) is None


def test_what_is_written_during_a_fold_is_applied_after_it(store, tmp_path):
    with node_with(store, tmp_path, **SURFACES) as node:
        written(node)
        with LiveSource(store) as source:
            node.apply([{"op": "patch_item", "id": NEW, "columns": {"year": 2030}}])
            assert source.live_seq == 13 and node.ask("fresh", user=1).live_seq == 14
            manifest = Builder(source, store, build_kernels(), 1 << 30, Silence()).build()
            assert manifest.live_seq == 13
        before = answers(node)
    with node_with(store, tmp_path, **SURFACES) as node:
        assert answers(node) == before and node.engine.epoch_number == 2


def test_a_rollback_loses_nothing(store, tmp_path):
    with node_with(store, tmp_path, **SURFACES) as node:
        written(node)
    compact(store)
    with node_with(store, tmp_path, **SURFACES) as node:
        node.apply([{"op": "patch_item", "id": NEW, "columns": {"year": 2030}}])
        before = answers(node)
    assert Store(store).rollback() == 1
    with node_with(store, tmp_path, **SURFACES) as node:
        assert node.engine.epoch_number == 1 and answers(node) == before


def test_the_log_is_let_go_of_once_no_epoch_needs_it(store, tmp_path):
    with node_with(store, tmp_path, **SURFACES) as node:
        written(node)
    compact(store)
    with node_with(store, tmp_path, **SURFACES) as node:
        before = answers(node)
    assert log_reach(store) == (0, 13)
    assert Store(store).prune(1).removed == [1]
    with node_with(store, tmp_path, **SURFACES) as node:
        assert answers(node) == before
    assert log_reach(store) == (11, 13)  # the last batch stays, so that the log knows where it is
    with node_with(store, tmp_path, **SURFACES) as node:
        node.apply([{"op": "patch_item", "id": NEW, "columns": {"year": 2030}}])
        assert node.ask("fresh", user=1).live_seq == 14
    spec = [str(tmp_path / "spec.toml"), "--out", str(store), "--quiet"]
    refused = CliRunner().invoke(build, spec)
    assert isinstance(refused.exception, BadSpec) and "operations 12 to 14" in str(refused.exception)
    assert CliRunner().invoke(build, [*spec, "--live-seq", "11"]).exit_code == 0


@pytest.mark.parametrize("let_go", [False, True], ids=["log whole", "log let go of"])
def test_a_build_from_files_that_contain_the_log_keeps_blocks_and_budgets(store, tmp_path, let_go):
    some = [film["id"] for film in films()]
    week = {"budget": "push", "users": [1, 2], "limit": 1, "window": 7 * 86_400}
    with node_with(store, tmp_path, **SURFACES) as node:
        node.apply([{"op": "block", "user": 2, "item": one} for one in some[:20]])
        node.apply([{"op": "unblock", "user": 2, "item": some[0]}, {"op": "delete_item", "id": some[30]}])
        node.apply([{"op": "reserve", **week, "users": [1]}])
        shown = set(page_ids(node, 2))
    if let_go:
        compact(store)
        Store(store).prune(1)
        with node_with(store, tmp_path, **SURFACES) as node:
            node.apply([{"op": "patch_item", "id": some[40], "columns": {"price": 1}}])
    last = log_reach(store)[1]
    spec = [str(tmp_path / "spec.toml"), "--out", str(store), "--quiet"]
    assert CliRunner().invoke(build, [*spec, "--live-seq", str(last)]).exit_code == 0
    with node_with(store, tmp_path, **SURFACES) as node:
        assert node.ask("fresh", user=2).live_seq == last
        assert set(page_ids(node, 2)) == shown | {some[30]}, "the files have it"
        assert [list(one) for one in node.apply([{"op": "reserve", **week}]).granted] == [[0, 1]]


def test_an_epoch_that_was_activated_meanwhile_is_not_overwritten(store, tmp_path):
    with node_with(store, tmp_path, **SURFACES) as node:
        written(node)
        with LiveSource(store) as source:
            spec = [str(tmp_path / "spec.toml"), "--out", str(store), "--quiet"]
            assert CliRunner().invoke(build, spec).exit_code == 0
            with pytest.raises(StoreUnfit, match="epoch 2 was activated"):
                Builder(source, store, build_kernels(), 1 << 30, Silence()).build()
    assert Store(store).current() == 2 and [one.number for one in Store(store).epochs()] == [1, 2]


def test_the_command(store, tmp_path, monkeypatch):
    monkeypatch.setattr("os.nice", lambda _: 0)  # it would hold for all tests that follow
    run = CliRunner().invoke
    assert run(epoch_command, ["build", str(store)]).exit_code == 2
    nothing = run(epoch_command, ["build", str(store), "--from-live"])
    assert nothing.exit_code == 0 and "nothing was written since epoch 1" in nothing.output
    assert not (store / "live").exists()
    with node_with(store, tmp_path, **SURFACES) as node:
        written(node)
    done = run(epoch_command, ["build", str(store), "--from-live", "--no-activate"])
    assert done.exit_code == 0 and "not activated" in done.output and Store(store).current() == 1
    done = run(epoch_command, ["build", str(store), "--from-live", "--json"])
    assert done.exit_code == 0 and '"epoch":3' in done.output and Store(store).current() == 3


def test_every_item_gone_and_all_but_one(tmp_path):
    store = build_store(tmp_path)
    with node_with(store, tmp_path, **SURFACES) as node:
        node.apply([{"op": "delete_item", "id": film["id"]} for film in films()])
        before = [page_ids(node, user) for user in (0, 1)]
        compact(store)
    with node_with(store, tmp_path, **SURFACES) as node:
        assert node.engine.epoch.items.count == 0
        assert [page_ids(node, user) for user in (0, 1)] == before == [[], []]
        node.apply([{"op": "upsert_item", "id": NEW, "columns": {}, "vectors": {"taste": vector(1)}}])
        assert page_ids(node, 0) == [NEW]


def page_ids(node, user):
    return list(node.ask("fresh", user=user).ids)


def test_a_store_without_events_or_users_takes_them_on(tmp_path):
    build_store(tmp_path)
    text = (tmp_path / "spec.toml").read_text()
    bare = text[: text.index("[users]")] + '[spaces.look]\nitems = "items.npy"\nmetric = "cosine"\n'
    (tmp_path / "bare.toml").write_text(bare)
    store = tmp_path / "bare"
    done = CliRunner().invoke(build, [str(tmp_path / "bare.toml"), "--out", str(store), "--quiet"])
    assert done.exit_code == 0, done.output
    surfaces = {"recent": near("recent", SEEN).replace('space = "taste"', 'space = "look"')}
    item = films()[3]["id"]
    with node_with(store, tmp_path, **surfaces) as node:
        node.record(5, item, "view", 1_700_000_000)
        before = node.ask("recent", user=5)
        assert len(before) and item not in before.ids
        compact(store)
    with node_with(store, tmp_path, **surfaces) as node:
        page = node.ask("recent", user=5)
        assert page.epoch == 2 and page.ids.tolist() == before.ids.tolist()
        assert page.scores.tobytes() == before.scores.tobytes()
        assert node.engine.epoch.manifest.events.count == 1


def test_string_ids(tmp_path):
    """Ids, labels and text of all kinds go through a fold unchanged."""
    rows = [f'{{"id": "i{at}", "title": "\\u00e9{at}", "studio": "s{at % 3}"}}\n' for at in range(100)]
    (tmp_path / "items.jsonl").write_text("".join(rows))
    np.save(tmp_path / "items.npy", np.random.default_rng(1).standard_normal((100, 24)).astype(np.float32))
    (tmp_path / "spec.toml").write_text(
        '[items]\npath = "items.jsonl"\nid = "id"\ncolumns = { title = "text", studio = "category" }\n'
        '[spaces.taste]\nitems = "items.npy"\nmetric = "l2"\n'
    )
    store = tmp_path / "store"
    done = CliRunner().invoke(build, [str(tmp_path / "spec.toml"), "--out", str(store), "--quiet"])
    assert done.exit_code == 0, done.output
    with node_with(store, tmp_path, given=near("given")) as node:
        columns = {"title": "\U0001f3ac", "studio": "neu"}
        node.apply([{"op": "upsert_item", "id": "ü", "columns": columns, "vectors": {"taste": vector(2)}}])
        node.apply([{"op": "delete_item", "id": "i7"}, {"op": "upsert_item", "id": "leer"}])
        before = node.ask("given", vector=vector(2), fields=["title", "studio"])
        compact(store)
    with node_with(store, tmp_path, given=near("given")) as node:
        page = node.ask("given", vector=vector(2), fields=["title", "studio"])
        assert page.epoch == 2 and page.ids[0] == "ü" and "leer" not in page.ids and "i7" not in page.ids
        assert (list(page.ids), page.fields) == (list(before.ids), before.fields)
        assert page.scores.tobytes() == before.scores.tobytes()


def test_a_crash_at_any_step_leaves_the_old_epoch(store, tmp_path, monkeypatch):
    with node_with(store, tmp_path, **SURFACES) as node:
        written(node)
        before = answers(node)
    for name in (
        "write_carried",
        "write_codes",
        "build_popularity",
        "leave_out",
        "measure",
        "publish",
        "write_current",
    ):
        copy = tmp_path / name
        shutil.copytree(store, copy, ignore=shutil.ignore_patterns("overlay"))  # derived, and sparse
        with monkeypatch.context() as patched:
            patched.setattr(steps, name, raises)
            with pytest.raises(KeyboardInterrupt):
                compact(copy)
        with node_with(copy, tmp_path, **SURFACES) as node:
            assert node.engine.epoch_number == 1 and answers(node) == before, name
        assert compact(copy) is not None
        with node_with(copy, tmp_path, **SURFACES) as node:
            assert answers(node) == before, name


def raises(*_, **__):
    raise KeyboardInterrupt
