"""Pages by cursor: nothing comes twice, whatever changes in between, and nobody makes a cursor but the node."""

import base64

import numpy as np
import pytest
from click.testing import CliRunner
from film_store import DIM, build_store, films, node_with, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from mixline.node import cursors, limits
from mixline.node.compaction import compact
from mixline.node.cursors import Cursors
from mixline.node.errors import BadRequest
from mixline.node.request import Ask
from mixline.tools.build import build

SURFACE = """
limit = 20
deadline_ms = 10000
[[source]]
name = "taste"
kind = "nearest"
space = "taste"
limit = 25
[[source]]
name = "popular"
kind = "popular"
limit = 10
[[scorer]]
name = "final"
kind = "weighted"
terms = { "taste.score" = 1.0, "popular.score" = 5.0 }
[[selector]]
kind = "topk"
by = "final"
"""
GIVEN = '[[source]]\nkind = "given"\n[[selector]]\nkind = "topk"\nby = "given.score"\n'
PAGING = "paging = true\n"
SURFACES = {"paged": PAGING + SURFACE, "given": PAGING + GIVEN, "whole": SURFACE}
IDS = [film["id"] for film in films()]


@pytest.fixture
def store(tmp_path):
    return build_store(tmp_path)


@pytest.fixture
def node(store, tmp_path):
    with node_with(store, tmp_path, **SURFACES) as opened:
        yield opened


def all_pages(node, cursor=None, **more):
    found = []
    while True:
        page = node.ask("paged", user=3, cursor=cursor, **more)
        found.append(page.ids.tolist())
        cursor = page.cursor
        if cursor is None:
            return found


def test_pages_go_on_to_the_end_and_repeat_nothing(node):
    """Sources that bring few reach further with each page, until everything was shown."""
    found = all_pages(node)
    flat = [one for page in found for one in page]
    assert len(flat) == len(set(flat)) == len(IDS)
    assert [len(page) for page in found[:-1]] == [20] * 15


def test_what_changes_between_pages(node):
    first = node.ask("paged", user=3)
    node.apply(
        [
            {"op": "patch_item", "id": int(first.ids[0]), "columns": {"year": 1950}},
            {"op": "upsert_item", "id": 5, "vectors": {"taste": vector(*range(DIM))}},
            {"op": "delete_item", "id": int(first.ids[1])},
        ]
    )
    rest = [one for page in all_pages(node, first.cursor) for one in page]
    assert not set(first.ids.tolist()) & set(rest) and 5 in rest
    assert len(rest) == len(set(rest)) == len(IDS) - 20 + 1
    gone = node.ask("paged", user=3, cursor=first.cursor, why=[int(first.ids[0])]).why[0]
    assert gone["fate"] == "left_out" and gone["by"] == ["cursor"]


def test_across_an_epoch_flip(node, store, tmp_path):
    first = node.ask("paged", user=3)
    node.record(3, IDS[5])
    node.close()
    compact(store)
    with node_with(store, tmp_path, **SURFACES) as later:
        second = later.ask("paged", user=3, cursor=first.cursor)
        assert (first.epoch, second.epoch) == (1, 2)
        rest = [*second.ids.tolist(), *(one for page in all_pages(later, second.cursor) for one in page)]
    assert not set(first.ids.tolist()) & set(rest) and len(rest) == len(set(rest)) == len(IDS) - 20


def test_sources_that_obey_nobody(node):
    first = node.ask("given", candidates=IDS[:60], limit=30)
    second = node.ask("given", candidates=IDS[:60], limit=40, cursor=first.cursor, why=[IDS[0]])
    assert second.ids.tolist() == IDS[30:60] and second.cursor is None
    assert second.why[0]["fate"] == "dropped" and second.why[0]["by"] == ["cursor"]


def test_string_ids(store, tmp_path):
    text = (tmp_path / "items.jsonl").read_text()
    for one in IDS:
        text = text.replace(f'"id": {one},', f'"id": "film-{one}",')
    (tmp_path / "items.jsonl").write_text(text)
    lines = (tmp_path / "events.csv").read_text().splitlines()
    moved = [",".join((user, f"film-{item}", when)) for user, item, when in (line.split(",") for line in lines[1:])]
    (tmp_path / "events.csv").write_text("\n".join([lines[0], *moved]))
    out = tmp_path / "strings"
    done = CliRunner().invoke(build, [str(tmp_path / "spec.toml"), "--out", str(out), "--quiet"])
    assert done.exit_code == 0, done.output or done.exception
    with node_with(out, tmp_path, **SURFACES) as node:
        first = node.ask("paged", user=3)
        node.apply(
            [
                {"op": "patch_item", "id": first.ids[0], "columns": {"year": 1950}},
                {"op": "upsert_item", "id": "new", "vectors": {"taste": vector(*range(DIM))}},
            ]
        )
        second = node.ask("paged", user=3, cursor=first.cursor)
        third = node.ask("paged", user=3, cursor=second.cursor)
        shown = [*first.ids, *second.ids, *third.ids]
        assert len(set(shown)) == 60


def test_forged_stale_and_foreign_cursors(node, monkeypatch):
    good = node.ask("paged", user=3).cursor
    raw = base64.urlsafe_b64decode(good)
    for at in (0, 3, 8, 12, 25, len(raw) - 1):
        bad = base64.urlsafe_b64encode(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]).decode()
        with pytest.raises(BadRequest, match="cursor: was not made by this node, or was changed"):
            node.ask("paged", user=3, cursor=bad)
    for bad in ("x", "é", good[:-4], good + good, "A" * 100_000):
        with pytest.raises(BadRequest, match="ask without cursor to begin anew"):
            node.ask("paged", user=3, cursor=bad)
    with pytest.raises(BadRequest, match="belongs to another surface, user"):
        node.ask("paged", user=4, cursor=good)
    with pytest.raises(BadRequest, match="this surface has no paging"):
        node.ask("whole", user=3, cursor=good)
    with pytest.raises(BadRequest, match="pages of several users"):
        node.ask("paged", users=[3], cursor=good)
    assert node.ask("whole", user=3).cursor is None and node.ask("paged", users=[3]).cursor is None
    later = cursors.now_s() + limits.cursor_s_max + 1
    monkeypatch.setattr(node.engine.cursors, "now", lambda: later)
    with pytest.raises(BadRequest, match="seconds old, at most 86400"):
        node.ask("paged", user=3, cursor=good)


def test_the_key_outlives_the_node_and_nobody_else_reads_it(node, store, tmp_path):
    first = node.ask("paged", user=3)
    assert (store / "cursor.key").stat().st_mode & 0o777 == 0o600
    with node_with(store, tmp_path, **SURFACES) as other:
        assert len(other.ask("paged", user=3, cursor=first.cursor)) == 20


@given(keys=st.lists(st.integers(0, 2**64 - 1), max_size=300))
@settings(deadline=None)
def test_keys_come_back_as_they_went(film_store, keys):
    made = Cursors(film_store)
    ask = Ask(user=1)
    text = made.make("s", ask, np.array([*set(keys)], dtype=np.uint64))
    assert made.read("s", Ask(user=1, cursor=text)).tolist() == sorted(set(keys))


def test_a_cursor_is_bounded(film_store):
    made = Cursors(film_store)
    most = np.random.default_rng(1).integers(0, 2**63, limits.cursor_items_max).astype(np.uint64)
    assert len(made.make("s", Ask(), most)) <= 4 * (8 * limits.cursor_items_max + 64) // 3
    assert len(made.make("s", Ask(), np.arange(2000, dtype=np.uint64) * np.uint64(7))) < 2800
    assert made.make("s", Ask(), np.arange(limits.cursor_items_max + 1, dtype=np.uint64)) is None
