"""The benchmark of deadlines: its queries are the same for a seed, each is answered, and the figures add up."""

import msgspec
import pytest
from click.testing import CliRunner

from mixline.node.text_query import parse_query
from mixline.tools import bench_deadline

WORDS = [f"word{at}" for at in range(300)]


@pytest.fixture
def queries(monkeypatch):
    found = [" ".join(WORDS[at : at + 3]) for at in range(200)]
    monkeypatch.setattr(bench_deadline, "real_queries", lambda: found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the first to come builds, and the others use what lies there."""
    return tmp_path_factory.mktemp("deadline")


def test_queries_are_of_every_kind_and_the_same_for_a_seed():
    some = list(bench_deadline.worst(WORDS, 48, 3))
    assert some == list(bench_deadline.worst(WORDS, 48, 3)) != list(bench_deadline.worst(WORDS, 48, 4))
    clauses = [clause for query in some for clause in parse_query(query, set())]
    assert any(one.phrase and one.slop for one in clauses) and any(one.prefix for one in clauses)
    assert {one.demand for one in clauses} == {"should", "must", "not"} and any(one.fuzzy for one in clauses)
    assert max(map(len, some)) > 10_000


def test_words_are_made_up_where_there_are_no_real_ones(monkeypatch, tmp_path):
    monkeypatch.setenv("MIXLINE_DATA", str(tmp_path))
    some = bench_deadline.some_queries()
    assert some == bench_deadline.some_queries() and len({word for text in some for word in text.split()}) > 1000


@pytest.mark.parametrize("deadline_ms", ["2000", "1"])
def test_the_verdict_is_that_of_the_bars(queries, monkeypatch, folder, deadline_ms):
    monkeypatch.setattr(bench_deadline, "BEYOND_P999_MS", 1e4 if deadline_ms == "2000" else -2.0)
    monkeypatch.setattr(bench_deadline, "BEYOND_MS", 1e4)
    command = ["--items", "1000", "--queries", "24", "--verdict", "cpu", "--json", "--deadline-ms", deadline_ms]
    done = CliRunner().invoke(bench_deadline.deadline, [*command, "--store", str(folder)])
    said = msgspec.json.decode(done.output)
    assert said["passed"] == (done.exit_code == 0) == (deadline_ms == "2000") and len(said["bars"]) == 6
    assert [one["met"] for one in said["bars"]] == [said["passed"], True] * 3


def test_all_are_answered(queries, folder):
    command = ["--items", "1000", "--queries", "36", "--deadline-ms", "2000", "--store", str(folder), "--json"]
    done = CliRunner().invoke(bench_deadline.deadline, command)
    assert done.exit_code == 0, done.output
    figures = msgspec.json.decode(done.output)
    for name in bench_deadline.SURFACES:
        ended = figures[f"{name}_ended"]
        assert sum(ended.values()) == 36 and ended["OK"] > 10 and set(ended) <= {"OK", "DEGRADED", "BAD_REQUEST"}
        assert 0 <= figures[f"{name}_empty"] <= ended.get("DEGRADED", 0)
        assert 0 < figures[f"{name}_p50_ms"] <= figures[f"{name}_p999_ms"] <= figures[f"{name}_most_ms"]
