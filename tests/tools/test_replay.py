"""Replay: the same bytes on the same versions, whatever has been written or built since; and what a change would do."""

import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "node"))
from film_store import DIM, build_store, films, vector, write_config

from mixline.node.compaction import compact
from mixline.node.inprocess import Node
from mixline.tools.replay import replay_command

SURFACE = """
paging = true
limit = 8
deadline_ms = 10000
[params.reach]
type = "int"
min = 5
max = 100
default = 60
least = 10
request = true
[[source]]
name = "taste"
kind = "nearest"
space = "taste"
limit = "$reach"
[[source]]
name = "around"
kind = "walk"
query = "recent"
limit = 40
[[source]]
name = "recent"
kind = "nearest"
space = "look"
query = "recent"
limit = 30
[[hydrator]]
kind = "counters"
columns = {{ views = {{ of = "item", window = "1h", actions = ["view"] }} }}
[[filter]]
kind = "seen"
[[filter]]
kind = "blocked"
[[scorer]]
name = "final"
kind = "weighted"
terms = {{ "taste.score" = {weight}, "around.score" = 3.0, "recent.score" = 2.0, "counters.views" = 0.5 }}
[[selector]]
kind = "topk"
by = "final"
[[side_effect]]
kind = "journal"
"""
IDS = [film["id"] for film in films()]


def run(store, *more):
    done = CliRunner().invoke(replay_command, ["--store", str(store), "--json", *map(str, more)])
    assert done.exit_code in (0, 1), done.output or done.exception
    return done.exit_code, msgspec.json.decode(done.output)


@pytest.fixture
def served(tmp_path):
    """Requests between writes of all kinds."""
    store = build_store(tmp_path)
    config = write_config(tmp_path, feed=SURFACE.format(weight=1.0))
    with Node.open(store, config, effects=True) as node:
        cursor = None
        for at in range(120):
            if at % 3 == 0:
                node.record(at % 39, IDS[at], "view")
            if at % 20 == 5:
                node.apply(
                    [
                        {"op": "upsert_item", "id": 50_000 + at, "vectors": {"taste": vector(at % DIM)}},
                        {"op": "delete_item", "id": IDS[100 + at]},
                        {"op": "block", "user": at % 39, "item": IDS[200]},
                    ]
                )
            if at == 60:
                node.engine.quality = lambda: 0.5
            if at == 70:
                node.engine.quality = lambda: 1.0
            params = {"reach": 5 + at % 90} if at % 4 == 0 else None
            page = node.ask("feed", user=at % 39, params=params, cursor=cursor, tenant="web")
            cursor = page.cursor if at % 39 == (at + 1) % 39 else None
    return store, config


def test_the_same_bytes_on_the_same_versions(served):
    store, _ = served
    code, told = run(store)
    assert (code, told["requests"], told["same"], told["failed"]) == (0, 120, 120, 0) and told["degraded"] >= 7
    assert told["changed_surfaces"] == []


def test_after_more_was_written_and_folded(served):
    store, config = served
    with Node.open(store, config) as node:
        for at in range(50):
            node.record(at % 39, IDS[at + 60], "view")
        node.apply([{"op": "delete_item", "id": one} for one in IDS[:20]])
    assert run(store)[1]["same"] == 120
    compact(store)
    code, told = run(store, "--last", 50)
    assert (code, told["requests"], told["same"]) == (0, 50, 50), "epoch 1 is kept, and so is the log behind it"


def test_what_another_configuration_would_do(served, tmp_path):
    store, _ = served
    other = write_config(tmp_path / "other", feed=SURFACE.format(weight=-1.0))
    code, told = run(store, "--config", other)
    assert code == 0 and told["same"] < 60 and 0 < told["overlap"] < 1 and told["moved"] > 0
    assert told["entered"] and told["left"] and told["cpu_us"]["mean"] > 0 and told["cpu_us_before"]["mean"] > 0
    text = CliRunner().invoke(replay_command, ["--store", str(store), "--config", str(other)]).output
    assert "overlap" in text and "rank changes" in text and "coverage" in text and "CPU a request" in text


def test_a_changed_file_is_named_and_differences_are_an_exit_code(served):
    store, config = served
    (config.parent / "surfaces" / "feed.toml").write_text('name = "feed"\n' + SURFACE.format(weight=-1.0))
    code, told = run(store)
    assert code == 1 and told["changed_surfaces"] == ["feed"]


def test_an_epoch_that_is_gone_is_said(served, tmp_path):
    from mixline.storage.store import Store

    store, _ = served
    compact(store)
    Store(store).prune(1)
    code, told = run(store)
    assert code == 0 and told["failed"] == 120 and "no such epoch" in next(iter(told["errors"]))
