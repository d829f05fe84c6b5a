"""Living data in an in-process node: what was acknowledged is in the next answer, and as if it had been built so."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from film_store import (
    BLOCKED,
    DIM,
    ITEMS,
    SEEN,
    build_store,
    films,
    near,
    node_with,
    vector,
)

from mixline.node.errors import BadRequest, NotFound
from mixline.node.space_search import SpaceSearch
from mixline.storage.errors import StoreLocked
from mixline.tools.build import build

NEW = 900_001


@pytest.fixture
def store(tmp_path):
    return build_store(tmp_path)


@pytest.fixture
def node(store, tmp_path):
    surfaces = {
        "near": near(),
        "fresh": near("user", SEEN, BLOCKED),
        "recent": near("recent"),
        "given": near("given"),
        "like": near("item"),
        "late": near("given", '[[filter]]\nkind = "predicate"\nwhere = "year >= 2024 and studio == \'east\'"\n'),
    }
    with node_with(store, tmp_path, **surfaces) as opened:
        yield opened


def new_item(**more):
    columns = {"title": "a new film", "year": 2025, "studio": "east", "genres": ["War", "Noir"], "colour": True}
    return {"op": "upsert_item", "id": NEW, "columns": columns, "vectors": {"taste": vector(3)}, **more}


def test_a_new_item_is_in_the_next_answer_with_all_that_it_has(node):
    before = node.ask("given", vector=vector(3))
    assert NEW not in before.ids
    done = node.apply([new_item()])
    assert (done.first, done.live_seq, done.repeated, done.durability) == (1, 1, False, "sync")
    page = node.ask("given", vector=vector(3), fields=["title", "year", "price", "studio", "genres", "colour"])
    assert page.ids[0] == NEW and page.scores[0] == 100.0 and page.live_seq == 1
    assert {name: values[0] for name, values in page.fields.items()} == {
        "title": "a new film",
        "year": 2025.0,
        "price": None,
        "studio": "east",
        "genres": ["War", "Noir"],
        "colour": True,
    }
    assert page.ids[1:].tolist() == [one for one in before.ids.tolist() if one != NEW][: len(page) - 1]
    assert node.ask("like", item=NEW).ids[0] != NEW
    assert NEW in node.ask("like", item=films()[0]["id"]).ids
    late = node.ask("late", vector=vector(3))
    assert late.ids.tolist() == [NEW]


def test_a_patch_keeps_what_it_does_not_name(node):
    first = films()[4]
    before = node.ask("given", vector=vector(1), fields=["*"])
    place = before.ids.tolist().index(first["id"])
    node.apply([{"op": "patch_item", "id": first["id"], "columns": {"title": "renamed", "studio": "east"}}])
    page = node.ask("given", vector=vector(1), fields=["*"])
    assert page.ids.tolist() == before.ids.tolist()
    assert page.scores.tobytes() == before.scores.tobytes()
    for name, values in page.fields.items():
        changed = {"title": "renamed", "studio": "east"}.get(name, before.fields[name][place])
        if name != "popularity":
            assert values == [changed if at == place else one for at, one in enumerate(before.fields[name])], name
    node.apply([{"op": "patch_item", "id": first["id"], "vectors": {"taste": vector(1)}}])
    again = node.ask("given", vector=vector(1), fields=["title"])
    assert again.ids.tolist().count(first["id"]) == 1
    assert again.fields["title"][again.ids.tolist().index(first["id"])] == "renamed"


def test_a_deleted_item_is_gone_and_can_come_again(node):
    gone = films()[7]["id"]
    node.record(3, gone)
    node.apply([{"op": "delete_item", "id": gone}])
    assert gone not in node.ask("given", vector=vector(1)).ids
    with pytest.raises(NotFound):
        node.ask("like", item=gone)
    with pytest.raises(BadRequest, match="none to delete"):
        node.apply([{"op": "delete_item", "id": gone}])
    node.apply([{"op": "upsert_item", "id": gone, "vectors": {"taste": vector(1)}}])
    assert node.ask("given", vector=vector(1)).ids[0] == gone
    assert gone in node.ask("near", user=3).ids and gone not in node.ask("fresh", user=3).ids


def test_an_event_changes_the_users_next_page(node):
    page = node.ask("fresh", user=5)
    first = int(page.ids[0])
    node.record(5, first)
    assert node.ask("fresh", user=5).ids.tolist() == page.ids[1:].tolist()
    assert first in node.ask("fresh", user=6).ids or first in node.ask("near", user=6).ids
    items = [films()[at]["id"] for at in (10, 20, 30)]
    for at, item in enumerate(items):
        node.record(9, item, "view", 1_800_000_000 + at)
    history = node.engine.live.view().history(node.engine.epoch.users.row_of(9))
    assert node.engine.epoch.items.ids_of(history.rows[:3]).tolist() == items[::-1]


def test_a_user_that_only_events_name_is_made(node):
    assert len(node.ask("fresh", user=7_777)) == 0
    one = films()[0]["id"]
    node.record(7_777, one, "buy")
    page = node.ask("recent", user=7_777)
    assert len(page) > 0
    node.apply([{"op": "upsert_user", "id": 7_777, "vectors": {"taste": vector(2)}}])
    assert one not in node.ask("fresh", user=7_777).ids and len(node.ask("fresh", user=7_777)) == ITEMS - 1


def test_blocks_hold_for_one_user_until_taken_back(node):
    page = node.ask("fresh", user=5)
    first = int(page.ids[0])
    node.apply([{"op": "block", "user": 5, "item": first}])
    assert node.ask("fresh", user=5).ids.tolist() == page.ids[1:].tolist()
    assert first in node.ask("near", user=5).ids
    node.apply([{"op": "unblock", "user": 5, "item": first}])
    assert node.ask("fresh", user=5).ids.tolist() == page.ids.tolist()


BAD = [
    ({"op": "upsert_item", "id": "x"}, "item id 'x': must be a whole number"),
    ({"op": "upsert_item", "id": 5, "columns": {"yeer": 1}}, "no column 'yeer'"),
    (
        {"op": "upsert_item", "id": 5, "columns": {"year": "soon"}},
        "column 'year' is f32; the value 'soon' is not a number",
    ),
    ({"op": "upsert_item", "id": 5, "vectors": {"tast": [1.0]}}, "no space 'tast'"),
    ({"op": "upsert_item", "id": 5, "vectors": {"taste": [1.0]}}, "1 numbers; it takes 24"),
    ({"op": "upsert_item", "id": 5, "vectors": {"taste": [float("nan")] * DIM}}, "NaN or infinity"),
    ({"op": "patch_item", "id": 5}, "there is none to patch"),
    ({"op": "events", "users": [1], "items": [5]}, "unknown item"),
    ({"op": "events", "users": [1, 2], "items": [1000]}, "2 users and 1 items"),
    ({"op": "events", "users": [1], "items": [1000], "times": [-1]}, "times: 1 for 1 events"),
    ({"op": "shout"}, "op"),
    ({"op": "block", "user": 1}, "item"),
]


@pytest.mark.parametrize(("bad", "words"), BAD, ids=[words for _, words in BAD])
def test_a_bad_batch_is_refused_whole(node, bad, words):
    before = node.ask("given", vector=vector(3))
    with pytest.raises(BadRequest, match=words):
        node.apply(
            [
                new_item(columns={"studio": "nowhere", "genres": ["None"]}),
                {"op": "events", "users": [99], "items": [NEW]},
                bad,
            ]
        )
    after = node.ask("given", vector=vector(3))
    assert after.ids.tolist() == before.ids.tolist()
    node.apply([new_item()])
    assert node.ask("given", vector=vector(3), fields=["studio"]).fields["studio"][0] == "east"
    assert node.ask("given", vector=vector(3)).live_seq == 1


def test_what_is_sent_again_is_not_applied_again(node):
    item = films()[0]["id"]
    event = {"op": "events", "users": [3], "items": [item]}
    first = node.apply([event], client="tally", sequence=8)
    again = node.apply([event], client="tally", sequence=8)
    assert again == type(first)(first.first, first.live_seq, "sync", True)
    with pytest.raises(BadRequest, match="sequence 7 of client 'tally': 8 was applied already"):
        node.apply([event], client="tally", sequence=7)
    assert len(node.engine.live.view().events(node.engine.epoch.users.row_of(3))) == 1


def test_all_of_it_is_there_after_a_restart(node, store, tmp_path):
    item = films()[0]["id"]
    node.apply([new_item(), {"op": "events", "users": [5], "items": [NEW]}, {"op": "delete_item", "id": item}])
    asks = [("given", {"vector": vector(3)}), ("fresh", {"user": 5}), ("recent", {"user": 5})]
    before = [node.ask(surface, **ask) for surface, ask in asks]
    with pytest.raises(StoreLocked, match="writes it"), node_with(store, tmp_path, near=near()) as other:
        other.writer()
    node.close()
    for lost in (False, True):
        if lost:  # what is derived can go: the log makes it again
            shutil.rmtree(store / "live" / "overlay")
        with node_with(store, tmp_path, **SURFACES) as again:
            for (surface, ask), page in zip(asks, before, strict=True):
                same = again.ask(surface, **ask)
                assert same.ids.tolist() == page.ids.tolist() and same.scores.tobytes() == page.scores.tobytes()
                assert same.live_seq == page.live_seq == 3


def test_a_log_outlives_the_items_it_speaks_of(node, store, tmp_path):
    """The files are built again without some items; what the log says of them is left out, the rest is there."""
    gone, kept = films()[2]["id"], films()[3]["id"]
    node.apply([new_item(), {"op": "events", "users": [39, 39, 6], "items": [gone, kept, NEW]}])
    node.apply([{"op": "patch_item", "id": gone, "columns": {"title": "x"}}])
    node.close()
    rows = [film for film in films() if film["id"] != gone]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    np.save(tmp_path / "items.npy", np.delete(np.load(tmp_path / "items.npy"), 2, axis=0))
    text = (tmp_path / "spec.toml").read_text().replace('time = "time"', 'time = "time"\nunknown = "skip"')
    (tmp_path / "spec.toml").write_text(text)
    spec = [str(tmp_path / "spec.toml"), "--out", str(store), "--quiet"]
    refused = CliRunner().invoke(build, [*spec, "--live-seq", "6"])
    assert "has operations 1 to 5" in str(refused.exception)
    assert CliRunner().invoke(build, spec).exit_code == 0
    with node_with(store, tmp_path, **SURFACES) as again:
        page = again.ask("fresh", user=39)
        assert page.epoch == 2 and page.live_seq == 5 and kept not in page.ids and NEW in page.ids
    assert CliRunner().invoke(build, [*spec, "--live-seq", "5"]).exit_code == 0
    with node_with(store, tmp_path, **SURFACES) as again:
        page = again.ask("fresh", user=39)
        assert page.epoch == 3 and page.live_seq == 5 and kept in page.ids and NEW not in page.ids


SURFACES = {"given": near("given"), "fresh": near("user", SEEN, BLOCKED), "recent": near("recent")}


YOUNG = '[[filter]]\nkind = "predicate"\nwhere = "year >= 2000"\n'
FEW = {
    "dot": near("given").replace("limit = 400", "limit = 5"),
    "cosine": near("given").replace("limit = 400", "limit = 5").replace('space = "taste"', 'space = "look"'),
    "young": near("given", YOUNG).replace("limit = 400", "limit = 5"),
}


def test_many_new_items_are_found_by_their_codes(store, tmp_path, monkeypatch):
    """Whatever the batches were that brought them: with and without vectors, changed, deleted, over a restart."""
    scans = []
    late_scans = SpaceSearch.late_scans

    def counted(*given):
        found = late_scans(*given)
        scans.append(len(found))
        return found

    monkeypatch.setattr(SpaceSearch, "late_scans", counted)
    rng = np.random.default_rng(3)
    whole = {"taste": {}, "look": {}}
    for film, row in zip(films(), np.load(tmp_path / "items.npy"), strict=True):
        whole["taste"][film["id"]] = whole["look"][film["id"]] = row
    years = {film["id"]: film["year"] for film in films()}

    def batch(ids):
        ops = []
        for one in ids:
            vectors = {name: rng.standard_normal(DIM).astype(np.float32) for name in whole if rng.random() < 0.9}
            for name in whole:
                whole[name].pop(one, None)
                if name in vectors:
                    whole[name][one] = vectors[name]
            years[one] = float(rng.integers(1990, 2010))
            ops.append({"op": "upsert_item", "id": one, "columns": {"year": years[one]}, "vectors": vectors})
        return ops

    def check(node, what):
        for _ in range(8):
            asked = rng.standard_normal(DIM).astype(np.float32)
            for surface, name in (("dot", "taste"), ("cosine", "look"), ("young", "taste")):
                found = {one: score(asked, row, surface) for one, row in whole[name].items()}
                if surface == "young":
                    found = {one: each for one, each in found.items() if (years[one] or 0) >= 2000}
                best = sorted(found, key=lambda one: (-found[one], one))[:5]
                page = node.ask(surface, vector=asked)
                assert page.ids.tolist() == best, (what, surface)

    with node_with(store, tmp_path, **FEW) as node:
        for first, size in ((0, 1), (1, 14), (15, 1), (16, 1), (17, 110), (127, 3), (130, 200)):
            node.apply(batch(range(NEW + first, NEW + first + size)))
            check(node, f"{first + size} new")
        node.apply(batch([films()[3]["id"], NEW + 20, NEW + 130]))
        gone = [films()[4]["id"], NEW + 21, NEW + 329]
        node.apply([{"op": "delete_item", "id": one} for one in gone])
        for one in gone:
            whole["taste"].pop(one, None), whole["look"].pop(one, None)
        check(node, "changed and deleted")
        assert len(scans) > 100 and all(scans[-24:]) and not any(scans[:24])
    with node_with(store, tmp_path, **FEW) as node:
        check(node, "a restart")
        node.apply(batch(range(NEW + 330, NEW + 340)))
        check(node, "more after a restart")


def score(asked, row, surface):
    found = np.float64(asked) @ np.float64(row)
    return found / np.linalg.norm(np.float64(row)) if surface == "cosine" else found


@pytest.mark.parametrize("kind", ["numbers", "strings"])
def test_users_of_a_store_built_without_any_have_ids_of_the_items_kind(tmp_path, kind):
    ids = [str(at) if kind == "strings" else at for at in range(30)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps({"id": one}) + "\n" for one in ids))
    np.save(tmp_path / "items.npy", np.eye(30, DIM, dtype=np.float32))
    (tmp_path / "spec.toml").write_text(
        '[items]\npath = "items.jsonl"\nid = "id"\n[spaces.taste]\nitems = "items.npy"\n'
    )
    done = CliRunner().invoke(build, [str(tmp_path / "spec.toml"), "--out", str(tmp_path / "store"), "--quiet"])
    assert done.exit_code == 0, done.output or done.exception
    who, wrong = ("somebody", 5) if kind == "strings" else (5, "somebody")
    for _ in range(2):
        with node_with(tmp_path / "store", tmp_path, recent=near("recent", SEEN)) as node:
            node.record(who, ids[3])
            page = node.ask("recent", user=who)
            assert len(page) == 29 and ids[3] not in list(page.ids)
            with pytest.raises(BadRequest, match="user id"):
                node.record(wrong, ids[3])
