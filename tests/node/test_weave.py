"""Places that belong to sources, and flagged candidates that keep a distance, through surfaces."""

import itertools

import pytest
from film_store import build_store, films, node_with

from mixline.node.errors import ConfigError

SURFACE = """
limit = 300
[[source]]
kind = "given"
[[source]]
kind = "popular"
limit = 20
{selectors}
"""


def selector(kind, **keys):
    return f'[[selector]]\nkind = "{kind}"\n' + "".join(f"{key} = {value}\n" for key, value in keys.items())


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return build_store(tmp_path_factory.mktemp("films"))


GIVEN = [film["id"] for film in films()[100:140]]


def brought(node, surface, **more):
    page = node.ask(surface, candidates=GIVEN, **more)
    return page.ids.tolist(), page.coverage[-1]


def test_a_pattern_and_slots(store, tmp_path):
    by = '"given.score"'
    woven = selector("weave", pattern='["given", "given", "popular"]', by=by)
    slotted = selector("weave", slots='{ 2 = "popular", 5 = "popular" }', by=by)
    plain = selector("topk", by=by) + selector("weave")
    surfaces = {"woven": woven, "slotted": slotted, "plain": plain}
    with node_with(store, tmp_path, **{n: SURFACE.format(selectors=text) for n, text in surfaces.items()}) as node:
        popular = {one for one in brought(node, "plain")[0] if one not in GIVEN}
        assert len(popular) == 20
        ids, entry = brought(node, "woven", limit=12)
        assert [one in popular for one in ids] == [False, False, True] * 4
        assert [one for one in ids if one not in popular] == GIVEN[:8] and entry.how == ""
        ids, entry = brought(node, "slotted", limit=9)
        assert [at + 1 for at, one in enumerate(ids) if one in popular] == [2, 5]
        assert brought(node, "plain")[0][:40] == GIVEN
        every, entry = brought(node, "woven")
        assert len(every) == 60 and sorted(every) == sorted([*GIVEN, *popular]) and entry.left == 0
        assert entry.how == ""  # 40 and 20 are just what the pattern wants
        users, _ = brought(node, "woven", users=[1, 2], limit=12)
        assert users[:12] == users[12:]
        page = node.ask("woven", candidates=GIVEN[:4], limit=12)
        assert page.coverage[-1].how == "4 of another source"


def test_flagged_candidates_keep_their_distance(store, tmp_path):
    horror = {film["id"] for film in films() if "Horror" in film["genres"]}
    spaced = selector("spacing", where="'\"Horror\" in genres'", gap=3, by='"given.score"')
    with node_with(store, tmp_path, spaced=SURFACE.format(selectors=spaced)) as node:
        ids, _entry = brought(node, "spaced", limit=15)
        places = [at for at, one in enumerate(ids) if one in horror]
        assert len(places) > 2 and all(b - a >= 3 for a, b in itertools.pairwise(places))
        assert [one for one in ids if one not in horror] == [one for one in GIVEN if one not in horror][
            : 15 - len(places)
        ]
        only = [one for one in GIVEN if one in horror][:5]
        page = node.ask("spaced", candidates=only, limit=5)
        assert [entry.state for entry in page.coverage] == ["ok"] * 3


def test_what_cannot_work_is_refused_at_load(store, tmp_path):
    for text, words in (
        (selector("weave", pattern="[]"), "pattern"),
        (selector("weave", pattern='["givn"]'), "'givn.score'"),
        (selector("weave", slots='{ 0 = "given" }'), "slots: '0'"),
        (selector("weave", slots='{ first = "given" }'), "slots: 'first'"),
        (selector("spacing", where='"yeer > 3"'), "'yeer'"),
        (selector("spacing", where='"year >"'), "where"),
        (selector("spacing", where='"year > 3"', gap=1), "gap = 1"),
    ):
        with pytest.raises(ConfigError) as refused:
            node_with(store, tmp_path, odd=SURFACE.format(selectors=text))
        assert words in str(refused.value) and "odd.toml" in str(refused.value)
