"""``mixline eval`` and ``mixline score``: measures beside definitions, and the real pipeline through real processes."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mixline.node.inprocess import Node
from mixline.tools.build import build
from mixline.tools.evaluate import evaluate
from mixline.tools.quality import coverage, diversity, gains, mean_of
from mixline.tools.score import score

ITEMS, USERS = 120, 30


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 9), unique=True, max_size=10), st.lists(st.integers(0, 12), unique=True), st.integers(1, 8)
)
def test_measures_are_their_definitions(page, chosen, k):
    found = gains([np.array(page, dtype=np.uint32)], [np.array(chosen, dtype=np.int64)], k)
    hits = [at for at, one in enumerate(page[:k]) if one in chosen]
    ideal = sum(1 / math.log2(at + 2) for at in range(min(len(chosen), k)))
    expected = {
        "recall": len(hits) / len(chosen) if chosen else 0,
        "precision": len(hits) / k,
        "ndcg": sum(1 / math.log2(at + 2) for at in hits) / ideal if ideal else 0,
        "mrr": 1 / (1 + hits[0]) if hits else 0,
        "hit": float(bool(hits)),
    }
    assert {name: one[0] for name, one in found.items()} == pytest.approx(expected)


def test_the_interval_holds_the_mean_and_narrows_with_users():
    rng = np.random.default_rng(1)
    few, many = mean_of(rng.random(50)), mean_of(rng.random(5000))
    for one in (few, many):
        assert one.low < one.value < one.high
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.2887 / math.sqrt(5000), rel=0.15)
    assert few.high - few.low > 5 * (many.high - many.low)
    assert math.isnan(mean_of(np.zeros(0)).value)


def test_coverage_and_diversity():
    pages = [np.array([0, 1, 2], np.uint32), np.array([1, 3], np.uint32), np.array([], np.uint32)]
    assert coverage(pages, 2, 10) == 0.3
    matrix = np.array([[1, 0], [2, 0], [0, 3], [-1, 0], [np.nan, np.nan]], dtype=np.float32)
    found = diversity([np.array([0, 1, 2]), np.array([0, 3]), np.array([0, 4])], 5, matrix)
    assert found.tolist() == pytest.approx([1 - 1 / 3, 2.0])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quality")
    rng = np.random.default_rng(4)
    (folder / "items.csv").write_text("id\n" + "".join(f"{at}\n" for at in range(ITEMS)))
    (folder / "users.csv").write_text("id\n" + "".join(f"{at}\n" for at in range(USERS)))
    np.save(folder / "items.npy", rng.standard_normal((ITEMS, 8)).astype(np.float32))
    np.save(folder / "users.npy", rng.standard_normal((USERS, 8)).astype(np.float32))
    (folder / "spec.toml").write_text(
        '[items]\npath = "items.csv"\nid = "id"\n[users]\npath = "users.csv"\nid = "id"\n'
        '[spaces.taste]\nitems = "items.npy"\nusers = "users.npy"\n'
    )
    done = CliRunner().invoke(build, [str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"])
    assert done.exit_code == 0, done.output
    return folder


def run(command, *arguments):
    done = CliRunner().invoke(command, [str(one) for one in arguments])
    return done.exit_code, done.stdout if hasattr(done, "stdout") else done.output, done.output


def test_a_surface_is_judged_through_a_node(place):
    with Node.open(place / "store") as node:
        pages = [node.ask("homefeed", user=user, limit=10).ids.tolist() for user in range(USERS)]
    lines = [f"{user},{page[3]}\n" for user, page in enumerate(pages)]  # everybody chose what stands fourth
    lines += [f"{USERS - 1},99999\n", "0,88888\n", "0,88889\n"]  # and some what is not there
    (place / "test.csv").write_text("user,item\n" + "".join(lines))
    arguments = ["--surface", "homefeed", "--test", place / "test.csv", "--k", 3, "--k", 10, "--json"]
    code, out, everything = run(evaluate, place / "store", *arguments)
    assert code == 0, everything
    told = json.loads(out.splitlines()[-1])
    assert (told["users"], told["pairs"], told["unknown_items"]) == (USERS, USERS + 3, 3)
    assert told["at"]["3"]["hit"]["value"] == 0.0 and told["at"]["10"]["hit"]["value"] == 1.0
    assert told["at"]["10"]["mrr"]["value"] == 0.25
    assert told["at"]["10"]["recall"]["value"] == pytest.approx((USERS - 2 + 1 / 2 + 1 / 3) / USERS)
    assert 0 < told["at"]["10"]["coverage"]["value"] <= 1
    code, out, _ = run(evaluate, place / "store", *arguments[:-1])
    assert code == 0 and "mrr\t0.0000\t0.2500" in out


def test_a_surface_is_asked_for_all_users_into_parquet(place):
    import pyarrow.parquet as pq

    out = place / "pages.parquet"
    code, _, everything = run(score, place / "store", "--surface", "homefeed", "--out", out, "--limit", 7)
    assert code == 0, everything
    table = pq.read_table(out).to_pydict()
    assert len(table["user"]) == 7 * USERS and set(table["status"]) == {"OK"}
    with Node.open(place / "store") as node:
        page = node.ask("homefeed", user=4, limit=7, time=1)
    assert table["item"][28:33] == page.ids.tolist()[:5], "the sixth is drawn by lot"
    assert table["place"][28:35] == list(range(1, 8))
    assert table["score"][28:33] == page.scores.tolist()[:5]
    (place / "some.jsonl").write_text('{"who": 5}\n{"who": 3}\n')
    arguments = ["--surface", "homefeed", "--out", out, "--users", place / "some.jsonl", "--user-column", "who"]
    code, said, everything = run(score, place / "store", *arguments, "--json")
    assert code == 0, everything
    assert json.loads(said.splitlines()[-1])["users"] == 2
    assert sorted(set(pq.read_table(out).to_pydict()["user"])) == [3, 5]


def test_what_is_wrong_is_said(place):
    (place / "bad.csv").write_text("user,item\nx,1\n")
    for command, arguments, words in (
        (evaluate, ["--surface", "homefeed", "--test", place / "bad.csv"], "'x' is no id"),
        (evaluate, ["--surface", "homefeed", "--test", place / "bad.csv", "--item-column", "film"], "film"),
        (score, ["--surface", "homefed", "--out", place / "no.parquet"], "did you mean 'homefeed'"),
    ):
        code, _, everything = run(command, place / "store", *arguments)
        assert code != 0 and words in everything, everything
    assert not (place / "no.parquet").exists() and not list(place.glob(".no*"))
