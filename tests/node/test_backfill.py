"""Late filters: what they drop is made up for by the selectors' next choice, within the deadline."""

import numpy as np
import pytest
from film_store import films, node_with

from mixline.node.block import RESERVE

SURFACE = """
limit = 20
deadline_ms = 10000
[[source]]
name = "taste"
kind = "nearest"
space = "taste"
limit = 200
{filters}
[[scorer]]
name = "final"
kind = "weighted"
terms = {{ "taste.score" = 1.0 }}
[[selector]]
kind = "topk"
by = "final"
{more}
"""
CAP = '[[selector]]\nkind = "category_cap"\ncolumn = "studio"\nmax = 6\nby = "final"\n'
COLOUR = '[[filter]]\nkind = "predicate"\nname = "colour"\nwhere = "colour"\nlate = {late}\n'
YOUNG = '[[filter]]\nkind = "predicate"\nname = "young"\nwhere = "year >= 1960"\nlate = {late}\n'
NEAR = '[[filter]]\nkind = "predicate"\nname = "near"\nwhere = "final > -2"\nlate = true\n'
SLOW = '[[filter]]\nkind = "odd_components.SlowLateFilter"\nname = "slow"\nlate = true\n'
BAD = '[[filter]]\nkind = "odd_components.WrongLateFilter"\nname = "bad"\nlate = true\n'
COLOURS = {film["id"]: film["colour"] for film in films()}
STUDIO = {film["id"]: film["studio"] for film in films()}


@pytest.fixture(scope="module")
def node(film_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("late")
    both = {late: (COLOUR + YOUNG).format(late=late) for late in ("true", "false")}
    surfaces = {
        "early": SURFACE.format(filters=both["false"], more=""),
        "late": SURFACE.format(filters=both["true"], more=""),
        "late_capped": SURFACE.format(filters=both["true"], more=CAP),
        "scored": SURFACE.format(filters=NEAR, more=""),
        "slow": SURFACE.format(filters=SLOW, more=""),
        "bad": SURFACE.format(filters=BAD, more=""),
    }
    with node_with(film_store, folder, **surfaces) as opened:
        yield opened


def test_a_page_is_what_it_were_had_the_filter_been_early(node):
    for user in range(20):
        early, late = node.ask("early", user=user), node.ask("late", user=user)
        assert late.ids.tolist() == early.ids.tolist() and len(late) == 20
        entries = {entry.name: entry for entry in late.coverage if entry.stage == "filter"}
        assert entries["colour"].left and "backfilled in" in entries["colour"].how
        assert entries["colour"].taken + entries["colour"].left < 120, "few are looked at"
        assert sorted(entry.name for entry in late.coverage) == sorted(entry.name for entry in early.coverage)


def test_caps_hold_for_what_comes_up(node):
    for user in range(20):
        page = node.ask("late_capped", user=user)
        studios = [STUDIO[one] for one in page.ids.tolist()]
        assert len(page) > 10 and all(COLOURS[one] for one in page.ids.tolist())
        assert all(studios.count(one) <= 6 for one in set(studios) - {None})


def test_it_may_read_scores(node):
    page = node.ask("scored", user=3, explain=True)
    assert len(page) and all(one["columns"]["final"] > -2 for one in page.explain)


def test_dropped_and_reserve_are_told(node):
    page = node.ask("late", user=1, why=[int(one) for one in node.ask("early", user=1).ids[:3]])
    assert {one["fate"] for one in page.why} == {"served"}
    black = [one for one, colour in COLOURS.items() if not colour][:100]
    fates = [one for one in node.ask("late", user=1, why=black).why if one["fate"] == "dropped"]
    assert fates and all(one["by"] == ["colour"] for one in fates)


def test_at_the_deadline_a_page_has_what_was_checked(node):
    page = node.ask("slow", user=1, deadline_ms=60)
    assert str(page.status) == "DEGRADED" and 0 < len(page) < 20
    entry = next(entry for entry in page.coverage if entry.name == "slow")
    assert "the page may be short" in entry.why
    assert all(one % 2 == 0 for one in page.ids.tolist())


def test_one_that_fails_harms_itself(node):
    page = node.ask("bad", user=1)
    entry = next(entry for entry in page.coverage if entry.name == "bad")
    assert entry.state == "failed" and "drops_among has shape" in entry.why and len(page) == 20


def test_groups_are_filled_each(node):
    page = node.ask("late", users=[1, 2, 3])
    for group in range(3):
        mine = page.ids[page.groups[group] : page.groups[group + 1]].tolist()
        assert mine == node.ask("late", user=group + 1).ids.tolist()
    assert RESERVE and np.all(page.groups == [0, 20, 40, 60])
