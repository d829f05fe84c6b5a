"""``mixline plan``: what is said is what runs."""

import json

import pytest
from click.testing import CliRunner

from mixline.node.errors import BadRequest
from mixline.node.inprocess import Node
from mixline.node.planning import analyze
from mixline.tools.build import build
from mixline.tools.plan import plan_command

ITEMS = 200
SURFACE = """
name = "tried"
limit = 10
[[source]]
name = "taste"
kind = "nearest"
limit = 100
[[source]]
name = "popular"
kind = "popular"
[[hydrator]]
kind = "columns"
columns = ["size", "year"]
[[filter]]
kind = "predicate"
where = "year < 1990"
[[scorer]]
name = "final"
kind = "weighted"
terms = { "taste.score" = 1.0, "size" = 0.5 }
on_error = "fail"
share = 0.5
[[selector]]
kind = "topk"
by = "final"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    import numpy as np

    folder = tmp_path_factory.mktemp("plan")
    rng = np.random.default_rng(2)
    rows = "".join(f"{at},{at % 9},{1980 + at % 20}\n" for at in range(ITEMS))
    (folder / "items.csv").write_text("id,size,year\n" + rows)
    (folder / "users.csv").write_text("id\n0\n1\n")
    np.save(folder / "items.npy", rng.standard_normal((ITEMS, 8)).astype(np.float32))
    np.save(folder / "users.npy", rng.standard_normal((2, 8)).astype(np.float32))
    (folder / "spec.toml").write_text(
        '[items]\npath = "items.csv"\nid = "id"\ncolumns = { size = "f32", year = "f32" }\n'
        '[users]\npath = "users.csv"\nid = "id"\n[spaces.taste]\nitems = "items.npy"\nusers = "users.npy"\n'
    )
    done = CliRunner().invoke(build, [str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"])
    assert done.exit_code == 0, done.output
    (folder / "surfaces").mkdir()
    (folder / "surfaces" / "tried.toml").write_text(SURFACE)
    (folder / "node.toml").write_text('surfaces = "surfaces"\n')
    return folder


def run(place, *more):
    words = ["tried", "--store", str(place / "store"), "--config", str(place / "node.toml"), *more]
    return CliRunner().invoke(plan_command, words)


def test_the_plan_names_columns_and_ways(place):
    steps = json.loads(run(place, "--json").output)["steps"]
    assert [step["name"] for step in steps] == ["taste", "popular", "columns", "predicate", "final", "topk"]
    by_name = {step["name"]: step for step in steps}
    assert "space 'taste', exact: float32 rows" in by_name["taste"]["how"]
    assert by_name["popular"]["off"] == "the store was built without events"
    assert by_name["columns"]["writes"] == ["size", "year"]
    assert by_name["predicate"]["how"] == "inside the sources" and by_name["predicate"]["reads"] == ["year"]
    assert by_name["final"]["reads"] == ["size", "taste.score"] and by_name["final"]["writes"] == ["final"]
    assert (by_name["final"]["on_error"], by_name["final"]["share"]) == ("fail", 0.5)
    text = run(place).output
    assert "off: the store was built without events" in text and "on_error fail; share 0.5" in text
    assert max(map(len, text.splitlines())) < 180


def test_what_was_done_is_what_a_request_does(place):
    done = json.loads(run(place, "--analyze", "--user", "1", "--json").output)["measured"]
    facts = {one["coverage"]["name"]: (one["rows"], one["kept"], one["dropped"], one["bytes"]) for one in done}
    assert facts == {
        "taste": (100, 100, 0, 800),
        "popular": (0, 0, 0, 0),
        "columns": (100, 100, 0, 800),
        "predicate": (100, 100, 0, 0),
        "final": (100, 100, 0, 400),
        "topk": (100, 10, 90, 0),
    }
    text = run(place, "--analyze", "--user", "1", "--limit", "3").output
    assert "how it went" in text and "disabled; the store was built without events" in text and " 97 " in text


def test_analysis_gives_the_page_of_a_request(place):
    with Node.open(place / "store", place / "node.toml") as node:
        from mixline.node.inprocess import asked_now

        page = node.ask("tried", user=0)
        done = analyze(node.engine, asked_now("tried", user=0))
        for entry, one in zip(page.coverage, done, strict=True):
            assert (entry.name, entry.taken, entry.left) == (
                one.coverage.name,
                one.coverage.taken,
                one.coverage.left,
            )


def test_what_is_wrong_is_said(place):
    assert run(place, "--user", "1").exit_code == 2
    where = ["--store", str(place / "store"), "--config", str(place / "node.toml")]
    unknown = CliRunner().invoke(plan_command, ["trid", *where])
    assert isinstance(unknown.exception, BadRequest) and "did you mean 'tried'" in str(unknown.exception)
