"""Quotas, checks until enough pass, caps within a window and dynamic slots."""

import pytest
from film_store import STUDIOS, near, node_with
from hypothesis import given, settings
from hypothesis import strategies as st
from shop_store import NOW, articles

from mixline.node.components.selectors.category_cap_selector import spread
from mixline.node.components.selectors.quota_selector import fill, places_of
from mixline.node.errors import ConfigError

PAGE = """
limit = 20
[[source]]
kind = "given"
[[source]]
kind = "latest"
column = "at"
limit = 4
{rest}
"""
ALL = [one["id"] for one in articles()]
BY_ID = {one["id"]: one for one in articles()}


def selector(rest, before='[[selector]]\nkind = "topk"\nby = "given.score"\nlimit = 100\n'):
    return PAGE.format(rest=f"{before}[[selector]]\n{rest}")


def ids(page):
    return page.ids.tolist()


def test_quotas_by_label_keep_the_order_of_who_is_taken(shop_store, tmp_path):
    rest = 'kind = "quota"\ncolumn = "maker"\nleast = { cleo = 0.5 }\nmost = { bob = 1 }'
    with node_with(shop_store, tmp_path, page=selector(rest)) as node:
        page = node.ask("page", candidates=ALL, limit=8, time=NOW)
        makers = [BY_ID[one]["maker"] for one in ids(page)]
        assert len(makers) == 8 and makers.count("cleo") >= 4 and makers.count("bob") == 1
        assert ids(page) == sorted(ids(page)), "the order of the candidates"
        assert page.coverage[-1].how == ""
        few = node.ask("page", candidates=[101, 104, 107, 102], limit=8, time=NOW - 200 * 3600)
        assert sorted(ids(few)) == [101, 102, 104, 107]
        assert few.coverage[-1].how == "3 fewer of cleo; 2 more of bob"


def test_quotas_of_sources_and_tags(shop_store, tmp_path):
    fresh = 'kind = "quota"\nleast = { latest = 2 }\nmost = { given = 3 }'
    tags = 'kind = "quota"\ncolumn = "topics"\nmost = { art = 2, code = 0.25 }'
    with node_with(shop_store, tmp_path, fresh=selector(fresh), tags=selector(tags)) as node:
        page = node.ask("fresh", candidates=ALL[30:], limit=5, time=NOW)
        assert sorted(ids(page)) == [100, 101, 130, 131, 132]
        page = node.ask("tags", candidates=ALL, limit=8, time=NOW)
        topics = [tag for one in ids(page) for tag in BY_ID[one]["topics"]]
        assert len(ids(page)) == 8 and topics.count("art") <= 2 and topics.count("code") <= 2


@settings(max_examples=300)
@given(st.data())
def test_no_quota_is_given_up_without_need(data):
    kinds = data.draw(st.integers(1, 3))
    owners = data.draw(st.lists(st.lists(st.integers(0, kinds - 1), unique=True, max_size=kinds), max_size=14))
    least = data.draw(st.lists(st.integers(0, 4), min_size=kinds, max_size=kinds))
    most = data.draw(st.lists(st.integers(0, 5), min_size=kinds, max_size=kinds))
    count = min(data.draw(st.integers(1, 8)), len(owners))
    order, short, over = fill(owners, least, most, count)
    assert order == sorted(set(order)) and len(order) == count
    got = [sum(kind in owners[at] for at in order) for kind in range(kinds)]
    assert short == {kind: least[kind] - got[kind] for kind in range(kinds) if got[kind] < least[kind]}
    assert over == {kind: got[kind] - most[kind] for kind in range(kinds) if got[kind] > most[kind]}
    left = [kinds_of for at, kinds_of in enumerate(owners) if at not in order]
    if over:  # whoever stays away would exceed a most too
        assert not any(all(got[kind] < most[kind] for kind in some) for some in left)
    if all(len(some) <= 1 for some in owners) and not over:
        for kind in short:  # of single kinds: nobody of it was left who had room
            room = count - sum(max(0, min(wanted, most[k])) for k, wanted in enumerate(least))
            assert room < 0 or got[kind] >= min(least[kind], most[kind]) or [kind] not in left


@pytest.mark.parametrize(
    ("quota", "page", "up", "places"),
    [(0.2, 10, True, 2), (0.21, 10, True, 3), (0.29, 10, False, 2), (3.0, 10, False, 3), (0.0, 9, True, 0)],
)
def test_parts_of_a_page_in_places(quota, page, up, places):
    assert places_of(quota, page, up=up) == places


def test_checks_are_made_until_enough_have_passed(shop_store, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_checks.py").write_text(
        "import numpy as np\n"
        "made = []\n"
        "def even(call, positions):\n"
        "    made.append(len(positions))\n"
        "    return call.epoch.items.ids_of(call.block.row[positions]) % np.uint64(2) == 0\n"
        "def short(call, positions):\n"
        "    return np.ones(len(positions) - 1, dtype=bool)\n"
    )
    even = 'kind = "take_until_pass"\ncheck = "own_checks.even"\ntogether = 4\nenough = 5'
    few = 'kind = "take_until_pass"\nwhere = "words >= 300"\nmost = 12\ntogether = 5'
    short = 'kind = "take_until_pass"\ncheck = "own_checks.short"'
    with node_with(shop_store, tmp_path, even=selector(even), few=selector(few), short=selector(short)) as node:
        import own_checks

        own_checks.made.clear()  # of the warm-up
        page = node.ask("even", candidates=ALL[10:], time=NOW - 200 * 3600)
        assert ids(page) == [110, 112, 114, 116, 118]
        assert own_checks.made == [4, 4, 4] and page.coverage[-1].how == "12 checked, 6 passed"
        page = node.ask("few", candidates=ALL, time=NOW - 200 * 3600)
        assert ids(page) == [one for one in ALL[:12] if BY_ID[one]["words"] >= 300]
        page = node.ask("short", candidates=ALL, time=NOW)
        assert page.coverage[-1].state == "failed" and "bool of shape" in page.coverage[-1].why
        assert len(page.ids) == 20


def test_a_soft_cap_gives_way_when_nobody_else_is_left(film_store, tmp_path):
    surface = near() + '[[selector]]\nname = "cap"\nkind = "category_cap"\nmax = 3\n{}'
    with node_with(
        film_store,
        tmp_path,
        hard=surface.format(""),
        soft=surface.format("soft = true\n"),
        window=surface.format("soft = true\nwindow = 5\n"),
        plain=near(),
    ) as node:
        studios = node.engine.epoch.items.columns["studio"].to_list
        hard, soft, plain = (node.ask(name, user=1, limit=60) for name in ("hard", "soft", "plain"))
        page = [one or "" for one in studios(node.engine.epoch.items.rows_of(hard.ids))]
        assert max(page.count(name) for name in STUDIOS) == 3  # of the store's creator
        assert len(soft) == len(plain) == 60 and soft.ids[: len(hard)].tolist() == hard.ids.tolist()
        entry = next(each for each in soft.coverage if each.name == "cap")
        assert entry.how == f"{60 - len(hard)} too many of one value"
        rest = [one for one in node.ask("plain", user=1, limit=400).ids.tolist() if one not in hard.ids.tolist()]
        assert soft.ids[len(hard) :].tolist() == rest[: 60 - len(hard)]
        few = node.ask("soft", user=1, limit=5)
        assert few.ids.tolist() == hard.ids[:5].tolist()
        assert len(set(node.ask("window", user=1, limit=60).ids.tolist())) == 60


def test_what_a_store_lacks_is_left_out_by_the_shipped_surfaces(film_store, shop_store, tmp_path):
    def states(store, name, **asked):
        with node_with(store, tmp_path) as node:
            page = node.ask(name, **asked)
            return {each.name: (each.state, each.why) for each in page.coverage}, page

    films, page = states(film_store, "homefeed", user=1)
    assert films["creators"][0] == "ok" and len(page) == 25
    assert films["sponsored"] == ("disabled", "the store has no column 'sponsored'")
    shop, _ = states(shop_store, "homefeed", user=1)
    assert shop["creators"] == ("disabled", "the build names no creator") or shop["creators"][0] == "ok"
    sent, _ = states(film_store, "notifications", users=[1, 2])
    assert sent["kinds"] == ("disabled", "the store has no column 'kind'")
    assert sent["worth"][0] == "ok" == sent["reserve"][0]


def test_a_cap_within_a_window_spreads_what_is_alike(shop_store, tmp_path):
    rest = 'kind = "category_cap"\ncolumn = "maker"\nmax = 1\nwindow = 2'
    with node_with(shop_store, tmp_path, page=selector(rest)) as node:
        page = node.ask("page", candidates=[100, 103, 106, 101, 104, 102], time=NOW - 200 * 3600)
        assert ids(page) == [100, 101, 103, 104, 106, 102]


@settings(max_examples=200)
@given(st.lists(st.integers(0, 2), max_size=12), st.integers(1, 2), st.integers(1, 3), st.integers(0, 12))
def test_no_window_holds_more_than_it_may(values, most, more, count):
    window = most + more
    order = spread(values, [value > 0 for value in values], most, window, count)
    assert len(set(order)) == len(order) <= count
    for start in range(len(order)):
        inside = [values[at] for at in order[start : start + window]]
        assert all(inside.count(value) <= most for value in (1, 2))
    if len(order) < min(count, len(values)):
        tail = [values[at] for at in order[max(0, len(order) - window + 1) :]]
        assert all(values[at] and tail.count(values[at]) >= most for at in range(len(values)) if at not in order)


def test_dynamic_slots_are_for_who_is_good_enough(shop_store, tmp_path):
    rest = """
    kind = "weave"
    dynamic = [{ source = "latest", first = 2, every = 3, column = "words", least = 100.0 }]
    """
    with node_with(shop_store, tmp_path, page=selector(rest)) as node:
        page = node.ask("page", candidates=ALL[30:], limit=9, time=NOW)
        # of the latest 100 .. 103 the words are 0, 100, 200, 300
        assert ids(page)[1::3] == [101, 102, 103] and page.coverage[-1].how == ""
        assert [one for one in ids(page) if one >= 130] == ALL[30:36]
        page = node.ask("page", candidates=ALL[30:], limit=20, time=NOW)
        assert ids(page)[10] == 137, "no slot where nobody is left for it"


def test_what_cannot_work_is_refused_at_load(shop_store, tmp_path):
    for rest, words in (
        ('kind = "quota"', "least, most: name at least one"),
        ('kind = "quota"\nleast = { latest = 1.5 }', "latest = 1.5"),
        ('kind = "quota"\nleast = { nobody = 1 }', "reads column 'nobody.score'"),
        ('kind = "quota"\ncolumn = "words"\nleast = { x = 1 }', "column = 'words'"),
        ('kind = "take_until_pass"', "check, where: give one"),
        ('kind = "take_until_pass"\ncheck = "os.nothing"', "check = 'os.nothing'"),
        ('kind = "take_until_pass"\nwhere = "words >"', "where:"),
        ('kind = "take_until_pass"\nwhere = "words > 1"\ntogether = 0', "together = 0"),
        ('kind = "category_cap"\ncolumn = "maker"\nmax = 2\nwindow = 2', "window = 2"),
        ('kind = "weave"\ndynamic = [{ source = "latest", column = "lang", least = 1.0 }]', "'lang' is category"),
        ('kind = "weave"\ndynamic = [{ source = "latest", column = "words", least = 1.0, first = 0 }]', "dynamic[0]"),
    ):
        with pytest.raises(ConfigError) as refused:
            node_with(shop_store, tmp_path, bad=selector(rest))
        assert words in str(refused.value), refused.value
