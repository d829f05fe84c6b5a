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


def test_queries_are_of_every_kind_and_the_same_for_a_seed():
    some = list(bench_deadline.worst(WORDS, 48, 3))
    assert some == list(bench_deadline.worst(WORDS, 48, 3)) != list(bench_deadline.worst(WORDS, 48, 4))
    clauses = [clause for query in some for clause in parse_query(query, set())]
    assert any(one.phrase and one.slop for one in clauses) and any(one.prefix for one in clauses)
    assert {one.demand for one in clauses} == {"should", "must", "not"} and any(one.fuzzy for one in clauses)
    assert max(map(len, some)) > 10_000


def test_all_are_answered(queries, tmp_path):
    command = ["--items", "2000", "--queries", "36", "--deadline-ms", "2000", "--store", str(tmp_path), "--json"]
    done = CliRunner().invoke(bench_deadline.deadline, command)
    assert done.exit_code == 0, done.output
    figures = msgspec.json.decode(done.output)
    for name in bench_deadline.SURFACES:
        ended = figures[f"{name}_ended"]
        assert sum(ended.values()) == 36 and ended["OK"] > 10 and set(ended) <= {"OK", "DEGRADED", "BAD_REQUEST"}
        assert 0 < figures[f"{name}_p50_ms"] <= figures[f"{name}_p999_ms"] <= figures[f"{name}_most_ms"]
