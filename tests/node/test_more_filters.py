"""Filters by age, language, frequency and near duplicates, beside what a plain look at the data would drop."""

import numpy as np
import pytest
from film_store import node_with
from shop_store import DAY, HOUR, NOW, articles, vectors

from mixline.node.errors import ConfigError

GIVEN = """
[[source]]
kind = "given"
[[filter]]
{rest}
[[selector]]
kind = "topk"
by = "given.score"
"""
LATEST = GIVEN.replace('kind = "given"', 'kind = "latest"\ncolumn = "at"\nlimit = {limit}').replace("given", "latest")
ALL = [one["id"] for one in articles()]
BY_ID = {one["id"]: one for one in articles()}


def kept(node, name, **given):
    page = node.ask(name, candidates=ALL, limit=len(ALL), time=NOW, **given)
    return sorted(page.ids.tolist())


def test_age_drops_what_is_too_old_too_new_or_undated(shop_store, tmp_path):
    young = GIVEN.format(rest='kind = "age"\ncolumn = "at"\nmost = "10h"')
    ripe = GIVEN.format(rest='kind = "age"\ncolumn = "at"\nleast = "50h"\nmissing = "keep"')
    past = GIVEN.format(rest='kind = "age"\ncolumn = "at"')
    with node_with(shop_store, tmp_path, young=young, ripe=ripe, past=past) as node:
        assert kept(node, "young") == [one for one in ALL[:11] if one != 107]
        assert kept(node, "ripe") == [107, *ALL[50:]]
        page = node.ask("past", candidates=ALL, limit=60, time=NOW - 30 * HOUR)
        assert sorted(page.ids.tolist()) == ALL[30:]


def test_sources_leave_out_what_is_too_old_as_time_goes_on(own_shop, tmp_path):
    young = LATEST.format(limit=60, rest='kind = "age"\ncolumn = "at"\nmost = "16h"')
    with node_with(own_shop, tmp_path, young=young) as node:
        for hours in (0, 1, 2, 30, 1):
            page = node.ask("young", limit=60, time=NOW + hours * HOUR)
            assert sorted(page.ids.tolist()) == [one for one in ALL[: max(0, 17 - hours)] if one != 107]
            assert page.coverage[1].taken + page.coverage[1].left <= 18
        node.apply([{"op": "upsert_item", "id": 900, "columns": {"at": NOW + HOUR}}])
        assert 900 in node.ask("young", limit=60, time=NOW + HOUR).ids.tolist()


def test_language_is_the_users_the_requests_or_the_default(shop_store, tmp_path):
    rest = 'kind = "language"\ncolumn = "lang"\nusers = "speaks"\ndefault = ["fr"]'
    few = LATEST.format(limit=5, rest=rest)
    with node_with(shop_store, tmp_path, plain=GIVEN.format(rest=rest), few=few) as node:

        def of(*languages):
            return [one for one in ALL if BY_ID[one]["lang"] in (None, *languages)]

        assert kept(node, "plain", user=1) == of("en")
        assert kept(node, "plain", user=3) == of("de", "fr")
        assert kept(node, "plain", user=2) == kept(node, "plain") == of("fr")
        assert kept(node, "plain", user=1, params={"languages": "de, tlh"}) == of("de")
        assert kept(node, "plain", user=1, params={"languages": "tlh"}) == of()
        groups = node.ask("plain", users=[1, 3], candidates=ALL, limit=60)
        assert sorted(groups.ids.tolist()[: len(of("en"))]) == of("en")
        dated = [one for one in of("en") if BY_ID[one]["at"] is not None]
        assert node.ask("few", user=1, time=NOW).ids.tolist() == dated[:5], "left out before the limit"


def test_frequency_caps_by_id_and_by_category(own_shop, tmp_path):
    twice = GIVEN.format(rest='kind = "frequency"\nmost = 2\nwindow = "1d"\nactions = ["view"]')
    maker = GIVEN.format(rest='kind = "frequency"\nby = "maker"\nmost = 3\nwindow = "1d"')
    topic = GIVEN.format(rest='kind = "frequency"\nby = "topics"\nmost = 2\nwindow = "1d"')
    with node_with(own_shop, tmp_path, twice=twice, maker=maker, topic=topic) as node:
        assert kept(node, "twice", user=1) == [one for one in ALL if one != 104]
        assert kept(node, "twice", user=3) == kept(node, "twice") == ALL
        assert kept(node, "maker", user=1) == [one for one in ALL if BY_ID[one]["maker"] != "bob"]
        often = {"code"} | {"bike"} & set(BY_ID[110]["topics"])  # 104 twice is code; 110 once is bike and code
        assert often == {"code"} or BY_ID[110]["topics"] == ["bike"]
        met = [*BY_ID[104]["topics"] * 2, *BY_ID[110]["topics"]]
        assert kept(node, "topic", user=1) == [
            one for one in ALL if not any(met.count(tag) >= 2 for tag in BY_ID[one]["topics"])
        ]
        node.record(user=2, item=105, action="view", time=NOW - 5)
        node.record(user=2, item=105, action="view", time=NOW - 2 * DAY)
        assert 105 in kept(node, "twice", user=2)
        node.record(user=2, item=105, action="view", time=NOW - 6)
        assert 105 not in kept(node, "twice", user=2)


def test_near_duplicates_of_what_is_better_or_asked_about_go(own_shop, tmp_path):
    unit = vectors() / np.linalg.norm(vectors(), axis=1, keepdims=True)
    near = unit @ unit.T
    both = GIVEN.format(rest='kind = "near_duplicate"\nleast = 0.8')
    asked = GIVEN.format(rest='kind = "near_duplicate"\nleast = 0.8\nto = ["items"]')
    with node_with(own_shop, tmp_path, both=both, asked=asked) as node:
        stay = []
        for at in range(len(ALL)):
            if not any(near[at, other] >= 0.8 for other in stay):
                stay.append(at)
        assert kept(node, "both") == [100 + at for at in stay]
        assert 120 in kept(node, "both") and not {121, 122} & set(kept(node, "both"))
        assert kept(node, "asked", item=105) == [100 + at for at in range(60) if near[at, 5] < 0.8]
        assert 105 not in kept(node, "both", item=105)
        reversed_ = node.ask("both", candidates=[122, 121, 120], limit=3).ids.tolist()
        assert reversed_ == [122]
        node.apply([{"op": "upsert_item", "id": 900, "columns": {}}, {"op": "upsert_item", "id": 901, "columns": {}}])
        assert sorted(node.ask("both", candidates=[900, 901, 120], limit=3).ids.tolist()) == [120, 900, 901]


def test_what_cannot_work_is_refused_at_load(shop_store, tmp_path):
    for rest, words in (
        ('kind = "age"\ncolumn = "at"\nmost = "soon"', "most: 'soon'"),
        ('kind = "age"\ncolumn = "maker"', "column = 'maker'"),
        ('kind = "language"\ncolumn = "words"', "column = 'words'"),
        ('kind = "language"\ncolumn = "lang"\nusers = "age"', "users = 'age'"),
        ('kind = "frequency"\nwindow = "0d"', "window"),
        ('kind = "frequency"\nwindow = "1d"\nmost = 0', "most = 0"),
        ('kind = "frequency"\nwindow = "1d"\nby = "words"', "by = 'words'"),
        ('kind = "near_duplicate"\nleast = 0.0', "least = 0.0"),
        ('kind = "near_duplicate"\nto = []', "to = []"),
        ('kind = "near_duplicate"\nspace = "x"', "space = 'x'"),
    ):
        with pytest.raises(ConfigError) as refused:
            node_with(shop_store, tmp_path, bad=GIVEN.format(rest=rest))
        assert words in str(refused.value), refused.value
