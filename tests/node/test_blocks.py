"""Blocks of items, of creators and of other values, for one user and for all."""

import numpy as np
import pytest
from film_store import BLOCKED, ITEMS, SEEN, build_store, films, near, node_with, vector
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mixline.node.errors import BadRequest
from mixline.storage import live_blocks
from mixline.storage.live_blocks import ValueRows

NEW = 900_001
FEW = """
limit = 400
[[source]]
kind = "nearest"
space = "taste"
query = "user"
limit = 10
[[source]]
kind = "popular"
limit = 10
[[filter]]
kind = "blocked"
[[selector]]
kind = "topk"
by = "nearest.score"
"""
BROUGHT = """
limit = 400
[[source]]
kind = "given"
[[filter]]
kind = "blocked"
[[selector]]
kind = "topk"
by = "given.score"
"""


@pytest.fixture
def store(tmp_path):
    return build_store(tmp_path)


@pytest.fixture
def node(store, tmp_path):
    surfaces = {"open": near(), "kept": near("user", SEEN, BLOCKED), "blocked": near("user", BLOCKED), "few": FEW}
    surfaces["brought"] = BROUGHT
    with node_with(store, tmp_path, **surfaces) as opened:
        yield opened


def block(**what):
    return {"op": "block", **what}


def unblock(**what):
    return {"op": "unblock", **what}


def having(**values):
    """Ids of the films with these values; of tags one is enough."""
    return {
        film["id"]
        for film in films()
        if all(value in film[name] if name == "genres" else film[name] == value for name, value in values.items())
    }


def ids(node, surface="kept", user=5, **ask):
    return node.ask(surface, user=user, **ask).ids.tolist()


TARGETS = [
    ({"creator": "north"}, having(studio="north")),
    ({"column": "studio", "value": "west"}, having(studio="west")),
    ({"column": "genres", "value": "Horror"}, having(genres="Horror")),
    ({"column": "price", "value": 7}, having(price=7)),
    ({"item": films()[3]["id"]}, {films()[3]["id"]}),
]


@pytest.mark.parametrize(("target", "gone"), TARGETS, ids=[str(target) for target, _ in TARGETS])
def test_a_block_for_one_user_and_for_all(node, target, gone):
    everything = {user: ids(node, user=user) for user in (5, 6)}
    nobody = node.ask("brought", candidates=sorted(gone)).ids.tolist()
    assert gone and sorted(nobody) == sorted(gone)
    node.apply([block(user=5, **target)])
    assert ids(node) == [one for one in everything[5] if one not in gone]
    assert ids(node, user=6) == everything[6] and gone & set(ids(node, "open"))
    node.apply([block(**target)])
    assert ids(node, user=6) == [one for one in everything[6] if one not in gone]
    assert node.ask("brought", candidates=sorted(gone)).ids.tolist() == []  # nobody asks, and it is dropped
    assert ids(node, "few", user=123_456) and not gone & set(ids(node, "few", user=123_456))
    node.apply([unblock(**target)])
    assert ids(node, user=6) == everything[6] and ids(node) == [one for one in everything[5] if one not in gone]
    node.apply([unblock(user=5, **target)])
    assert ids(node) == everything[5]


def test_a_blocked_row_takes_no_place_in_a_source(node):
    node.apply([block(creator="north"), block(user=5, column="genres", value="Drama")])
    page = node.ask("few", user=5)
    left = having() - having(studio="north") - having(genres="Drama")
    assert [entry.taken for entry in page.coverage if entry.stage == "source"] == [10, 10]
    assert set(page.ids.tolist()) <= left and len(page) >= 10


def test_items_that_come_later_are_blocked_by_their_value(node):
    """And a patch moves an item in and out."""
    node.apply([block(creator="new studio"), block(user=5, column="genres", value="Noir")])
    new = {"op": "upsert_item", "id": NEW, "vectors": {"taste": vector(3)}}
    for columns, seen_by in (
        ({"studio": "new studio"}, {5: False, 6: False}),
        ({"genres": ["War", "Noir"]}, {5: False, 6: True}),
        ({"studio": "other"}, {5: True, 6: True}),
    ):
        node.apply([{**new, "columns": columns}])
        assert {user: NEW in ids(node, user=user) for user in (5, 6)} == seen_by
    node.apply([{"op": "patch_item", "id": NEW, "columns": {"studio": "new studio"}}])
    assert NEW not in ids(node, user=6)
    node.apply([unblock(creator="new studio")])
    assert NEW in ids(node, user=6)


def test_a_blocked_item_stays_so_through_its_versions(node):
    one = films()[3]["id"]
    node.apply([block(item=one), {"op": "patch_item", "id": one, "columns": {"year": 1900}}])
    assert one not in ids(node)
    node.apply([{"op": "delete_item", "id": one}, {"op": "upsert_item", "id": one, "vectors": {"taste": vector(1)}}])
    assert one not in ids(node) and one in ids(node, "open")


def test_blocks_outlive_a_restart_and_many_events(node, store, tmp_path, monkeypatch):
    monkeypatch.setattr("mixline.storage.live_view.EVENTS_OF_USER_MAX", 8)
    one, other = films()[3]["id"], films()[4]["id"]
    node.apply([block(user=5, item=one), block(item=other), block(user=5, column="price", value=-1)])
    node.apply([{"op": "events", "users": [5] * 20, "items": [films()[at]["id"] for at in range(30, 50)]}])
    assert not {one, other} & set(ids(node))
    node.close()
    with node_with(store, tmp_path, kept=near("user", BLOCKED)) as again:
        assert set(ids(again)) == having() - {one, other}


BAD = [
    (block(), "give one of: item; creator; column with value"),
    (block(item=1, creator="north"), "give one of"),
    (block(column="genres"), "column and value go together"),
    (block(value="x"), "column and value go together"),
    (block(column="title", value="x"), "column 'title': it is text; values of category, tags, i64 are blocked: price"),
    (block(column="titel", value="x"), "column 'titel': there is no such column"),
    (block(column="price", value="much"), "column 'price' is i64; the value 'much' is not a whole number"),
    (block(item=99), "unknown item 99"),
]


@pytest.mark.parametrize(("op", "says"), BAD, ids=[says[:20] + str(at) for at, (_, says) in enumerate(BAD)])
def test_a_bad_block_is_refused(node, op, says):
    with pytest.raises(BadRequest, match=rf"ops\[0\] block: {says}"):
        node.apply([op])
    assert node.ask("kept", user=5).live_seq == 0


OPS = st.one_of(
    st.tuples(
        st.sampled_from(["block", "unblock"]),
        st.sampled_from([None, 5, 6]),
        st.sampled_from([target for target, _ in TARGETS]),
    ),
    st.tuples(st.just("upsert"), st.integers(0, 3), st.sampled_from(["north", "west", "east", None])),
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], phases=[Phase.generate]
)
@given(steps=st.lists(OPS, min_size=1, max_size=8), look=st.lists(st.booleans(), min_size=8, max_size=8))
def test_any_blocks_against_a_plain_model(node, steps, look):
    """One node through all examples: each begins with what the ones before it left."""
    world = node.__dict__.setdefault("world", {"films": {film["id"]: film for film in films()}, "blocks": set()})
    for (what, who, target), looks in zip(steps, look, strict=False):
        if what == "upsert":
            film = {"id": NEW + who, "studio": target, "price": 7, "genres": ["Horror"]}
            columns = {name: value for name, value in film.items() if name != "id"}
            vectors = {"taste": vector(who)}
            node.apply([{"op": "upsert_item", "id": film["id"], "columns": columns, "vectors": vectors}])
            world["films"][film["id"]] = film
        else:
            node.apply([{"op": what, **({} if who is None else {"user": who}), **target}])
            (world["blocks"].add if what == "block" else world["blocks"].discard)((who, *target.items()))
        for user in (5, 6) if looks else ():
            wanted = {one for one, film in world["films"].items() if not hidden(film, user, world["blocks"])}
            assert set(ids(node, "open", user)) == set(world["films"])
            assert set(ids(node, "blocked", user)) == wanted


def hidden(film, user, blocks):
    for who, *target in blocks:
        keys = dict(target)
        if "creator" in keys:
            keys = {"column": "studio", "value": keys["creator"]}
        if "item" in keys:
            keys = {"column": "id", "value": keys["item"]}
        has = film.get(keys["column"])
        if who in (None, user) and (keys["value"] in has if isinstance(has, list) else has == keys["value"]):
            return True
    return False


@pytest.mark.parametrize("chunk", [7, 1 << 16])
def test_rows_of_a_value_are_lists_or_bitmaps_and_grow(node, monkeypatch, chunk):
    monkeypatch.setattr(live_blocks, "CHUNK", chunk)
    epoch, names = node.engine.epoch, [*node.engine.epoch.items.facts.columns]
    rows = ValueRows(epoch)
    price, genres = names.index("price"), names.index("genres")
    horror = epoch.items.columns["genres"].codes["Horror"]
    asked = [(price, 7), (genres, horror), (price, 123)]
    ends = [ITEMS]
    for at in range(3):
        node.apply(
            [{"op": "upsert_item", "id": NEW + at, "columns": {"price": 7, "genres": ["War", "Horror"][: at + 1]}}]
        )
        ends.append(node.engine.live.view().items_end)
    for end in [*ends, *ends[::-1]]:
        known = films() + [{"price": 7, "genres": ["War", "Horror"][: at + 1]} for at in range(3)]
        every = [*range(ITEMS), *range(epoch.items.base, epoch.items.base + 3)]
        some = [(row, film) for row, film in zip(every, known, strict=True) if row < end]
        models = (lambda film: film["price"] == 7, lambda film: "Horror" in film["genres"], lambda film: False)
        for found, model in zip(rows.of(asked, end), [models[0], models[2], models[1]], strict=True):
            expected = [row for row, film in some if model(film)]
            if found.dtype == np.uint64:
                held = np.flatnonzero(np.unpackbits(found.view(np.uint8), bitorder="little"))
                assert held[: len(expected)].tolist() == expected and (held[len(expected) :] >= end).all()
            else:
                assert found.tolist() == expected
    monkeypatch.setattr(live_blocks, "KEPT_BYTES_MAX", 0)
    assert len(rows.of(asked, ITEMS)) == 3 and not rows._kept and rows._bytes == 0
