"""Parameters and experiments: typed and bounded, the same for a user everywhere, and switched off by one line."""

from hashlib import blake2b
from itertools import pairwise

import msgspec
import pytest
from film_store import build_store, node_with, write_config
from node_process import running

from mixline.node import Client
from mixline.node.config import load_node_config
from mixline.node.draws import draw, unit_of
from mixline.node.errors import BadRequest, ConfigError
from mixline.node.experiments import Arm, Experiment, Experiments, Holdout
from mixline.node.inprocess import Node
from mixline.storage.journal_reader import Journal, asked_users

SURFACE = """
limit = 200
deadline_ms = 10000
[params.reach]
type = "int"
min = 1
max = 150
default = 100
least = 20
request = true
tenants = {{ small = 10 }}
[params.weight]
type = "float"
min = 0.0
max = 5.0
default = 1.0
[params.oldest]
type = "int"
min = 1900
max = 2100
default = 1900
request = true
[params.way]
type = "text"
values = ["exact", "auto"]
default = "auto"
[[source]]
name = "taste"
kind = "nearest"
space = "taste"
limit = "$reach"
index = "$way"
[[source]]
name = "popular"
kind = "popular"
limit = 5
[[filter]]
kind = "predicate"
where = "missing(year) or year >= params.oldest"
[[scorer]]
name = "final"
kind = "weighted"
terms = {{ "taste.score" = "$weight", "popular.score" = 1.0 }}
[[selector]]
kind = "topk"
by = "final"
{rest}
"""
TWO = """
[holdout]
share = 0.1
[[experiment]]
name = "reach"
layer = "retrieval"
share = 0.5
[experiment.arms.control]
[experiment.arms.far]
weight = 3.0
params = { reach = 150 }
[[experiment]]
name = "narrow"
layer = "retrieval"
share = 0.3
tenants = ["web"]
arms = { narrow = { params = { reach = 30 } } }
[[experiment]]
name = "weights"
share = 1.0
arms = { one = {}, two = { params = { weight = 2.0 } } }
"""


@pytest.fixture(scope="module")
def node(film_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiments")
    with node_with(film_store, folder, plain=SURFACE.format(rest=""), tried=SURFACE.format(rest=TWO)) as opened:
        yield opened


def brought(page):
    return next(entry.taken for entry in page.coverage if entry.name == "taste")


def test_components_are_made_with_the_values(node):
    assert brought(node.ask("plain", user=1)) == 100
    assert brought(node.ask("plain", user=1, tenant="small")) == 10
    assert brought(node.ask("plain", user=1, params={"reach": 33})) == 33
    assert brought(node.ask("plain", user=1, tenant="small", params={"reach": 33})) == 33
    recent = node.ask("plain", user=1, params={"oldest": 1990}, fields=["year"])
    assert all(year is None or year >= 1990 for year in recent.fields["year"]) and len(recent)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"reach": 151}, "params.reach = 151: must be at most 150"),
        ({"reach": 0}, "must be at least 1"),
        ({"reach": 1.5}, "must be of type int"),
        ({"reach": True}, "must be of type int"),
        ({"reech": 5}, "no parameter 'reech'; did you mean 'reach'"),
        ({"weight": 2.0}, "params.weight: requests may not set it"),
        ({"oldest": "x"}, "must be of type int"),
    ],
)
def test_what_requests_may_not(node, params, text):
    with pytest.raises(BadRequest, match=text):
        node.ask("plain", user=1, params=params)


@pytest.mark.parametrize(
    ("rest", "text"),
    [
        ('[params.a]\ntype = "int"\ndefault = 1', "params.a: give min and max"),
        ('[params.a]\ntype = "int"\ndefault = 9\nmin = 1\nmax = 3', "params.a.default = 9: must be at most 3"),
        ('[params.a]\ntype = "text"\ndefault = "x"', "params.a: give values"),
        (
            '[params.a]\ntype = "int"\ndefault = 2\nmin = 1\nmax = 3\nleast = 0',
            "params.a.least = 0: must be",
        ),
        ('[params.a]\ntype = "int"\ndefault = 2\nmin = 1\nmax = 3\ntenants = { x = "y" }', "params.a.tenants.x = 'y'"),
        ('[[source]]\nname = "b"\nkind = "popular"\nlimit = "$rich"', r"\$rich: \[params\] has no such name"),
        (
            '[[source]]\nname = "b"\nkind = "popular"\nlimit = "$deep"\n'
            '[params.deep]\ntype = "int"\nmin = 0\nmax = 10\ndefault = 5',
            "limit = 0: must lie in 1 .. 20000 .with deep = 0.",
        ),
        ('[[filter]]\nkind = "predicate"\nname = "p"\nwhere = "year > params.nothing"', "params.nothing"),
        ('[[experiment]]\nname = "x"\nshare = 0.5\narms = { a = { params = { reach = 900 } } }', "must be at most 150"),
        ('[[experiment]]\nname = "x"\nshare = 0.5\narms = { a = { params = { rich = 1 } } }', "no parameter of that"),
        ('[[experiment]]\nname = "x"\nshare = 0.5\narms = {}', "give it arms"),
        ('[[experiment]]\nname = "x"\nshare = 1.5\narms = { a = {} }', "share = 1.5"),
        (
            '[[experiment]]\nname = "x"\nlayer = "l"\nshare = 0.7\narms = { a = {} }\n'
            '[[experiment]]\nname = "y"\nlayer = "l"\nshare = 0.7\narms = { a = {} }',
            "layer 'l': the shares of its experiments sum to 1.4",
        ),
        (
            '[[experiment]]\nname = "x"\nshare = 0.7\narms = { a = { params = { reach = 5 } } }\n'
            '[[experiment]]\nname = "y"\nshare = 0.7\narms = { a = { params = { reach = 6 } } }',
            "params.reach is set in layer 'x' too",
        ),
    ],
)
def test_bad_declarations_name_file_and_key(tmp_path, rest, text):
    with pytest.raises(ConfigError, match=text):
        load_node_config(write_config(tmp_path, bad=SURFACE.format(rest=rest)))


def test_shares_and_arms_come_out_as_declared():
    many = 20_000
    pair = [
        Experiment(name="x", layer="l", share=0.5, arms={"a": Arm(), "b": Arm(weight=3.0)}),
        Experiment(name="y", layer="l", share=0.3, arms={"a": Arm()}),
        Experiment(name="z", share=0.4, arms={"a": Arm(), "b": Arm()}),
    ]
    found = [Experiments(pair, Holdout(share=0.1)).arms_of(user, "")[0] for user in range(many)]
    held = sum("holdout" in one for one in found)
    taking = [one for one in found if "holdout" not in one]
    assert abs(held / many - 0.1) < 0.01 and all(one == {"holdout": "holdout"} for one in found if "holdout" in one)

    def share(*wanted):
        return sum(all(one.get(name) == arm for name, arm in wanted) for one in taking) / len(taking)

    assert abs(share(("x", "a")) - 0.125) < 0.01 and abs(share(("x", "b")) - 0.375) < 0.01
    assert abs(share(("y", "a")) - 0.3) < 0.01
    assert not any("x" in one and "y" in one for one in taking), "one layer shares its users out"
    assert abs(share(("x", "b"), ("z", "a")) - 0.375 * 0.2) < 0.01, "layers cross"


def test_switching_one_off_moves_no_other():
    pair = [
        Experiment(name="x", layer="l", share=0.5, arms={"a": Arm(), "b": Arm()}),
        Experiment(name="y", layer="l", share=0.5, arms={"a": Arm(), "b": Arm()}),
    ]
    off = [msgspec.structs.replace(pair[0], enabled=False), pair[1]]
    before = [Experiments(pair, None).arms_of(user, "")[0] for user in range(2000)]
    after = [Experiments(off, None).arms_of(user, "")[0] for user in range(2000)]
    assert after == [{k: v for k, v in one.items() if k != "x"} for one in before]


def test_draws_are_what_any_program_draws():
    """Fixed numbers: a release that moved users from arm to arm would spoil every experiment that runs."""
    raw = blake2b((42).to_bytes(8, "little"), key=b"layer:retrieval", digest_size=8).digest()
    assert draw("layer:retrieval", unit_of(42)) == int.from_bytes(raw, "little")
    assert unit_of("né") == "né".encode() and unit_of(7) == b"\x07" + bytes(7)


def test_users_see_their_arms(node):
    seen = set()
    for user in range(40):
        page = node.ask("tried", user=user, tenant="web")
        assert page.assignments == node.ask("tried", user=user, tenant="web", request_id=1).assignments
        arms = page.assignments
        seen |= set(arms.items())
        reach = 150 if arms.get("reach") == "far" else 30 if "narrow" in arms else 100
        assert brought(page) == reach
        plain = node.ask("plain", user=user, params={"reach": reach}, explain=True)
        mine = node.ask("tried", user=user, tenant="web", explain=True)
        weight = 2.0 if arms.get("weights") == "two" else 1.0
        assert mine.explain[0]["terms"]["final"]["taste.score"] == pytest.approx(
            weight * mine.explain[0]["columns"]["taste.score"]
        )
        assert brought(plain) == reach
        assert "narrow" not in node.ask("tried", user=user).assignments, "of the tenant web alone"
        forced = node.ask("tried", user=user, params={"reach": 7})
        assert brought(forced) == 7, "a request that may, goes first"
    assert {("reach", "far"), ("reach", "control"), ("narrow", "narrow"), ("weights", "one")} <= seen
    assert node.ask("tried").assignments == {} and node.ask("tried", users=[1, 2]).assignments == {}


def parts_of(page):
    """By user: ids, scores, sources, and what is said of each item."""
    edges = page.groups.tolist()
    return [
        (page.ids[a:b].tolist(), page.scores[a:b].tolist(), page.sources[a:b], page.fields["title"][a:b])
        for a, b in pairwise(edges)
    ]


def test_each_of_many_users_has_their_own_arms(node):
    users = [*range(30), 999, 3]
    given = {"tenant": "web", "fields": ["title"], "explain": True, "limit": 5, "request_id": 5}
    page = node.ask("tried", users=users, why=[1000, 1007], **given)
    alone = [node.ask("tried", user=user, why=[1000, 1007], **given) for user in users]
    assert page.status == "OK" and page.user_assignments == [one.assignments for one in alone]
    assert len({str(arms) for arms in page.user_assignments}) > 3 and page.assignments == {}
    assert parts_of(page) == [parts_of(one)[0] for one in alone]
    assert page.explain == [entry for one in alone for entry in one.explain]
    assert page.why == [{**entry, "group": at} for at, one in enumerate(alone) for entry in one.why]
    assert [entry.name for entry in page.coverage] == [entry.name for entry in alone[0].coverage]
    assert brought(page) == sum(map(brought, alone))


def test_users_of_the_same_arms_are_one_request(node):
    arms = {user: node.ask("tried", user=user).assignments for user in range(30)}
    alike = [user for user in arms if arms[user] == arms[0]]
    page = node.ask("tried", users=alike)
    assert len(alike) > 1 and page.user_assignments == [arms[0]] * len(alike)
    assert node.ask("plain", users=alike).user_assignments == []
    with pytest.raises(BadRequest, match="params"):
        node.ask("tried", users=[*range(30)], params={"nothing": 1})


def test_parts_leave_their_records_and_can_be_asked_again(tmp_path):
    store, users = build_store(tmp_path), [*range(20)]
    surface = SURFACE.format(rest=TWO + '[[side_effect]]\nkind = "journal"\n')
    with Node.open(store, write_config(tmp_path, tried=surface), effects=True) as opened:
        page = opened.ask("tried", users=users, request_id=3)
        again = opened.ask_many([{"surface": "tried", "users": users, "request_id": 3}] * 2)
        assert all(one.ids.tolist() == page.ids.tolist() for one in again)
    entries = [*Journal(store / "journal").entries()]
    told = {str(arms) for arms in page.user_assignments}
    assert {str(entry.facts.assignments) for entry in entries} == told and len(entries) == 3 * len(told) > 3
    assert sum(int(entry.fixed["groups"]) for entry in entries) == 3 * len(users)
    asked = [user for entry in entries for user in asked_users(entry.ask)]
    assert sorted(asked) == sorted(3 * users)


def test_values_shrink_with_quality(node):
    wide = node.ask("plain", user=1)
    assert (wide.quality, str(wide.status)) == (1.0, "OK")
    took = []
    for quality in (0.99, 0.5, 0.25, 0.0):
        node.engine.quality = lambda quality=quality: quality
        page = node.ask("plain", user=1)
        took.append(brought(page))
        assert str(page.status) == "DEGRADED" and page.quality == int(16 * quality) / 16
        assert page.ids.tolist()[:3] == [one for one in wide.ids.tolist() if one in page.ids.tolist()][:3]
    assert took == [95, 60, 40, 20]
    assert str(node.ask("plain", user=1, params={"reach": 15}).status) == "OK", "below its least already"
    node.engine.quality = lambda: 1.0
    assert node.ask("plain", user=1).ids.tolist() == wide.ids.tolist()


def test_many_values_keep_few_pipelines(node):
    variants = node.engine.variants["plain"]
    for reach in range(1, 151):
        assert brought(node.ask("plain", user=1, params={"reach": reach})) == reach
    assert len(variants._made) <= 64
    untouched = [made.steps["selector"][0] is variants.plain.steps["selector"][0] for made in variants._made.values()]
    assert all(untouched), "what no parameter touches is shared"


def test_every_worker_and_every_life_says_the_same(film_store, tmp_path):
    config = write_config(tmp_path, tried=SURFACE.format(rest=TWO))
    told = []
    for _ in range(2):
        serve = ["--config", config]
        with running(tmp_path, store=film_store, workers=2, serve=serve) as node, Client(node.endpoint) as client:
            asks = [{"surface": "tried", "user": user, "tenant": "web"} for user in range(39)] * 3
            pages = client.ask_many(asks)
            told.append([page.assignments for page in pages])
    assert told[0] == told[1] and told[0][:39] == told[0][39:78] == told[0][78:]
