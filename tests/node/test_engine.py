"""The engine on a real store: every component against the plain computation, and every refusal by its status."""

import time

import numpy as np
import pytest
from film_store import DIM, ITEMS, USERS

from mixline.kernels import reference
from mixline.node import scans, space_search
from mixline.node.errors import BadRequest, ConfigError, InternalError, NotFound
from mixline.node.page import Page
from mixline.node.request import prepare
from mixline.storage.store import Store

NEAREST = """
limit = 20
[[source]]
name = "taste"
kind = "nearest"
space = "taste"
query = "{query}"
limit = {limit}
[[selector]]
kind = "topk"
by = "taste.score"
"""
SEEN = '[[filter]]\nkind = "seen"\n'
GIVEN = """
[[source]]
kind = "given"
{rest}
[[scorer]]
name = "final"
kind = "weighted"
terms = {{ "given.score" = 1.0 }}
[[selector]]
kind = "topk"
by = "final"
"""


@pytest.fixture(scope="module")
def epoch(film_store):
    with Store(film_store).open() as opened:
        yield opened


def ids_of_all(epoch):
    return epoch.items.ids_of(np.arange(ITEMS, dtype=np.uint32))


@pytest.mark.parametrize("with_seen", [False, True])
def test_nearest_is_the_plain_computation(node, epoch, with_seen):
    serving = node(near=NEAREST.format(query="user", limit=20) + (SEEN if with_seen else ""))
    space, keys = epoch.spaces["taste"], epoch.items.keys
    for user in range(USERS):
        allowed = np.ones(ITEMS, dtype=bool)
        if with_seen:
            allowed[epoch.seen(user)] = False
        rows, scores = reference.scan(space.items, space.users[user], 20, keys, allowed=allowed)
        page = serving.ask("near", user=user)
        assert page.ids.tolist() == epoch.items.ids_of(rows).tolist()
        assert page.scores.tobytes() == scores.tobytes()
        assert page.status == "OK" and page.epoch == 1


def test_nearest_by_item_given_vector_and_recent(node, epoch):
    serving = node(
        item=NEAREST.format(query="item", limit=5),
        given=NEAREST.format(query="given", limit=5),
        recent=NEAREST.format(query="recent", limit=5),
    )
    space, keys, ids = epoch.spaces["taste"], epoch.items.keys, ids_of_all(epoch)
    others = np.arange(ITEMS) != 8
    wanted = reference.scan(space.items, space.items[8], 5, keys, allowed=others)[0]
    assert serving.ask("item", item=int(ids[8])).ids.tolist() == ids[wanted].tolist()
    vector = np.linspace(-1, 1, DIM).astype(np.float32)
    wanted = reference.scan(space.items, vector, 5, keys)[0]
    assert serving.ask("given", vector=vector).ids.tolist() == ids[wanted].tolist()
    newest = list(dict.fromkeys(epoch.history(3).rows.tolist()))[:20]
    wanted = reference.scan(space.items, space.items[newest].mean(axis=0), 5, keys)[0]
    assert serving.ask("recent", user=3).ids.tolist() == ids[wanted].tolist()


def test_item_to_item_sums_the_lists(node, epoch):
    surface = '[[source]]\nname = "i2i"\nkind = "item_to_item"\n[[selector]]\nkind = "topk"\nby = "i2i.score"\n'
    graph, ids = epoch.neighbours, ids_of_all(epoch)
    seeds = np.array([2, 5], dtype=np.uint32)
    sums = reference.accumulate(graph.indptr, graph.indices, graph.weights, seeds, np.ones(2, np.float32))
    rows = np.array([row for row in sums if row not in (2, 5)], dtype=np.uint32)
    values = np.array([sums[row] for row in rows.tolist()], dtype=np.float32)
    best, scores = reference.top_k(values, rows, epoch.items.keys[rows], 25)
    page = node(i2i=surface).ask("i2i", items=ids[seeds])
    assert page.ids.tolist() == ids[best].tolist()
    assert page.scores.tolist() == scores.tolist()


def test_popular_leaves_out_the_seen(node, epoch):
    surface = '[[source]]\nkind = "popular"\nlimit = 30\n[[selector]]\nkind = "topk"\nby = "popular.score"\n'
    page = node(popular=surface + SEEN).ask("popular", user=4, limit=30)
    order = [row for row in epoch.popularity.rows.tolist() if row not in epoch.seen(4)][:30]
    assert page.ids.tolist() == ids_of_all(epoch)[order].tolist()
    assert page.scores[0] <= 1.0 and (np.diff(page.scores) <= 0).all()


def test_given_candidates_are_taken_in_order_and_unknown_ones_counted(node, epoch):
    ids = ids_of_all(epoch)
    given = [int(ids[9]), 5, int(ids[3]), int(ids[9]), 6]
    page = node(given=GIVEN.format(rest="")).ask("given", candidates=given)
    assert page.ids.tolist() == [ids[9], ids[3]]
    assert page.status == "DEGRADED"
    assert "2 of 5 given ids are unknown" in page.coverage[0].why


def test_filters_cap_and_fields(node, epoch):
    rest = """
[[filter]]
kind = "predicate"
where = 'year >= 1960 and "Drama" in genres'
[[filter]]
kind = "duplicate"
by = "price"
"""
    capped = GIVEN.format(rest=rest) + '[[selector]]\nkind = "category_cap"\ncolumn = "studio"\nmax = 2\n'
    page = node(given=capped).ask("given", candidates=ids_of_all(epoch), limit=50, fields=["*"])
    fields = page.fields
    assert len(page) > 3
    assert all(year >= 1960 for year in fields["year"])
    assert all("Drama" in genres for genres in fields["genres"])
    prices = [price for price in fields["price"] if price is not None]
    assert len(prices) == len(set(prices))
    studios = [studio for studio in fields["studio"] if studio is not None]
    assert max(studios.count(studio) for studio in studios) <= 2
    assert fields["title"][0].startswith("film ")


@pytest.mark.parametrize("surface", ["homefeed", "near"])
def test_group_agnosticism(node, surface):
    serving = node(near=NEAREST.format(query="user", limit=7) + SEEN)
    users = [3, 17, 999, 4, 3]
    many = serving.ask(surface, users=users, limit=6, request_id=1)
    for at, user in enumerate(users):
        start, stop = many.groups[at], many.groups[at + 1]
        one = serving.ask(surface, user=user, limit=6, request_id=1)
        assert many.ids[start:stop].tolist() == one.ids.tolist()
        assert many.scores[start:stop].tobytes() == one.scores.tobytes()


def test_shipped_surfaces_serve_known_and_unknown_users(node, epoch):
    serving = node()
    page = serving.ask("homefeed", user=7, explain=True)
    seen = set(epoch.items.ids_of(epoch.seen(7)).tolist())
    assert page.status == "OK" and len(page) == 25 and not seen & set(page.ids.tolist())
    assert all(sources for sources in page.sources)
    terms = page.explain[0]["terms"]["final"]
    assert sum(terms.values()) == pytest.approx(page.scores[0], rel=1e-6)
    cold = serving.ask("homefeed", user=12345)
    assert cold.status == "OK" and {name for sources in cold.sources for name in sources} <= {"popular", "explore"}
    ranked = serving.ask("rank", user=7, candidates=page.ids[::-1], limit=25)
    assert sorted(ranked.ids.tolist()) == sorted(page.ids.tolist())
    assert (np.diff(ranked.scores) <= 0).all()
    related = serving.ask("related", item=int(epoch.items.id_of(3)))
    assert len(related) == 25 and epoch.items.id_of(3) not in related.ids


@pytest.mark.parametrize(
    ("surface", "arguments", "error", "said"),
    [
        ("homefed", {}, BadRequest, "did you mean 'homefeed'"),
        ("related", {}, BadRequest, "give item="),
        ("related", {"item": 5}, NotFound, "5"),
        ("related", {"item": "x"}, NotFound, "x"),
        ("homefeed", {"limit": 0}, BadRequest, "limit 0"),
        ("homefeed", {"limit": 10**9}, BadRequest, "limit"),
        ("homefeed", {"user": 1, "users": [2]}, BadRequest, "one of them"),
        ("homefeed", {"users": []}, BadRequest, "0 ids"),
        ("homefeed", {"fields": ["titel"]}, BadRequest, "did you mean 'title'"),
        ("homefeed", {"cursor": "x"}, BadRequest, "cursor: was not made by this node"),
        ("homefeed", {"params": {"x": [1]}}, BadRequest, "params"),
        ("known", {"user": 999}, NotFound, "999"),
        ("known", {}, BadRequest, "needs user="),
        ("vec", {}, BadRequest, "give vector="),
        ("vec", {"vector": [1.0]}, BadRequest, "1 dimensions"),
        ("vec", {"vector": [float("nan")] * DIM}, BadRequest, "NaN"),
        ("asks", {"user": 1}, BadRequest, "'least'"),
    ],
)
def test_bad_requests_are_refused_by_name(node, surface, arguments, error, said):
    predicate = '[[filter]]\nkind = "predicate"\nwhere = "year > params.least"\n'
    serving = node(
        known='unknown_user = "error"\n' + NEAREST.format(query="user", limit=5),
        vec=NEAREST.format(query="given", limit=5),
        asks=NEAREST.format(query="user", limit=5) + predicate,
    )
    with pytest.raises(error, match=said):
        serving.ask(surface, **arguments)
    assert len(serving.ask("homefeed", user=1)) == 25


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x81\xa4user\xc0\xff", b"\xdd\xff\xff\xff\xff"])
def test_bodies_that_are_no_ask(node, body):
    serving = node()
    header = prepare("homefeed").header
    deadline_ns = time.monotonic_ns() + 10**9
    with pytest.raises(BadRequest, match="request body"):
        serving.engine.answer(header, body, deadline_ns, lambda: False)


def test_a_deep_body_is_refused_and_not_followed(node):
    header = prepare("homefeed").header
    with pytest.raises(BadRequest):
        node().engine.answer(header, b"\x81\xa6params" + b"\x91" * 200_000, time.monotonic_ns() + 10**9, lambda: False)


def test_a_failing_component_harms_only_itself(node):
    rest = '[[source]]\nname = "bad"\nkind = "odd_components.{kind}"\n{more}'
    near = NEAREST.format(query="user", limit=5)
    serving = node(
        skips=near + rest.format(kind="RaisingSource", more=""),
        fails=near + rest.format(kind="RaisingSource", more='on_error = "fail"\n'),
        outside=near + rest.format(kind="OutsideSource", more=""),
    )
    for name, why in (("skips", "no luck"), ("outside", "row 1000000")):
        page = serving.ask(name, user=1)
        assert page.status == "DEGRADED" and len(page) == 5
        states = {entry.name: (entry.state, entry.why) for entry in page.coverage}
        assert states["bad"][0] == "failed" and why in states["bad"][1]
        assert states["taste"][0] == "ok"
    with pytest.raises(InternalError, match="no luck"):
        serving.ask("fails", user=1)


def test_a_page_survives_the_loss_of_its_final_scorer(node):
    surface = NEAREST.format(query="user", limit=9).replace('by = "taste.score"', 'by = "s"')
    page = node(lost=surface + '[[scorer]]\nname = "s"\nkind = "odd_components.ShortScorer"\n').ask("lost", user=1)
    assert page.status == "DEGRADED" and len(page) == 9 and np.isnan(page.scores).all()
    assert {entry.name for entry in page.coverage if entry.state == "failed"} == {"s"}


def test_a_failed_scorer_may_count_as_nothing(node):
    near = NEAREST.format(query="user", limit=9).replace('by = "taste.score"', 'by = "final"')
    short = '[[scorer]]\nname = "s"\nkind = "odd_components.ShortScorer"\non_error = "{on_error}"\n'
    final = '[[scorer]]\nname = "final"\nkind = "weighted"\nterms = { "taste.score" = 1.0, s = 1.0 }\n'
    serving = node(default=near + short.format(on_error="default") + final, plain=NEAREST.format(query="user", limit=9))
    page = serving.ask("default", user=1)
    assert page.status == "DEGRADED"
    assert page.ids.tolist() == serving.ask("plain", user=1).ids.tolist()


def test_custom_columns_are_checked(node):
    near = NEAREST.format(query="user", limit=9)
    serving = node(
        short=near.replace("taste.score", "s") + '[[scorer]]\nname = "s"\nkind = "odd_components.ShortScorer"\n',
        nan=near.replace("taste.score", "s") + '[[scorer]]\nname = "s"\nkind = "odd_components.NanScorer"\n',
        greedy=near + '[[selector]]\nkind = "odd_components.GreedySelector"\n',
        even=near + '[[filter]]\nkind = "odd_components.EvenFilter"\n',
    )
    assert "shape" in next(e.why for e in serving.ask("short", user=1).coverage if e.name == "s")
    page = serving.ask("nan", user=1)
    assert np.isfinite(page.scores[:4]).all() and not np.isfinite(page.scores[4:]).any()
    greedy = serving.ask("greedy", user=1)
    assert greedy.status == "DEGRADED" and len(set(greedy.ids.tolist())) == len(greedy)
    entry = next(e for e in serving.ask("even", user=1).coverage if e.stage == "filter")
    assert entry.taken + entry.left == 9 and entry.left > 0


def test_what_a_component_binds_is_at_hand_when_it_runs(node, epoch):
    near = NEAREST.format(query="user", limit=9).replace("taste.score", "b")
    bound = near + '[[scorer]]\nname = "b"\nkind = "odd_components.BoundScorer"\n'
    page = node(bound=bound).ask("bound", user=1)
    rows = epoch.items.rows_of(page.ids)
    assert page.status == "OK" and page.scores.tolist() == rows.tolist() == sorted(rows.tolist(), reverse=True)
    with pytest.raises(ConfigError, match=r"scorer 'b': bind: RuntimeError: nothing to bind"):
        node(broken=bound + "fails = true\n")


def test_sources_of_other_types_are_taken_and_impossible_rows_are_not(node, epoch):
    wide = '[[source]]\nname = "w"\nkind = "odd_components.WideSource"\nlast = {last}\n'
    select = '[[selector]]\nkind = "topk"\nby = "w.score"\n'
    serving = node(wide=wide.format(last=2) + select, under=wide.format(last=-1) + select)
    page = serving.ask("wide")
    assert page.ids.tolist() == [epoch.items.id_of(5), epoch.items.id_of(2)] and page.scores.tolist() == [0.5, 0.25]
    page = serving.ask("under")
    assert page.status == "DEGRADED" and not len(page) and "row -1 of" in page.coverage[0].why


@pytest.mark.parametrize("column", ["half", "strided"])
def test_columns_of_any_layout_are_ordered_added_and_shown(node, epoch, column):
    near = NEAREST.format(query="user", limit=9)
    odd = '[[hydrator]]\nname = "odd"\nkind = "odd_components.HalfHydrator"\n'
    blend = f'[[scorer]]\nname = "final"\nkind = "weighted"\nterms = {{ {column} = 1.0 }}\n'
    serving = node(
        direct=near.replace("taste.score", column) + odd, added=near.replace("taste.score", "final") + odd + blend
    )
    direct, added = serving.ask("direct", user=1), serving.ask("added", user=1)
    rows = epoch.items.rows_of(direct.ids)
    wanted = (rows / 512).astype(np.float16) if column == "half" else rows
    assert direct.status == "OK" and direct.scores.tolist() == wanted.tolist()
    assert added.ids.tolist() == direct.ids.tolist() and added.scores.tolist() == direct.scores.tolist()


@pytest.mark.parametrize("limit", [5, 50], ids=["codes", "float32"])
def test_the_deadline_leaves_the_best_so_far(node, epoch, monkeypatch, limit):
    monkeypatch.setattr(scans, "SLICE_BYTES", DIM * 48)
    monkeypatch.setattr(space_search, "SLICE_BYTES", 4 * DIM * 48)
    serving = node(near=NEAREST.format(query="user", limit=limit))
    header, body = prepare("near", user=1, deadline_ms=1, limit=limit)
    pulses = iter([False, False, True, True, True, True, True])
    status, encoded = serving.engine.answer(header, body, time.monotonic_ns() + 10**12, lambda: next(pulses, True))
    assert status == "DEGRADED" and b"deadline after 144 of 300 rows" in encoded
    space = epoch.spaces["taste"]
    rows, _ = reference.scan(space.items[:144], space.users[1], limit, epoch.items.keys[:144])
    assert epoch.items.ids_of(rows).tobytes() in encoded


def test_the_same_request_gives_the_same_bytes(node):
    serving = node()
    first, again = (serving.ask("homefeed", user=9, request_id=7) for _ in range(2))
    assert first.ids.tobytes() == again.ids.tobytes() and first.scores.tobytes() == again.scores.tobytes()
    assert first.request_id == again.request_id


def test_ask_many_keeps_failures_in_their_place(node):
    found = node().ask_many([{"surface": "homefeed", "user": 1}, {"surface": "x"}, {"surface": "related", "item": 1}])
    assert isinstance(found[0], Page) and isinstance(found[1], BadRequest) and isinstance(found[2], NotFound)


def test_a_surface_that_does_not_fit_the_store_is_refused_whole(node):
    bad = """
[[source]]
kind = "nearest"
space = "tast"
[[hydrator]]
kind = "columns"
columns = ["yaer"]
[[filter]]
kind = "predicate"
where = 'studio > 3 and year == "x"'
[[scorer]]
name = "final"
kind = "weighted"
terms = { "nearest.scor" = 1.0 }
[[selector]]
kind = "topk"
by = "finall"
"""
    with pytest.raises(ConfigError) as refused:
        node(bad=bad)
    text = str(refused.value)
    for said in ("'tast'", "'yaer'", "studio is category", "year is f32", "'nearest.score'", "'final'"):
        assert said in text, said
