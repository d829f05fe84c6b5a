"""Windowed and decayed counts as columns: against a plain count, and the same live as built from scratch."""

import itertools
import json
import math
import shutil
import threading

import numpy as np
import pytest
from click.testing import CliRunner
from film_store import build_store, films, node_with, write_config, write_inputs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from node_process import running

from mixline.node import Client
from mixline.node.compaction import compact
from mixline.node.errors import BadRequest, ConfigError
from mixline.storage.store import Store
from mixline.tools.build import build

NOW = 1_800_000_000
HOUR, DAY = 3600, 86_400
ACTIONS = ("view", "buy", "add to cart")
COLUMNS = {
    "hour": {"of": "item", "window": "1h"},
    "bought": {"of": "item", "window": "30d", "actions": ["buy", "unheard of"]},
    "trend": {"of": "item", "half_life": "1d"},
    "mine": {"of": "user", "window": "7d"},
    "mine_carted": {"of": "user", "half_life": "1h", "actions": ["add to cart"]},
    "genre": {"of": "category", "window": "30d"},
    "genre_trend": {"of": "category", "half_life": "7d", "actions": ["view", "buy"]},
}
IDS = [film["id"] for film in films()[:5]]
SPAN = {"1h": HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY}


def toml(counter):
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in counter.items()) + " }"


def surface(column, category="genres"):
    """All candidates that are given, scored by one column."""
    listed = "".join(f"{name} = {toml(counter)}\n" for name, counter in COLUMNS.items())
    return f"""
limit = 400
[[source]]
kind = "given"
[[hydrator]]
kind = "counters"
category = "{category}"
[hydrator.columns]
{listed}
[[scorer]]
name = "final"
kind = "weighted"
terms = {{ "counters.{column}" = 1.0 }}
[[selector]]
kind = "topk"
by = "final"
"""


SURFACES = {column: surface(column) for column in COLUMNS} | {"studio": surface("genre", "studio")}
AGE = st.one_of(
    st.sampled_from([HOUR - 1, HOUR, HOUR + 1, 7 * DAY, 30 * DAY - 1, 30 * DAY, -5]),
    st.integers(-10, 2 * HOUR),
    st.integers(0, 60 * DAY),
)
EVENT = st.tuples(st.integers(0, 2), st.sampled_from(IDS), AGE, st.sampled_from(ACTIONS))
OPERATION = st.one_of(EVENT, EVENT, EVENT, st.tuples(st.just("delete"), st.sampled_from(IDS)), st.just("rename"))


def build_with(folder, events, gone=()):
    """A store of these events (user, item, age, action)."""
    folder.mkdir(exist_ok=True)
    write_inputs(folder)
    lines = [f"{user},{item},{NOW - age},{action}\n" for user, item, age, action in events]
    (folder / "events.csv").write_text("user,item,time,action\n" + "".join(lines))
    spec = (folder / "spec.toml").read_text()
    spec = spec.replace('time = "time"', 'time = "time"\naction = "action"\nunknown = "skip"')
    (folder / "spec.toml").write_text(spec)
    if gone:
        rows = films()
        kept = [at for at, film in enumerate(rows) if film["id"] not in gone]
        (folder / "items.jsonl").write_text("".join(json.dumps(rows[at]) + "\n" for at in kept))
        np.save(folder / "items.npy", np.load(folder / "items.npy")[kept])
    done = CliRunner().invoke(build, [str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"])
    assert done.exit_code == 0, done.output or done.exception
    return folder / "store"


def plain_weight(counter, age):
    if age < 0:
        return 0.0
    if "window" in counter:
        return float(age < SPAN[counter["window"]])
    half_life = SPAN[counter["half_life"]]
    for low, high in itertools.pairwise(STEPS):
        if low * half_life <= age < high * half_life:
            return (2**-low - 2**-high) / ((high - low) * math.log(2))
    return 0.0


STEPS = [at / 4 for at in (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32)]


def plain_count(column, user, item, events, categories=lambda film: film["genres"]):
    """What the column of an item shows to a user."""
    counter, by_id = COLUMNS[column], {film["id"]: film for film in films()}
    mine = [
        event
        for event in events
        if ("actions" not in counter or event[3] in counter["actions"])
        and (counter["of"] != "item" or event[1] == item)
        and (counter["of"] == "item" or event[0] == user)
    ]
    if counter["of"] != "category":
        return sum(plain_weight(counter, age) for _, _, age, _ in mine)
    sums = [
        sum(plain_weight(counter, age) for _, other, age, _ in mine if category in categories(by_id[other]))
        for category in categories(by_id[item])
    ]
    return max(sums, default=0.0)


def pages(node, user):
    asked = {"user": user, "candidates": IDS, "time": NOW}
    return {name: node.ask(name, **asked) for name in SURFACES}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A store, and the events that it was built of."""
    rng = np.random.default_rng(8)
    events = [
        (
            int(rng.integers(3)),
            IDS[int(rng.integers(5))],
            int(rng.integers(-5, 40 * DAY)),
            ACTIONS[int(rng.integers(2))],
        )
        for _ in range(60)
    ]
    folder = tmp_path_factory.mktemp("base")
    return build_with(folder, events), events


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(drawn=st.lists(OPERATION, min_size=1, max_size=15), cuts=st.lists(st.booleans(), min_size=15, max_size=15))
def test_counted_live_or_built_from_scratch_it_is_what_happened(base, tmp_path_factory, drawn, cuts):
    store, built = base
    folder = tmp_path_factory.mktemp("case")
    shutil.copytree(store, folder / "living")
    events, gone = list(built), set()
    with node_with(folder / "living", folder, **SURFACES) as node:
        for one, cut in zip(drawn, cuts, strict=False):
            if one == "rename":
                if IDS[0] not in gone:
                    node.apply([{"op": "patch_item", "id": IDS[0], "columns": {"title": "renamed"}}])
            elif one[0] == "delete":
                if one[1] not in gone and len(gone) < 4:
                    node.apply([{"op": "delete_item", "id": one[1]}])
                    gone.add(one[1])
            elif one[1] not in gone:
                user, item, age, action = one
                events.append(one)
                many = [user] * (1 + cut)
                events += [one] * cut
                node.apply(
                    [{"op": "events", "users": many, "items": [item] * len(many), "times": [NOW - age] * len(many),
                      "actions": action}]
                )  # fmt: skip
        live = {user: pages(node, user) for user in range(4)}
        compact(folder / "living")
    kept = [event for event in events if event[1] not in gone]
    scratch = build_with(folder / "again", kept, gone)
    with node_with(folder / "living", folder, **SURFACES) as node:
        assert node.engine.epoch_number == 2 or not node.engine.live_seq
        folded = {user: pages(node, user) for user in range(4)}
    Store(folder / "living").activate(1)
    shutil.rmtree(folder / "living" / "live" / "overlay")
    with node_with(folder / "living", folder, **SURFACES) as node:
        restarted = {user: pages(node, user) for user in range(4)}
    with node_with(scratch, folder / "again", **SURFACES) as node:
        again = {user: pages(node, user) for user in range(4)}
    studio = {film["id"]: [film["studio"]] if film["studio"] else [] for film in films()}
    for user in range(4):
        for name, page in live[user].items():
            for other in (again[user][name], restarted[user][name], folded[user][name]):
                assert page.ids.tolist() == other.ids.tolist() and page.scores.tobytes() == other.scores.tobytes()
            assert {*page.ids.tolist()} == {*IDS} - gone
            for item, score in zip(page.ids.tolist(), page.scores.tolist(), strict=True):
                if name == "studio":
                    expected = plain_count("genre", user, item, kept, lambda film: studio[film["id"]])
                else:
                    expected = plain_count(name, user, item, kept)
                assert score == pytest.approx(expected, abs=1e-4), (name, user, item)


def test_a_column_is_for_predicates_and_many_users_alike(base, tmp_path):
    store, events = base
    text = surface("genre") + '[[filter]]\nkind = "predicate"\nwhere = "counters.hour >= 1 and counters.mine > 0"\n'
    with node_with(store, tmp_path, few=text) as node:
        page = node.ask("few", users=[0, 1, 39], candidates=IDS, time=NOW - 5 * DAY)
        shown = [(age - 5 * DAY, one, item, action) for one, item, age, action in events]
        for user, ids in zip((0, 1, 39), np.split(page.ids, page.groups[1:-1]), strict=True):
            shifted = [(one, item, age, action) for age, one, item, action in shown]
            mine = plain_count("mine", user, IDS[0], shifted)
            expected = {item for item in IDS if mine and plain_count("hour", user, item, shifted)}
            assert {*ids.tolist()} == expected


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ('x = { window = "1h", half_life = "1h" }', "columns.x: give window or half_life"),
        ("x = {}", "columns.x: give window or half_life"),
        ('x = { window = "1 hour" }', "columns.x: '1 hour' is no span of time"),
        ('x = { window = "99999d" }', "is no span of time"),
        ('x = { half_life = "9s" }', "must be at least 60s"),
        ('"a-b" = { window = "1h" }', "columns.a-b: a name is ASCII letters"),
        ('x = { of = "category", window = "1h" }', "category: name the category or tags column"),
        ('x = { of = "shop", window = "1h" }', "Invalid enum value 'shop'"),
        ('x = { windov = "1h" }', "windov"),
        ("", "columns: name at least one column"),
    ],
)
def test_what_is_wrong_with_a_declaration_is_said(base, tmp_path, columns, words):
    text = f'[[source]]\nkind = "given"\n[[hydrator]]\nkind = "counters"\n[hydrator.columns]\n{columns}\n'
    with pytest.raises(ConfigError, match=words):
        node_with(base[0], tmp_path, bad=text)


def test_a_category_must_be_one(base, tmp_path):
    with pytest.raises(ConfigError, match="category = 'year': the category and tags columns are studio, genres"):
        node_with(base[0], tmp_path, bad=surface("genre", "year"))


@pytest.mark.parametrize("time", [-1, 1 << 41])
def test_the_time_of_a_request_is_seconds(base, tmp_path, time):
    with node_with(base[0], tmp_path, **SURFACES) as node, pytest.raises(BadRequest, match="seconds since 1970"):
        node.ask("hour", candidates=IDS, time=time)


def test_left_out_the_time_is_now(base, tmp_path):
    shutil.copytree(base[0], tmp_path / "living")
    with node_with(tmp_path / "living", tmp_path, **SURFACES) as node:
        before = node.ask("hour", candidates=IDS).scores.sum()
        node.record(1, IDS[3], "view")
        page = node.ask("hour", candidates=IDS)
        assert page.scores.sum() == before + 1 and page.ids[0] == IDS[3]


def test_a_page_counts_what_its_state_has_while_others_write(tmp_path):
    """Every operation is an event of one item, so the count is the number of the state, whichever worker answers."""
    config = write_config(tmp_path, views=surface("hour").replace('window = "1h"', 'window = "30d"'))
    stop = threading.Event()

    def write(endpoint, user):
        with Client(endpoint) as client:
            while not stop.is_set():
                client.apply([{"op": "events", "users": [user] * 7, "items": [IDS[0]] * 7}], deadline_ms=30_000)

    store = build_store(tmp_path)
    with running(tmp_path, store=store, workers=2, serve=["--config", config]) as run, Client(run.endpoint) as client:
        client.record(0, IDS[0])
        threads = [threading.Thread(target=write, args=(run.endpoint, user)) for user in range(3)]
        for thread in threads:
            thread.start()
        try:
            states = set()
            while len(states) < 40:
                page = client.ask("views", candidates=IDS[:1])
                assert page.scores.tolist() == [page.live_seq]
                states.add(page.live_seq)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
