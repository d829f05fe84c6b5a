"""Features of users, of their recent items and of the likeness to these, beside a plain computation."""

import numpy as np
import pytest
from film_store import node_with
from shop_store import HOUR, NOW, articles, vectors

from mixline.node.errors import ConfigError

GIVEN = """
[[source]]
kind = "given"
{rest}
[[selector]]
kind = "topk"
by = "given.score"
"""
ALL = [one["id"] for one in articles()]
BY_ID = {one["id"]: one for one in articles()}
USER = """
[[hydrator]]
kind = "user"
columns = ["age"]
crosses = { spoken = ["speaks", "lang"], shared = ["topics", "topics"], longer = ["words", "words"] }
"""
RECENT = """
[[hydrator]]
kind = "recent"
recent = { items = 2, actions = { view = 1.0, like = 3.0 }, half_life = "36500d" }
[hydrator.columns]
words = { of = "mean", column = "words" }
least = { of = "least", column = "words" }
most = { of = "most", column = "words" }
gap = { of = "gap", column = "words" }
maker = { of = "share", column = "maker" }
topics = { of = "share", column = "topics" }
items = { of = "items" }
since = { of = "since" }
"""


def columns_of(page):
    """Columns of the block by id."""
    return {one: reason["columns"] for one, reason in zip(page.ids.tolist(), page.explain, strict=True)}


def ask(node, name, **given):
    page = node.ask(name, candidates=ALL, limit=len(ALL), explain=True, time=NOW, **given)
    assert page.status == "OK", page.coverage
    return columns_of(page)


def test_what_is_known_of_the_user_stands_beside_every_candidate(shop_store, tmp_path):
    with node_with(shop_store, tmp_path, plain=GIVEN.format(rest=USER)) as node:
        for user, age, speaks, topics, words in (
            (1, 30.0, {"en"}, {"art"}, 300.0),
            (3, 50.0, {"de", "fr"}, {"bike", "code"}, 0.0),
            (2, None, set(), set(), None),
            (99, None, None, None, None),
        ):
            for one, found in ask(node, "plain", user=user).items():
                lang, own = BY_ID[one]["lang"], set(BY_ID[one]["topics"])
                assert found["user.age"] == age
                assert found["user.spoken"] == (None if speaks is None or lang is None else float(lang in speaks))
                assert found["user.shared"] == (None if topics is None else float(len(own & topics)))
                assert found["user.longer"] == (None if words is None else BY_ID[one]["words"] - words)


def test_each_user_of_many_has_their_own_features(shop_store, tmp_path):
    with node_with(shop_store, tmp_path, plain=GIVEN.format(rest=USER + RECENT)) as node:
        many = node.ask("plain", users=[3, 99, 1], candidates=ALL[:9], limit=9, explain=True, time=NOW)
        for at, user in enumerate([3, 99, 1]):
            alone = node.ask("plain", user=user, candidates=ALL[:9], limit=9, explain=True, time=NOW)
            mine = slice(*many.groups[at : at + 2].tolist())
            assert [one["columns"] for one in many.explain[mine]] == [one["columns"] for one in alone.explain]


def test_aggregates_are_those_of_the_newest_items_by_weight(shop_store, tmp_path):
    liked, viewed = BY_ID[110], BY_ID[104]  # the two newest items of user 1, weighing 3 and 1
    with node_with(shop_store, tmp_path, plain=GIVEN.format(rest=RECENT)) as node:
        mean = (3 * liked["words"] + viewed["words"]) / 4
        for one, found in ask(node, "plain", user=1).items():
            own = BY_ID[one]
            assert found["recent.words"] == pytest.approx(mean)
            assert found["recent.gap"] == pytest.approx(own["words"] - mean)
            assert (found["recent.least"], found["recent.most"]) == tuple(sorted((liked["words"], viewed["words"])))
            share = (3 * (own["maker"] == liked["maker"]) + (own["maker"] == viewed["maker"])) / 4
            assert found["recent.maker"] == pytest.approx(share)
            tags = [(3 * (tag in liked["topics"]) + (tag in viewed["topics"])) / 4 for tag in own["topics"]]
            assert found["recent.topics"] == pytest.approx(max(tags, default=0.0))
            assert (found["recent.items"], found["recent.since"]) == (2.0, float(HOUR))
        nobody = ask(node, "plain", user=2)[100]
        assert (nobody["recent.items"], nobody["recent.maker"]) == (0.0, 0.0)
        assert nobody["recent.words"] is nobody["recent.since"] is nobody["recent.gap"] is None


def test_likeness_is_the_cosine_with_what_the_user_did_last(own_shop, tmp_path):
    rest = '[[hydrator]]\nkind = "similarity"\nrecent = { items = 3 }\n'
    with node_with(own_shop, tmp_path, plain=GIVEN.format(rest=rest)) as node:
        unit = vectors() / np.linalg.norm(vectors(), axis=1, keepdims=True)
        near = unit @ unit[[10, 4, 1]].T
        for one, found in ask(node, "plain", user=1).items():
            at = one - 100
            told = [found[f"similarity.{name}"] for name in ("last", "most", "mean")]
            assert told == pytest.approx([near[at, 0], near[at].max(), near[at].mean()], abs=1e-6)
        assert ask(node, "plain", user=2)[100]["similarity.most"] is None
        node.apply([{"op": "upsert_item", "id": 900, "columns": {}, "vectors": {"look": vectors()[33]}}])
        node.apply([{"op": "upsert_item", "id": 901, "columns": {}}])
        node.record(user=2, item=900, action="view", time=NOW - 5)
        page = node.ask("plain", user=2, candidates=[133, 900, 901], explain=True, time=NOW)
        found = columns_of(page)
        assert found[133]["similarity.last"] == pytest.approx(1.0)
        assert found[900]["similarity.mean"] == pytest.approx(1.0)
        assert found[901]["similarity.last"] is None


def test_what_cannot_work_is_refused_at_load(shop_store, tmp_path):
    for rest, words in (
        ('kind = "user"', "columns, crosses: name at least one"),
        ('kind = "user"\ncolumns = ["speaks"]', "users have no number 'speaks'"),
        ('kind = "user"\ncrosses = { x = ["age", "lang"] }', "'age' of users is f32, 'lang' of items is category"),
        ('kind = "user"\ncrosses = { x = ["height", "lang"] }', "users have no column 'height'"),
        ('kind = "recent"\ncolumns = { x = { of = "mean" } }', "of = 'mean' needs a column"),
        ('kind = "recent"\ncolumns = { x = { of = "mean", column = "lang" } }', "needs a column of numbers"),
        ('kind = "recent"\ncolumns = { x = { of = "share", column = "words" } }', "needs a category or tags column"),
        ('kind = "recent"\ncolumns = { x = { of = "since", column = "words" } }', "needs no column"),
        ('kind = "similarity"\nspace = "taste"', "space = 'taste'"),
    ):
        with pytest.raises(ConfigError) as refused:
            node_with(shop_store, tmp_path, bad=GIVEN.format(rest=f"[[hydrator]]\n{rest}"))
        assert words in str(refused.value), refused.value
